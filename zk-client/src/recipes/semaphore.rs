//! [`Semaphore`]: a right that a number of holders may have at once.
//!
//! The nodes are kazoo's: the number of leases is the data of the semaphore's node, each lease an
//! ephemeral node below it, and whoever waits for one holds the lock beside it (`…-__lock__`), so that a
//! lease that is given back wakes one waiter only.
//!
//! What is guaranteed: no more leases than allowed are there at once, by the ensemble's order. For what
//! happens at suspension and loss, see [`Lock`].

use std::{fmt, sync::Arc, time::Duration};

use zk_proto::{path, records::Stat, session::Reason};

use crate::{AsyncResult, Client, CreateOptions, Error, ErrorCode, ErrorKind, Event};

use super::{
    Lock, LockOptions, Stop, delete_own, held::Held, is_connection_loss, is_no_node, patiently,
    unless,
};

/// How a semaphore is to behave: kazoo's `identifier` and `max_leases`.
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves: see `Semaphore::with`"]
pub struct SemaphoreOptions {
    identifier: Vec<u8>,
    max_leases: usize,
}

impl Default for SemaphoreOptions {
    fn default() -> Self {
        Self { identifier: Vec::new(), max_leases: 1 }
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
/// let semaphore = Semaphore::with(&zk, "/semaphores/encoders", options);
/// let lease = semaphore.acquire().await?;
/// // … three do this at a time …
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    client: Client,
    path: String,
    options: SemaphoreOptions,
}

impl Semaphore {
    /// The semaphore at `path`, with one lease.
    #[must_use]
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self::with(client, path, SemaphoreOptions::default())
    }

    /// As [`new`](Self::new), with options.
    #[must_use]
    pub fn with(client: &Client, path: impl Into<String>, options: SemaphoreOptions) -> Self {
        Self { client: client.clone(), path: path.into(), options }
    }

    /// Waits for a lease. Cancelling or dropping the handle ends the waiting, and gives back the lease
    /// if there was one just then.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the semaphore was made with another number of
    /// leases, and errors that waiting does not help.
    pub fn acquire(&self) -> AsyncResult<Lease> {
        self.acquire_within(None)
    }

    /// As [`acquire`](Self::acquire), for no longer than `timeout`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
    pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<Lease> {
        self.acquire_within(Some(timeout))
    }

    fn acquire_within(&self, timeout: Option<Duration>) -> AsyncResult<Lease> {
        let semaphore = self.clone();
        self.client.spawn_cancellable(move |abandon| async move {
            let stop = Stop::new(&semaphore.client, abandon, timeout);
            semaphore.contend(&stop, true).await?.ok_or_else(|| stop.error(&semaphore.path))
        })
    }

    /// Takes a lease if there is one.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> AsyncResult<Option<Lease>> {
        let semaphore = self.clone();
        self.client.spawn_cancellable(move |abandon| async move {
            let stop = Stop::new(&semaphore.client, abandon, None);
            semaphore.contend(&stop, false).await
        })
    }

    /// The identifiers of those who have a lease, in no order.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn lease_holders(&self) -> AsyncResult<Vec<String>> {
        let (client, path) = (self.client.clone(), self.path.clone());
        self.client.spawn(async move {
            let children = match patiently(|| client.get_children(&path)).await {
                Err(error) if is_no_node(&error) => return Ok(Vec::new()),
                children => children?,
            };
            let reads: Vec<_> =
                children.iter().map(|name| client.get(path::join(&path, name))).collect();
            let mut holders = Vec::new();
            for read in reads {
                match read.await {
                    Ok((data, _)) => holders.push(String::from_utf8_lossy(&data).into_owned()),
                    Err(error) if is_no_node(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(holders)
        })
    }

    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<Lease>, Error> {
        loop {
            // A new id for each node: one of an earlier session may still be there, dying.
            let own = path::join(&self.path, &format!("{:032x}", fastrand::u128(..)));
            let outcome = unless(stop, self.contend_as(&own, wait)).await;
            match outcome {
                Some(Ok(Some(stat))) if !stop.is_abandoned() => {
                    return Ok(Some(Lease { held: Held::new(&self.client, own, &stat) }));
                }
                Some(Err(error)) if error.kind() == ErrorKind::SessionExpired => {}
                outcome => {
                    self.withdraw(own);
                    return match outcome {
                        Some(Ok(None)) => Ok(None),
                        Some(Err(error)) => Err(error),
                        Some(Ok(Some(_))) | None => Err(stop.error(&self.path)),
                    };
                }
            }
        }
    }

    /// Takes a lease as the node `own`, as soon as there is one.
    async fn contend_as(&self, own: &str, wait: bool) -> Result<Option<Stat>, Error> {
        self.check_leases().await?;
        let options = LockOptions::default().identifier(&self.options.identifier);
        let lock = Lock::with(&self.client, format!("{}-__lock__", self.path), options);
        let turn = if wait {
            lock.acquire().await?
        } else {
            match lock.try_acquire().await? {
                Some(turn) => turn,
                None => return Ok(None),
            }
        };
        loop {
            let (leases, _, watch) =
                patiently(|| self.client.get_children_and_watch(&self.path)).await?;
            if leases.len() < self.options.max_leases {
                let stat = self.take(own).await?;
                drop(turn.release());
                return Ok(Some(stat));
            }
            if !wait {
                return Ok(None);
            }
            watch.await?;
        }
    }

    /// Makes the lease's node, once, whatever happens to the replies.
    async fn take(&self, own: &str) -> Result<Stat, Error> {
        loop {
            let data = &self.options.identifier;
            match self.client.create_with_stat(own, data, CreateOptions::ephemeral()).await {
                Ok((_, stat)) => return Ok(stat),
                Err(error) if error.code() == Some(ErrorCode::NodeExists) => {
                    // The id is nobody else's: an earlier try has made it.
                    let stat = patiently(|| self.client.exists(own)).await?;
                    let session = self.client.session_id().map(|session| session.0);
                    match stat {
                        Some(stat) if Some(stat.ephemeral_owner) == session => return Ok(stat),
                        Some(_) => return Err(Error::of_session(Reason::SessionExpired)),
                        None => {}
                    }
                }
                Err(error) if is_connection_loss(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sees to it that all agree on the number of leases. Other data in the node are left alone.
    async fn check_leases(&self) -> Result<(), Error> {
        patiently(|| self.client.ensure_path(&self.path)).await?;
        let (data, stat) = patiently(|| self.client.get(&self.path)).await?;
        let stored = str::from_utf8(&data).ok().and_then(|text| text.trim().parse::<usize>().ok());
        match stored {
            Some(leases) if leases == self.options.max_leases => Ok(()),
            Some(leases) => Err(Error::invalid(format!(
                "semaphore {} has {leases} leases, not {}",
                self.path, self.options.max_leases
            ))),
            None if data.is_empty() => {
                let leases = self.options.max_leases.to_string();
                match patiently(|| self.client.set(&self.path, &leases, stat.version)).await {
                    Err(error) if error.code() == Some(ErrorCode::BadVersion) => {
                        Box::pin(self.check_leases()).await
                    }
                    set => set.map(drop),
                }
            }
            None => Ok(()),
        }
    }

    /// Deletes the lease's node, in the background, if it is there or is to be soon.
    fn withdraw(&self, own: String) {
        let client = self.client.clone();
        drop(self.client.spawn(async move { delete_own(&client, &own).await }));
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore({}, {} leases)", self.path, self.options.max_leases)
    }
}

/// A lease that is held. The last clone to be dropped gives it back.
#[derive(Clone)]
#[must_use = "the lease is given back when this is dropped"]
pub struct Lease {
    held: Arc<Held>,
}

impl Lease {
    /// Whether the lease is held for sure, by this side's clock; see
    /// [`LockGuard::is_held`](super::LockGuard::is_held).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// Happens when the lease is lost with its session.
    #[must_use]
    pub fn lost(&self) -> &Event {
        self.held.lost()
    }

    /// The path of the lease's node.
    #[must_use]
    pub fn path(&self) -> &str {
        self.held.path()
    }

    /// Gives the lease back. The handle may be dropped; it is given back all the same.
    ///
    /// # Errors
    /// When the client may not delete the node.
    pub fn release(self) -> AsyncResult<()> {
        self.held.release()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, held: {})", self.path(), self.is_held())
    }
}
