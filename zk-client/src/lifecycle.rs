//! The life cycle of a client: start, stop, restart, the deadline of a start, and what follows from the outputs of the
//! session. It is plain state, which [`ClientInner`](crate::inner::ClientInner) keeps under its lock.

use std::{mem, sync::Arc, time::Duration};

use zk_handler::CallbackQueue;
use zk_proto::{
    Chroot, ErrorCode, HostPort, Request, Time,
    records::ExistsRequest,
    session::{Config, Credential, Failure, Output, Reason, RequestId, Session},
};

use crate::{
    Error,
    cell::Wakers,
    dispatch::Effect,
    from_reply::ReplyResult,
    pending_call::{IgnoredCall, PendingCall, WatchNotice},
    result::Promise,
    sasl::StepRequest,
};

pub(crate) struct Lifecycle {
    pub(crate) session: Session<Arc<dyn PendingCall>>,
    /// Counts the sessions of this client. A request's id is unique within its session only.
    session_number: u64,
    /// The configuration of the next session. It keeps the credentials and hosts that are set while the client runs.
    config: Config,
    connect_timeout: Duration,
    /// Whether there is a driver. If not, the client was not started, or has stopped.
    is_running: bool,
    /// The chroot of the connect string.
    chroot: Chroot,
    /// Whether this session has still to check that the chroot exists.
    check_chroot: bool,
    /// Those who wait for the client to start.
    starting: Vec<Promise<()>>,
    start_deadline: Option<Time>,
    /// Whether this session was connected before. If so, a start that times out does not stop the client.
    was_connected: bool,
    /// The request of the last credential that this session was started with, until the server has accepted it. The
    /// client counts as started only then.
    start_auth: Option<RequestId>,
    /// Those who wait for the client to stop.
    stopping: Vec<Promise<()>>,
    /// Those who want the client to start again after it has stopped.
    restarting: Vec<Promise<()>>,
}

/// What follows from a [start](Lifecycle::start).
pub(crate) enum AfterStart {
    /// A session began: spawn its driver.
    SpawnDriver,
    /// The client is connected already: complete the promise.
    Connected(Promise<()>),
    /// The promise is kept until the client is connected.
    Waiting,
}

/// What follows from the [end of a driver](Lifecycle::end_driver).
pub(crate) struct AfterDriver {
    /// Whether another session began: spawn its driver.
    pub(crate) restarts: bool,
    /// To be completed: the client stopped.
    pub(crate) stopped: Vec<Promise<()>>,
}

/// What follows from a [stop](Lifecycle::stop).
pub(crate) struct AfterStop {
    /// The promise, if the client was stopped before: to be completed.
    pub(crate) already_stopped: Option<Promise<()>>,
    /// To fail: the client does not start again.
    pub(crate) refused: Vec<Promise<()>>,
}

/// What the session asks the driver to do.
pub(crate) enum Action {
    Connect(Arc<HostPort>, Time),
    Disconnect,
    Probe(Arc<HostPort>, Time),
    /// Take a step of the SASL mechanism.
    TakeSaslStep(StepRequest),
}

impl Action {
    /// Whether it ends the present connection, or the present attempt to connect.
    pub(crate) const fn leaves_connection(&self) -> bool {
        matches!(self, Self::Connect(..) | Self::Disconnect)
    }
}

impl Lifecycle {
    pub(crate) fn new(config: Config, chroot: Chroot, connect_timeout: Duration) -> Self {
        Self {
            session: Session::new(config.clone(), 0),
            session_number: 0,
            config,
            connect_timeout,
            is_running: false,
            chroot,
            check_chroot: false,
            starting: Vec::new(),
            start_deadline: None,
            was_connected: false,
            start_auth: None,
            stopping: Vec::new(),
            restarting: Vec::new(),
        }
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.is_running
    }

    pub(crate) const fn session_number(&self) -> u64 {
        self.session_number
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Starts the client. `promise` completes when it is connected. `seed` is asked for if a session begins.
    pub(crate) fn start(
        &mut self,
        now: Time,
        promise: Promise<()>,
        seed: impl FnOnce() -> u64,
    ) -> AfterStart {
        if !self.is_running {
            self.starting.push(promise);
            self.begin_session(now, seed());
            AfterStart::SpawnDriver
        } else if self.session.is_closed() {
            self.restarting.push(promise);
            AfterStart::Waiting
        } else if self.session.state().is_connected() && self.starting.is_empty() {
            AfterStart::Connected(promise)
        } else {
            self.starting.push(promise);
            self.start_deadline.get_or_insert(now.after(self.connect_timeout));
            AfterStart::Waiting
        }
    }

    /// Stops the client. `promise` is for those who wait for the end. Those who wait for another start are refused.
    pub(crate) fn stop(&mut self, now: Time, mut promise: Option<Promise<()>>) -> AfterStop {
        if self.is_running {
            self.stopping.extend(promise.take());
        }
        // A session that ended by itself is closed when its driver ends: see `end_driver`.
        if !self.is_running || self.session.end_reason().is_none() {
            self.session.close(now);
        }
        AfterStop { already_stopped: promise, refused: mem::take(&mut self.restarting) }
    }

    /// The session has ended, all its outputs were taken, and its driver ends. A new session begins if one was asked for
    /// meanwhile.
    pub(crate) fn end_driver(&mut self, now: Time, seed: impl FnOnce() -> u64) -> AfterDriver {
        let stopped = mem::take(&mut self.stopping);
        self.starting = mem::take(&mut self.restarting);
        let restarts = !self.starting.is_empty();
        if restarts {
            self.begin_session(now, seed());
        } else {
            self.is_running = false;
            if !stopped.is_empty() {
                // The reason for which it ended gives way to the stop.
                self.session.close(now);
            }
        }
        AfterDriver { restarts, stopped }
    }

    /// The runtime has dropped the driver before the client stopped. The client is not started again.
    pub(crate) fn abandon(&mut self, effects: &mut Vec<Effect>) {
        self.is_running = false;
        effects.push(Effect::EndStates);
        let stopping = self.stopping.drain(..);
        effects.extend(stopping.map(|promise| Effect::CompletePromise(promise, Ok(()))));
        let error = Error::runtime(None, "the runtime ended");
        let restarting = self.restarting.drain(..);
        effects.extend(restarting.map(|it| Effect::CompletePromise(it, Err(error.clone()))));
    }

    fn begin_session(&mut self, now: Time, seed: u64) {
        let mut config = self.config.clone();
        let credentials = mem::take(&mut config.auth);
        self.session = Session::new(config, seed);
        self.session_number += 1;
        self.start_auth = None;
        for credential in credentials {
            // A new session refuses no credential.
            self.start_auth = self.session.add_auth(credential, Arc::new(IgnoredCall)).ok();
        }
        self.session.start(now);
        self.start_deadline = Some(now.after(self.connect_timeout));
        self.was_connected = false;
        self.check_chroot = !self.chroot.is_root();
        self.is_running = true;
    }

    /// Adds a credential to this session and to later ones. Returns whether this session takes it: `call` completes when
    /// the server has accepted it. If there is no session that does, the credential is for the next one.
    pub(crate) fn add_auth(
        &mut self,
        credential: Credential,
        call: Arc<dyn PendingCall>,
    ) -> Result<bool, Box<Failure>> {
        if !self.config.auth.contains(&credential) {
            self.config.auth.push(credential.clone());
        }
        if !self.is_running || self.session.is_closed() {
            return Ok(false);
        }
        self.session.add_auth(credential, call).map(|_| true)
    }

    /// Removes a credential from this session and from later ones. Returns whether it was there.
    pub(crate) fn remove_auth(&mut self, credential: &Credential) -> bool {
        let before = self.config.auth.len();
        self.config.auth.retain(|other| other != credential);
        self.session.remove_auth(credential) || self.config.auth.len() < before
    }

    /// Removes all credentials of the new one's scheme, and adds it, as [`add_auth`](Self::add_auth) does.
    pub(crate) fn replace_auth(
        &mut self,
        credential: Credential,
        call: Arc<dyn PendingCall>,
    ) -> Result<bool, Box<Failure>> {
        let is_old =
            |other: &&Credential| other.scheme == credential.scheme && **other != credential;
        let old: Vec<_> = self.config.auth.iter().filter(is_old).cloned().collect();
        for old in &old {
            self.remove_auth(old);
        }
        self.add_auth(credential, call)
    }

    pub(crate) const fn set_sasl(&mut self, is_on: bool) {
        self.config.sasl = is_on;
        self.session.set_sasl(is_on);
    }

    pub(crate) fn set_hosts(&mut self, now: Time, hosts: Vec<HostPort>) {
        self.config.hosts.clone_from(&hosts);
        self.session.set_hosts(now, hosts);
    }

    /// Takes all outputs of the session: results to dispatch, and what the driver is to do.
    pub(crate) fn take_outputs(
        &mut self,
        now: Time,
        effects: &mut Vec<Effect>,
        actions: &mut Vec<Action>,
    ) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { host, deadline } => actions.push(Action::Connect(host, deadline)),
                Output::Disconnect => actions.push(Action::Disconnect),
                Output::Probe { host, deadline } => actions.push(Action::Probe(host, deadline)),
                Output::Sasl { step, host, token, .. } => {
                    let session_number = self.session_number;
                    let request = StepRequest { session_number, step, host, token };
                    actions.push(Action::TakeSaslStep(request));
                }
                Output::Completed { id, token, result } => {
                    if self.start_auth == Some(id) && result.is_ok() {
                        self.start_auth = None;
                        self.complete_start(&Ok(()), effects);
                    }
                    effects.push(Effect::CompleteCall(token, result));
                }
                Output::Fired { token, event, .. } => {
                    effects.push(Effect::NotifyWatch(token, WatchNotice::Event(event)));
                }
                Output::Gap { token, since, .. } => {
                    effects.push(Effect::NotifyWatch(token, WatchNotice::Gap { since }));
                }
                Output::Unwatched { token, reason, .. } => {
                    let notice = WatchNotice::Ended(Error::of_session(reason));
                    effects.push(Effect::NotifyWatch(token, notice));
                }
                Output::State(state) => {
                    effects.push(Effect::ChangeState(state));
                    if state.is_connected() && self.start_auth.is_none() {
                        self.complete_start(&Ok(()), effects);
                    }
                    if state.is_connected() {
                        self.request_chroot_check(now);
                    }
                }
                // The core has no other outputs.
                _ => {}
            }
        }
    }

    /// Completes the promises of those who wait for the start.
    fn complete_start(&mut self, result: &Result<(), Error>, effects: &mut Vec<Effect>) {
        self.start_deadline = None;
        self.was_connected |= result.is_ok();
        let starting = self.starting.drain(..);
        effects.extend(starting.map(|promise| Effect::CompletePromise(promise, result.clone())));
    }

    /// Fails the start if its deadline has passed. The client stops, unless it was connected before.
    pub(crate) fn check_start_deadline(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.start_deadline.is_some_and(|deadline| deadline <= now) {
            let timeout = self.connect_timeout;
            let error = match (self.session.last_failure(), self.session.host()) {
                (Some(cause), _) => Error::start_timeout(timeout, cause.clone()),
                (None, Some(host)) => {
                    Error::start_timeout(timeout, format!("{host} has not answered").into())
                }
                (None, None) => Error::start_timeout(timeout, "no host was tried".into()),
            };
            if !self.was_connected {
                self.session.close(now);
            }
            self.complete_start(&Err(error), effects);
        }
    }

    /// Returns whether the session has ended. If it has, the start fails.
    pub(crate) fn check_session_end(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(reason) = self.session.end_reason() else { return false };
        self.complete_start(&Err(Error::of_session(reason)), effects);
        true
    }

    /// When the driver must look at the client again, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.session.poll_timeout(), self.start_deadline].into_iter().flatten().min()
    }

    /// Once per session, asks the server whether the chroot exists, to log a warning if not. The request goes after the
    /// calls made so far.
    fn request_chroot_check(&mut self, now: Time) {
        if !mem::take(&mut self.check_chroot) {
            return;
        }
        let request = Request::Exists(ExistsRequest { path: "/", watch: false.into() });
        let check = Arc::new(ChrootCheck(self.chroot.clone()));
        // If the session refuses the request, there is no warning.
        let _ = self.session.submit(now, &self.chroot, &request, check);
    }
}

/// The request that checks whether the chroot exists.
struct ChrootCheck(Chroot);

impl PendingCall for ChrootCheck {
    fn complete(&self, reply: ReplyResult, _: &CallbackQueue, _: &mut Wakers) {
        if reply.is_err_and(|failure| failure.reason == Reason::Server(ErrorCode::NoNode)) {
            tracing::warn!(chroot = %self.0, "the chroot does not exist: `ensure_path(\"/\")` creates it");
        }
    }
}
