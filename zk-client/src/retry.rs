//! [`Retry`]: the policy of which errors are tried again, how often, and with which pauses.

use std::{fmt, sync::Arc, time::Duration};

use zk_proto::{
    OpCode, Time,
    session::{Backoff, Outcome},
};

use crate::{Error, ErrorCode, ErrorKind};

/// A retry policy: which errors are tried again, how often, and with which pauses.
///
/// A call that failed because of the connection is tried again if it was certainly not sent. If its outcome is unknown, it
/// is tried again only if doing it twice is harmless. That is so for reads; [`unknown`](Self::unknown) declares it for all
/// calls. Errors from the server are not tried again, except its timeouts. The closure can ask for another try with
/// [`Error::try_again`].
///
/// If doing a call twice is not harmless, use one that finds out whether it was applied:
/// [`CreateOptions::protected`](crate::CreateOptions::protected),
/// [`Client::set_and_check`](crate::Client::set_and_check) or
/// [`Client::delete_and_check`](crate::Client::delete_and_check). A call that they report as not applied is tried again.
///
/// ```no_run
/// # use std::time::Duration;
/// # use zk_client::{Client, Error, Retry};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// // With the client's policy, `ClientBuilder::command_retry`. By default it never gives up.
/// let (data, stat) = zk.retry(|zk| zk.get("/app")).await?;
/// // With another policy, and several calls in one try:
/// let retry = Retry::default().max_tries(10).deadline(Duration::from_secs(60));
/// let total = retry
///     .call(&zk, |zk| {
///         let zk = zk.clone();
///         async move {
///             let mut total = 0;
///             for child in zk.get_children("/app").await? {
///                 total += zk.get(format!("/app/{child}")).await?.0.len();
///             }
///             Ok(total)
///         }
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing by itself: see `Retry::call`"]
pub struct Retry {
    max_tries: Option<u32>,
    delay: Duration,
    backoff: f64,
    max_jitter: f64,
    max_delay: Duration,
    ignore_expire: bool,
    deadline: Option<Duration>,
    unknown: bool,
    interrupt: Option<Interrupt>,
}

type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_tries: Some(1),
            delay: Duration::from_millis(100),
            backoff: 2.0,
            max_jitter: 0.4,
            max_delay: Duration::from_secs(60),
            ignore_expire: true,
            deadline: None,
            unknown: false,
            interrupt: None,
        }
    }
}

impl Retry {
    /// Sets the number of tries, the first one included; `None` for no limit. The default is 1, which means no
    /// retry.
    pub fn max_tries(mut self, tries: impl Into<Option<u32>>) -> Self {
        self.max_tries = tries.into();
        self
    }

    /// Sets the first pause, before jitter. The default is 100 ms.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the factor by which each pause is longer than the one before. The default is 2. A factor below 1 counts
    /// as 1.
    pub const fn backoff(mut self, factor: f64) -> Self {
        self.backoff = factor.max(1.0);
        self
    }

    /// Sets the part of a pause, from 0 to 1, by which it may be longer or shorter. The default is 0.4.
    pub const fn max_jitter(mut self, part: f64) -> Self {
        self.max_jitter = part.clamp(0.0, 1.0);
        self
    }

    /// Sets the longest pause, before jitter. The default is 60 s.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets whether a call is tried again in a new session after the session has expired. The default is true.
    pub const fn ignore_expire(mut self, ignore: bool) -> Self {
        self.ignore_expire = ignore;
        self
    }

    /// Sets the time after the first try beyond which no pause may last. By default there is none.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Sets whether calls with an unknown outcome are tried again, because doing them twice is harmless. The
    /// default is false; reads are always tried again.
    pub const fn unknown(mut self, unknown: bool) -> Self {
        self.unknown = unknown;
        self
    }

    /// Sets a function that ends the tries by returning true. It is called before each try after the first, and
    /// every 100 ms during a pause.
    pub fn interrupt(mut self, interrupt: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.interrupt = Some(Arc::new(interrupt));
        self
    }

    /// The pause after `retries` earlier pauses; `random` is in 0..1.
    fn pause(&self, retries: u32, random: f64) -> Duration {
        let backoff = Backoff { min: self.delay, max: self.max_delay };
        let pause = backoff.pause_growing_by(self.backoff, retries);
        Backoff::jitter(pause, self.max_jitter, random)
    }

    /// Whether an error is tried again.
    fn covers(&self, error: &Error) -> bool {
        let harmless = self.unknown || error.operation().is_some_and(is_read);
        match error.kind() {
            ErrorKind::TryAgain | ErrorKind::Server(ErrorCode::Throttled) => true,
            ErrorKind::Server(ErrorCode::OperationTimeout) => harmless,
            ErrorKind::SessionExpired if !self.ignore_expire => false,
            ErrorKind::ConnectionLoss | ErrorKind::QueueFull | ErrorKind::SessionExpired => {
                match error.outcome() {
                    Some(Outcome::NotSent) => true,
                    Some(Outcome::Unknown) => harmless,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// Whether an operation changes nothing, so that it can be repeated.
const fn is_read(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Exists
            | OpCode::GetData
            | OpCode::GetChildren
            | OpCode::GetChildren2
            | OpCode::GetAcl
            | OpCode::Sync
            | OpCode::MultiRead
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::WhoAmI
            | OpCode::CheckWatches
    )
}

/// The longest sleep while `interrupt` is set.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// The tries of one call: the policy as a state machine, for async and blocking calls.
pub(crate) struct Tries {
    policy: Retry,
    failed: u32,
    /// The outcome of the last try.
    pub(crate) outcome: Option<Outcome>,
    give_up_at: Option<Time>,
}

impl Tries {
    pub(crate) fn new(policy: Retry, now: Time) -> Self {
        let give_up_at = policy.deadline.map(|deadline| now.after(deadline));
        Self { policy, failed: 0, outcome: None, give_up_at }
    }

    /// Returns when to try again after `error`, or `error` if there is no other try. `random` is in 0..1.
    pub(crate) fn next(&mut self, error: Error, now: Time, random: f64) -> Result<Time, Error> {
        self.failed = self.failed.saturating_add(1);
        self.outcome = error.outcome();
        let exhausted = self.policy.max_tries.is_some_and(|tries| self.failed >= tries);
        if exhausted || !self.policy.covers(&error) {
            return Err(error);
        }
        let until = now.after(self.policy.pause(self.failed.saturating_sub(1), random));
        if self.give_up_at.is_some_and(|deadline| until >= deadline) {
            return Err(error);
        }
        Ok(until)
    }

    /// Returns until when to sleep next on the way to `until`, or `None` if that is reached.
    pub(crate) fn pause(&self, until: Time, now: Time) -> Result<Option<Time>, Error> {
        let Some(interrupt) = &self.policy.interrupt else {
            return Ok((now < until).then_some(until));
        };
        if interrupt() {
            return Err(Error::interrupted(self.outcome));
        }
        Ok((now < until).then(|| until.min(now.after(INTERRUPT_INTERVAL))))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("max_tries", &self.max_tries)
            .field("delay", &self.delay)
            .field("backoff", &self.backoff)
            .field("max_jitter", &self.max_jitter)
            .field("max_delay", &self.max_delay)
            .field("ignore_expire", &self.ignore_expire)
            .field("deadline", &self.deadline)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}
