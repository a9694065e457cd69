//! [`Semaphore`]: up to a number of holders at once.
//!
//! The nodes are those of kazoo: the data of the semaphore's node is the number of leases, and each lease is an ephemeral
//! node below it. A contender acquires the lock beside the semaphore (`…-__lock__`) first, so that a released lease wakes
//! one contender only.

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
    Lock, LockGuard, LockOptions, delete,
    held_node::{HeldNode, guard},
    other_clients, read_identifiers,
    running_tasks::RunningTasks,
};

/// The blocking forms of the semaphore and its lease, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    pub(crate) use crate::{client::blocking::Client, transaction::blocking::Transaction};

    use crate::surfaces::blocking_form;

    blocking_form! {
        /// A semaphore, which a number of holders may hold at once. See [`recipes::Semaphore`](super::Semaphore).
        #[derive(Clone)]
        pub struct Semaphore;
    }

    blocking_form! {
        /// A lease that is held. The last clone to be dropped releases it, without blocking.
        #[derive(Clone)]
        #[must_use = "it is released when this is dropped"]
        pub struct Lease;
    }
}

/// Options of a semaphore: an identifier, and the number of leases.
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

/// The identifier is left out, because it is a node's data.
impl fmt::Debug for SemaphoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphoreOptions")
            .field("max_leases", &self.max_leases)
            .finish_non_exhaustive()
    }
}

impl SemaphoreOptions {
    /// Sets what [`lease_holders`](Semaphore::lease_holders) returns for this holder. The default is nothing.
    pub fn identifier(mut self, identifier: impl AsRef<[u8]>) -> Self {
        self.identifier = identifier.as_ref().to_vec();
        self
    }

    /// Sets how many may hold a lease at once. All contenders must use the same number. The default is 1.
    pub const fn max_leases(mut self, leases: usize) -> Self {
        self.max_leases = leases;
        self
    }
}

/// A semaphore, which a number of holders may hold at once.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::{Semaphore, SemaphoreOptions}};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let options = SemaphoreOptions::default().max_leases(3);
/// let semaphore = Semaphore::with_options(&zk, "/semaphores/encoders", options);
/// let lease = semaphore.acquire().await?;
/// // … three holders at a time do this …
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is guaranteed
///
/// - **No more leases exist at once than are allowed.** A contender creates its lease while it holds the lock beside the
///   semaphore, in a transaction that also checks that it holds the lock.
/// - **It can be shared with kazoo's `Semaphore`.** Curator's semaphores have another format: at the path of one, an
///   acquire fails with [`InvalidInput`](ErrorKind::InvalidInput).
/// - **Suspended, lost, cancelled:** as with a [`Lock`]; no node is left behind. A lease counts until it is released or the
///   servers expire its session.
#[derive(Clone)]
pub struct Semaphore(SemaphoreInner);

with_blocking! { impl Semaphore {
    /// Returns the semaphore at `path`, with one lease.
    #[must_use]
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self::with_options(client, path, SemaphoreOptions::default())
    }

    /// Like [`new`](Self::new), with options.
    #[must_use]
    pub fn with_options(client: &Client, path: impl Into<String>, options: SemaphoreOptions) -> Self {
        Self(SemaphoreInner {
            client: client.clone(),
            path: path.into(),
            options,
            tasks: RunningTasks::default(),
        })
    }

    /// Waits for a lease.
    ///
    /// # Errors
    /// Errors that waiting cannot resolve. An acquire that fails leaves no node behind.
    /// - [`InvalidInput`](ErrorKind::InvalidInput) if the semaphore was created with another number of leases.
    /// - [`SequenceExhausted`](ErrorKind::SequenceExhausted) if the sequence numbers of its lock are used up.
    /// - [`Cancelled`](ErrorKind::Cancelled) after [`cancel`](Self::cancel).
    /// - [`NoAuth`](ErrorCode::NoAuth), and [`ConnectionClosed`](ErrorKind::ConnectionClosed) if the client is
    ///   stopped.
    ///
    /// # Cancel safety
    /// Dropping or cancelling the result ends the acquire. If there is a lease by then, it is released.
    pub fn acquire(&self) -> AsyncResult<Lease> {
        self.0.acquire(None)
    }

    /// Waits for a lease, for at most `timeout`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
    pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<Lease> {
        self.0.acquire(Some(timeout))
    }

    /// Acquires a lease if one is free, and returns `None` otherwise.
    ///
    /// This waits for the connection, and, while leases are free, for its turn among contenders that are about to
    /// take one. It never waits for a lease to be released.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> AsyncResult<Option<Lease>> {
        self.0.try_acquire()
    }

    /// Cancels all acquires of this object and of its clones that are in progress, also those that block threads.
    ///
    /// They fail with [`Cancelled`](ErrorKind::Cancelled) and leave no node behind. Later acquires and leases that
    /// are held already are not affected.
    pub fn cancel(&self) {
        self.0.tasks.cancel();
    }

    /// Returns the identifiers of those who hold a lease, in no order.
    ///
    /// # Errors
    /// Errors of the session, and [`NoAuth`](ErrorCode::NoAuth) if the client may not read the nodes.
    pub fn lease_holders(&self) -> AsyncResult<Vec<String>> {
        self.0.lease_holders()
    }
} }

/// The implementation of the semaphore.
#[derive(Clone)]
struct SemaphoreInner {
    client: Client,
    path: String,
    options: SemaphoreOptions,
    tasks: RunningTasks,
}

impl SemaphoreInner {
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
            other_clients::refuse_leases(&path, &children)?;
            read_identifiers(&client, children.iter().map(|name| path::join(&path, name))).await
        })
    }

    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<Arc<HeldNode>>, Error> {
        loop {
            // Each node has a new id, because a node of an earlier session may still exist.
            let own = path::join(&self.path, &format!("{:032x}", self.client.inner().unique_id()));
            let error = match until_stopped(stop, self.attempt(&own, wait)).await {
                Some(Ok(Some(stat))) => return Ok(Some(HeldNode::new(&self.client, own, &stat))),
                Some(Ok(None)) => return Ok(None),
                Some(Err(error)) if error.kind() == ErrorKind::SessionExpired => continue,
                Some(Err(error)) => error,
                None => stop.error(&self.path),
            };
            // A create that was sent before is applied before.
            drop(delete(&self.client, own));
            return Err(error);
        }
    }

    /// Waits for a lease, and creates it as the node `own`. `None` if no lease is free and `wait` is false.
    async fn attempt(&self, own: &str, wait: bool) -> Result<Option<Stat>, Error> {
        let options = LockOptions::default().identifier(&self.options.identifier);
        let lock = Lock::with_options(&self.client, format!("{}-__lock__", self.path), options);
        'turns: loop {
            self.agree_on_max_leases().await?;
            let turn = if wait {
                Some(lock.acquire().await?)
            } else {
                self.acquire_lock_while_free(&lock).await?
            };
            let Some(turn) = turn else { return Ok(None) };
            loop {
                match self.count_leases().await? {
                    Leases::Free(_) => match self.create_lease(own, &turn).await? {
                        Some(stat) => return Ok(Some(stat)),
                        None => continue 'turns,
                    },
                    Leases::Full(_) if !wait => return Ok(None),
                    Leases::Full(watch) => drop(watch.await?),
                    Leases::NodeGone => continue 'turns,
                }
            }
        }
    }

    /// Waits for the lock as long as leases are free: the contenders before this one are about to take one then,
    /// and do not wait for a release. `None` as soon as no lease is free.
    async fn acquire_lock_while_free(&self, lock: &Lock) -> Result<Option<LockGuard>, Error> {
        let mut turn = None;
        loop {
            let watch = match self.count_leases().await? {
                Leases::Free(watch) => watch,
                Leases::Full(_) => return Ok(None),
                Leases::NodeGone => {
                    self.agree_on_max_leases().await?;
                    continue;
                }
            };
            let turn = turn.get_or_insert_with(|| lock.acquire());
            let changed = async {
                // The next count reports the end of the session.
                let _ = watch.await;
                None
            };
            if let Some(turn) = first_of(async { Some(turn.await) }, changed).await {
                return turn.map(Some);
            }
        }
    }

    /// Counts the leases, and watches for changes.
    async fn count_leases(&self) -> Result<Leases, Error> {
        match retry_transient(&self.client, |zk| zk.get_children_and_watch(&self.path)).await {
            Ok((leases, _, watch)) => {
                other_clients::refuse_leases(&self.path, &leases)?;
                let is_free = leases.len() < self.options.max_leases;
                Ok(if is_free { Leases::Free(watch) } else { Leases::Full(watch) })
            }
            Err(error) if is_no_node(&error) => Ok(Leases::NodeGone),
            Err(error) => Err(error),
        }
    }

    /// Creates the lease's node, once even if replies are lost, if this contender holds the lock. `None` otherwise.
    async fn create_lease(&self, own: &str, turn: &LockGuard) -> Result<Option<Stat>, Error> {
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
                // The id is unique: if the node exists, an earlier try has created it.
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

    /// Writes the number of leases to the semaphore's node, or checks that it is the same. Other data in the node
    /// is left alone.
    async fn agree_on_max_leases(&self) -> Result<(), Error> {
        let own = self.options.max_leases;
        loop {
            let agreed = match retry_transient(&self.client, |zk| zk.get(&self.path)).await {
                Ok((data, stat)) if data.is_empty() => {
                    // The node may belong to another client.
                    let children =
                        retry_transient(&self.client, |zk| zk.get_children(&self.path)).await;
                    other_clients::refuse_leases(&self.path, &children?)?;
                    let set = |zk: &Client| zk.set(&self.path, own.to_string(), stat.version);
                    retry_transient(&self.client, set).await.map(drop)
                }
                Ok((data, _)) => return self.check_max_leases(&data),
                Err(error) if is_no_node(&error) => {
                    let options = CreateOptions::persistent().makepath();
                    let create = |zk: &Client| zk.create(&self.path, own.to_string(), &options);
                    retry_transient(&self.client, create).await.map(drop)
                }
                Err(error) => return Err(error),
            };
            match agreed.as_ref().map_err(Error::code) {
                // Another contender was faster.
                Err(Some(ErrorCode::BadVersion | ErrorCode::NodeExists | ErrorCode::NoNode)) => {}
                _ => return agreed,
            }
        }
    }

    fn check_max_leases(&self, data: &[u8]) -> Result<(), Error> {
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

/// The leases, compared with the number that is allowed.
enum Leases {
    /// There are fewer leases than allowed.
    Free(Watch),
    /// There are as many leases as allowed.
    Full(Watch),
    /// The semaphore's node does not exist.
    NodeGone,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SemaphoreInner { path, options, .. } = &self.0;
        write!(f, "Semaphore({path}, {} leases)", options.max_leases)
    }
}

guard! {
    /// A lease that is held. The last clone to be dropped releases it.
    pub struct Lease, of "the lease"
}
