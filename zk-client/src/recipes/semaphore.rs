//! [`Semaphore`]: a right that a number of holders may have at once.
//!
//! The nodes are kazoo's: the number of leases is the data of the semaphore's node, each lease an
//! ephemeral node below it, and whoever waits for one holds the lock beside it (`…-__lock__`), so that a
//! lease that is given back wakes one waiter only.

use std::{fmt, sync::Arc, time::Duration};

use zk_proto::{
    path,
    records::Stat,
    session::{Reason, SessionId},
};

use crate::{
    AsyncResult, Client, CreateOptions, Error, ErrorCode, ErrorKind, Transaction, Watch,
    from_reply::is_no_node,
    retrying::{back_off, is_transient, retry_transient},
    stop::{Stop, first_of, until_stopped},
    surfaces::with_blocking,
};

use super::{
    Lock, LockGuard, LockOptions, delete, foreign,
    held::{Held, guard},
    identifiers,
    running_tasks::RunningTasks,
};

/// The blocking forms of the semaphore and its lease, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    pub(crate) use crate::{client::blocking::Client, transaction::blocking::Transaction};

    use crate::surfaces::blocking_form;

    blocking_form! {
        /// A right that a number of holders may have at once. See [`recipes::Semaphore`](super::Semaphore).
        #[derive(Clone)]
        pub struct Semaphore;
    }

    blocking_form! {
        /// A lease that is held. The last clone to be dropped gives it back, without blocking.
        #[derive(Clone)]
        #[must_use = "it is released when this is dropped"]
        pub struct Lease;
    }
}

/// How a semaphore is to behave: kazoo's `identifier` and `max_leases`.
#[derive(Clone)]
#[must_use = "options do nothing by themselves: see `Semaphore::with_options`"]
pub struct SemaphoreOptions {
    identifier: Vec<u8>,
    max_leases: usize,
}

impl Default for SemaphoreOptions {
    fn default() -> Self {
        Self { identifier: Vec::new(), max_leases: 1 }
    }
}

/// Without the identifier, which is data of a node.
impl fmt::Debug for SemaphoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphoreOptions")
            .field("max_leases", &self.max_leases)
            .finish_non_exhaustive()
    }
}

impl SemaphoreOptions {
    /// What [`lease_holders`](Semaphore::lease_holders) shows of this holder. Default nothing.
    pub fn identifier(mut self, identifier: impl AsRef<[u8]>) -> Self {
        self.identifier = identifier.as_ref().to_vec();
        self
    }

    /// How many may hold a lease at once; all have to agree. Default 1.
    pub const fn max_leases(mut self, leases: usize) -> Self {
        self.max_leases = leases;
        self
    }
}

/// A right that a number of holders may have at once.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::{Semaphore, SemaphoreOptions}};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let options = SemaphoreOptions::default().max_leases(3);
/// let semaphore = Semaphore::with_options(&zk, "/semaphores/encoders", options);
/// let lease = semaphore.acquire().await?;
/// // … three do this at a time …
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is guaranteed
///
/// - **No more leases than allowed are there at once**, by the ensemble's order: who wants one holds the
///   lock beside the semaphore, and the lease is made in one transaction with a look whether that is so.
/// - **It is shared with kazoo's `Semaphore`.** Curator keeps its semaphores in another way: where one is, an
///   acquire fails with [`InvalidInput`](ErrorKind::InvalidInput).
/// - **Suspended, lost, cancelled:** as with a [`Lock`], and no node is left behind. A lease
///   of an expired session counts until the servers have expired it, here and for the others.
#[derive(Clone)]
pub struct Semaphore(Contender);

with_blocking! { impl Semaphore {
    /// The semaphore at `path`, with one lease.
    #[must_use]
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self::with_options(client, path, SemaphoreOptions::default())
    }

    /// As [`new`](Self::new), with options.
    #[must_use]
    pub fn with_options(client: &Client, path: impl Into<String>, options: SemaphoreOptions) -> Self {
        Self(Contender {
            client: client.clone(),
            path: path.into(),
            options,
            tasks: RunningTasks::default(),
        })
    }

    /// Waits for a lease. Where there is a handle, cancelling or dropping it ends the waiting, and gives
    /// back the lease if there was one just then.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the semaphore was made with another number of
    /// leases; [`SequenceExhausted`](ErrorKind::SequenceExhausted) when those who wait for their turn
    /// cannot be ordered any more; [`Cancelled`](ErrorKind::Cancelled) by [`cancel`](Self::cancel); and
    /// errors that waiting does not help.
    pub fn acquire(&self) -> AsyncResult<Lease> {
        self.0.acquire(None)
    }

    /// As [`acquire`](Self::acquire), for no longer than `timeout`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
    pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<Lease> {
        self.0.acquire(Some(timeout))
    }

    /// Takes a lease if there is one that nobody waits for: kazoo's `acquire(blocking=False)`. It waits for
    /// the connection, and, while there are leases to be had, for its turn among those who are about to take
    /// one; never for a lease to be given back.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> AsyncResult<Option<Lease>> {
        self.0.try_acquire()
    }

    /// Cancels each acquire of this object, or of a clone of it, that is under way: kazoo's `cancel`. It
    /// fails with [`Cancelled`](ErrorKind::Cancelled), be it one that blocks another thread, and no node of
    /// it is left. Later acquires are not concerned, nor is who has a lease already.
    pub fn cancel(&self) {
        self.0.tasks.cancel();
    }

    /// The identifiers of those who have a lease, in no order.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn lease_holders(&self) -> AsyncResult<Vec<String>> {
        self.0.lease_holders()
    }
} }

/// Who wants a lease, of what and how.
#[derive(Clone)]
struct Contender {
    client: Client,
    path: String,
    options: SemaphoreOptions,
    tasks: RunningTasks,
}

impl Contender {
    fn acquire(&self, timeout: Option<Duration>) -> AsyncResult<Lease> {
        let contender = self.clone();
        self.tasks.spawn(&self.client, move |abandon| async move {
            let stop = Stop::new(contender.client.inner(), abandon, timeout);
            let held = contender.contend(&stop, true).await?;
            held.map(Lease).ok_or_else(|| stop.error(&contender.path))
        })
    }

    fn try_acquire(&self) -> AsyncResult<Option<Lease>> {
        let contender = self.clone();
        self.tasks.spawn(&self.client, move |abandon| async move {
            let stop = Stop::on(abandon);
            Ok(contender.contend(&stop, false).await?.map(Lease))
        })
    }

    fn lease_holders(&self) -> AsyncResult<Vec<String>> {
        let Self { client, path, .. } = self.clone();
        self.client.spawn(async move {
            let children = match retry_transient(&client, |zk| zk.get_children(&path)).await {
                Err(error) if is_no_node(&error) => return Ok(Vec::new()),
                children => children?,
            };
            foreign::refuse_leases(&path, &children)?;
            identifiers(&client, children.iter().map(|name| path::join(&path, name))).await
        })
    }

    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<Arc<Held>>, Error> {
        loop {
            // A new id for each node: one of an earlier session may still be there, dying.
            let own = path::join(&self.path, &format!("{:032x}", self.client.inner().unique_id()));
            let error = match until_stopped(stop, self.contend_as(&own, wait)).await {
                Some(Ok(Some(stat))) => return Ok(Some(Held::new(&self.client, own, &stat))),
                Some(Ok(None)) => return Ok(None),
                Some(Err(error)) if error.kind() == ErrorKind::SessionExpired => continue,
                Some(Err(error)) => error,
                None => stop.error(&self.path),
            };
            // What was sent before is done before.
            drop(delete(&self.client, own));
            return Err(error);
        }
    }

    /// Takes a lease as the node `own`, as soon as there is one.
    async fn contend_as(&self, own: &str, wait: bool) -> Result<Option<Stat>, Error> {
        let options = LockOptions::default().identifier(&self.options.identifier);
        let lock = Lock::with_options(&self.client, format!("{}-__lock__", self.path), options);
        'turns: loop {
            self.agree().await?;
            let turn =
                if wait { Some(lock.acquire().await?) } else { self.brief_turn(&lock).await? };
            let Some(turn) = turn else { return Ok(None) };
            loop {
                match self.look().await? {
                    Look::Free(_) => match self.take(own, &turn).await? {
                        Some(stat) => return Ok(Some(stat)),
                        None => continue 'turns,
                    },
                    Look::Full(_) if !wait => return Ok(None),
                    Look::Full(watch) => drop(watch.await?),
                    Look::Gone => continue 'turns,
                }
            }
        }
    }

    /// Waits for the own turn for as long as there is a lease to be had: those before it are about to take
    /// one then, and none of them waits for one. `None` once there is none.
    async fn brief_turn(&self, lock: &Lock) -> Result<Option<LockGuard>, Error> {
        let mut turn = None;
        loop {
            let watch = match self.look().await? {
                Look::Free(watch) => watch,
                Look::Full(_) => return Ok(None),
                Look::Gone => {
                    self.agree().await?;
                    continue;
                }
            };
            let turn = turn.get_or_insert_with(|| lock.acquire());
            let changed = async {
                // The end of the session is for the next look to tell.
                let _ = watch.await;
                None
            };
            if let Some(turn) = first_of(async { Some(turn.await) }, changed).await {
                return turn.map(Some);
            }
        }
    }

    /// Looks whether there is a lease to be had, and watches for leases that come and go.
    async fn look(&self) -> Result<Look, Error> {
        match retry_transient(&self.client, |zk| zk.get_children_and_watch(&self.path)).await {
            Ok((leases, _, watch)) => {
                foreign::refuse_leases(&self.path, &leases)?;
                let is_free = leases.len() < self.options.max_leases;
                Ok(if is_free { Look::Free(watch) } else { Look::Full(watch) })
            }
            Err(error) if is_no_node(&error) => Ok(Look::Gone),
            Err(error) => Err(error),
        }
    }

    /// Makes the lease's node, once, whatever happens to the replies, if it is the own turn; `None`
    /// otherwise.
    async fn take(&self, own: &str, turn: &LockGuard) -> Result<Option<Stat>, Error> {
        let options = CreateOptions::ephemeral();
        loop {
            let create = turn.transaction().create(own, &self.options.identifier, &options);
            let created = match create.commit().await {
                Ok(results) => results.committed(),
                Err(error) if is_transient(&error) => {
                    back_off(&self.client, &error).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match created.as_ref().map_err(Error::code) {
                // The id is nobody else's: if the node exists, an earlier try has made it.
                Ok(_) | Err(Some(ErrorCode::NodeExists | ErrorCode::NoNode)) => {}
                Err(_) => return created.map(|_| None),
            }
            let stat = retry_transient(&self.client, |zk| zk.exists(own)).await?;
            let session = self.client.session_id();
            return match stat {
                Some(stat) if session != Some(SessionId(stat.ephemeral_owner)) => {
                    Err(Error::of_session(Reason::SessionExpired))
                }
                stat => Ok(stat),
            };
        }
    }

    /// Sees to it that all agree on the number of leases. Other data in the node are left alone.
    async fn agree(&self) -> Result<(), Error> {
        let own = self.options.max_leases;
        loop {
            let agreed = match retry_transient(&self.client, |zk| zk.get(&self.path)).await {
                Ok((data, stat)) if data.is_empty() => {
                    // It may be somebody else's.
                    let children =
                        retry_transient(&self.client, |zk| zk.get_children(&self.path)).await;
                    foreign::refuse_leases(&self.path, &children?)?;
                    let set = |zk: &Client| zk.set(&self.path, own.to_string(), stat.version);
                    retry_transient(&self.client, set).await.map(drop)
                }
                Ok((data, _)) => return self.compare(&data),
                Err(error) if is_no_node(&error) => {
                    let options = CreateOptions::persistent().makepath();
                    let create = |zk: &Client| zk.create(&self.path, own.to_string(), &options);
                    retry_transient(&self.client, create).await.map(drop)
                }
                Err(error) => return Err(error),
            };
            match agreed.as_ref().map_err(Error::code) {
                // Somebody was faster.
                Err(Some(ErrorCode::BadVersion | ErrorCode::NodeExists | ErrorCode::NoNode)) => {}
                _ => return agreed,
            }
        }
    }

    fn compare(&self, data: &[u8]) -> Result<(), Error> {
        let stored = str::from_utf8(data).ok().and_then(|text| text.trim().parse::<usize>().ok());
        match stored {
            Some(leases) if leases != self.options.max_leases => Err(Error::invalid(format!(
                "semaphore {} has {leases} leases, not {}",
                self.path, self.options.max_leases
            ))),
            _ => Ok(()),
        }
    }
}

/// What a look at the leases shows.
enum Look {
    /// There are fewer than allowed.
    Free(Watch),
    /// There are as many as allowed.
    Full(Watch),
    /// The semaphore's node is gone.
    Gone,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contender { path, options, .. } = &self.0;
        write!(f, "Semaphore({path}, {} leases)", options.max_leases)
    }
}

guard! {
    /// A lease that is held. The last clone to be dropped gives it back.
    pub struct Lease, of "the lease"
}
