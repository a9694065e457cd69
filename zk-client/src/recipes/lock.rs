//! [`Lock`], [`ReadLock`] and [`WriteLock`]: one holder, or many readers, in the order of arrival.
//!
//! The nodes are kazoo's: below the lock's path, each contender has an ephemeral sequential node whose
//! name is a unique id, `__lock__` (`__rlock__` for readers) and the number. The lowest number holds; each
//! other contender watches the one contender before it that it has to wait for, so that a release wakes
//! the next in line and nobody else.
//!
//! # What is guaranteed
//!
//! - **Nobody else gets in while the holder's node is there**, by the ensemble's own order. The node is
//!   there until it is released or the holder's session has expired.
//! - **A holder can be late to learn that.** A process that was paused beyond its session may believe for a
//!   moment that it still holds. Let what the lock protects check: write to ZooKeeper through
//!   [`LockGuard::transaction`], which fails when the lock's node is gone, and give other stores
//!   [`LockGuard::fencing_token`], which grows from holder to holder.
//! - **Suspended:** the connection is lost, and the lock is held for as long as the session lives.
//!   [`LockGuard::is_held`] is true while that is sure by this side's clock; when it no longer is, stop, or
//!   rely on fencing.
//! - **Lost:** the session has expired, and the lock with it: [`LockGuard::lost`] happens. A waiter starts
//!   over with a new node.
//! - **No node is left behind**: not when the reply to the create is lost, when an acquire is cancelled,
//!   dropped or timed out at any moment, when the release is interrupted, or when the holder panics. What
//!   cannot be deleted goes with the session.

use std::{fmt, sync::Arc, time::Duration};

use zk_proto::{path, records::Stat};

use crate::{
    AsyncResult, Client, CreateOptions, Error, ErrorKind, Event, Outcome, Transaction, Ustring,
};

use super::{Stop, delete_own, held::Held, is_connection_loss, is_no_node, patiently, unless};

/// How a kind of lock names its nodes and for whose it waits.
#[derive(Debug, Clone, Copy)]
struct Kind {
    node: &'static str,
    waits_for: &'static [&'static str],
}

const EXCLUSIVE: Kind = Kind { node: "__lock__", waits_for: &["__lock__"] };
const READ: Kind = Kind { node: "__rlock__", waits_for: &["__lock__"] };
const WRITE: Kind = Kind { node: "__lock__", waits_for: &["__lock__", "__rlock__"] };

/// How a lock is to behave: kazoo's `identifier` and `extra_lock_patterns`.
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing by themselves: see `Lock::with`"]
pub struct LockOptions {
    identifier: Vec<u8>,
    extra_patterns: Vec<String>,
}

impl LockOptions {
    /// What [`contenders`](Lock::contenders) shows of this contender. Default nothing.
    pub fn identifier(mut self, identifier: impl AsRef<[u8]>) -> Self {
        self.identifier = identifier.as_ref().to_vec();
        self
    }

    /// Nodes whose names have `pattern` before their number contend as well: `-lock-` for those of
    /// Curator and go-zookeeper.
    pub fn extra_lock_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.extra_patterns.push(pattern.into());
        self
    }
}

/// A lock that one contender holds at a time. See the [module](self) for what it guarantees.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::Lock};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let lock = Lock::new(&zk, "/locks/report");
/// let guard = lock.acquire().await?;
/// // … this is done by one process at a time …
/// guard.transaction().set("/report", b"done", None).commit().await?.committed()?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// It is not re-entrant: each acquire contends for itself, be it of the same object.
#[derive(Clone)]
pub struct Lock {
    contender: Contender,
}

/// The side of a shared lock that many may hold at once, while nobody has the [`WriteLock`].
#[derive(Clone)]
pub struct ReadLock {
    contender: Contender,
}

/// The side of a shared lock that one may hold, while nobody has the [`ReadLock`].
#[derive(Clone)]
pub struct WriteLock {
    contender: Contender,
}

macro_rules! lock {
    ($name:ident, $kind:expr) => {
        impl $name {
            /// The lock at `path`, which is created with its parents when it is first acquired.
            #[must_use]
            pub fn new(client: &Client, path: impl Into<String>) -> Self {
                Self::with(client, path, LockOptions::default())
            }

            /// As [`new`](Self::new), with options.
            #[must_use]
            pub fn with(client: &Client, path: impl Into<String>, options: LockOptions) -> Self {
                let client = client.clone();
                Self { contender: Contender { client, path: path.into(), kind: $kind, options } }
            }

            /// Waits until the lock is held. Cancelling or dropping the handle ends the waiting, and
            /// gives up the lock if it was held just then.
            ///
            /// # Errors
            /// Those that waiting does not help: no right to create nodes, a client that is stopped.
            pub fn acquire(&self) -> AsyncResult<LockGuard> {
                self.contender.acquire(None)
            }

            /// As [`acquire`](Self::acquire), for no longer than `timeout`.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
            pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<LockGuard> {
                self.contender.acquire(Some(timeout))
            }

            /// Takes the lock if it is free: kazoo's `acquire(blocking=False)`.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> AsyncResult<Option<LockGuard>> {
                self.contender.try_acquire()
            }

            /// The identifiers of those who hold the lock or wait for it, in their order.
            ///
            /// # Errors
            /// Those of the connection.
            pub fn contenders(&self) -> AsyncResult<Vec<String>> {
                self.contender.contenders()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.contender.path)
            }
        }
    };
}

lock!(Lock, EXCLUSIVE);
lock!(ReadLock, READ);
lock!(WriteLock, WRITE);

/// Who contends, for what and how.
#[derive(Clone)]
struct Contender {
    client: Client,
    path: String,
    kind: Kind,
    options: LockOptions,
}

/// A contender's node.
#[derive(Debug, Clone)]
struct Node {
    name: String,
    stat: Stat,
}

impl Contender {
    fn acquire(&self, timeout: Option<Duration>) -> AsyncResult<LockGuard> {
        let contender = self.clone();
        self.client.spawn_cancellable(move |abandon| async move {
            let stop = Stop::new(&contender.client, abandon, timeout);
            let guard = contender.contend(&stop, true).await?;
            guard.ok_or_else(|| stop.error(&contender.path))
        })
    }

    fn try_acquire(&self) -> AsyncResult<Option<LockGuard>> {
        let contender = self.clone();
        self.client.spawn_cancellable(move |abandon| async move {
            let stop = Stop::new(&contender.client, abandon, None);
            contender.contend(&stop, false).await
        })
    }

    /// Contends until the lock is held or `stop` says so; `None` when it is not to be had by then.
    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<LockGuard>, Error> {
        loop {
            // A new id for each node: one of an earlier session may still be there, dying.
            let id = format!("{:032x}{}", fastrand::u128(..), self.kind.node);
            let outcome = unless(stop, self.contend_as(&id, wait)).await;
            match outcome {
                Some(Ok(Turn::Held(node))) if !stop.is_abandoned() => {
                    let path = path::join(&self.path, &node.name);
                    return Ok(Some(LockGuard { held: Held::new(&self.client, path, &node.stat) }));
                }
                Some(Err(error)) if error.kind() == ErrorKind::SessionExpired => {}
                Some(Ok(Turn::Gone)) => {}
                Some(Ok(Turn::Held(_) | Turn::Taken)) => {
                    self.withdraw(id);
                    return if stop.is_abandoned() { Err(Error::cancelled()) } else { Ok(None) };
                }
                Some(Err(error)) => {
                    self.withdraw(id);
                    return Err(error);
                }
                None => {
                    self.withdraw(id);
                    return Err(stop.error(&self.path));
                }
            }
        }
    }

    /// Contends with the node that `id` begins, until it is its turn, or the node is gone.
    async fn contend_as(&self, id: &str, wait: bool) -> Result<Turn, Error> {
        let node = self.enter(id).await?;
        loop {
            let children = patiently(|| self.client.get_children(&self.path)).await?;
            if !children.iter().any(|name| *name == *node.name) {
                return Ok(Turn::Gone);
            }
            let Some(before) = self.predecessor(&node.name, &children) else {
                return Ok(Turn::Held(node));
            };
            if !wait {
                return Ok(Turn::Taken);
            }
            let before = path::join(&self.path, &before);
            let (there, watch) = patiently(|| self.client.exists_and_watch(&before)).await?;
            if there.is_some() {
                watch.await?;
            }
        }
    }

    /// Makes the contender's node, once, whatever happens to the replies.
    async fn enter(&self, id: &str) -> Result<Node, Error> {
        patiently(|| self.client.ensure_path(&self.path)).await?;
        let path = path::join(&self.path, id);
        let options = CreateOptions::ephemeral().sequence();
        loop {
            let data = &self.options.identifier;
            match self.client.create_with_stat(&path, data, &options).await {
                Ok((path, stat)) => return Ok(Node { name: path::name(&path).to_owned(), stat }),
                Err(error) if is_connection_loss(&error) => {
                    if error.outcome() == Outcome::NotSent {
                        continue;
                    }
                    if let Some(node) = self.find(id).await? {
                        return Ok(node);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for a node of the present session that `id` begins.
    async fn find(&self, id: &str) -> Result<Option<Node>, Error> {
        let children = patiently(|| self.client.get_children(&self.path)).await?;
        for name in children.iter().filter(|name| name.starts_with(id)) {
            let path = path::join(&self.path, name);
            let stat = patiently(|| self.client.exists(&path)).await?;
            let own = self.client.session_id().map(|session| session.0);
            if let Some(stat) = stat.filter(|stat| Some(stat.ephemeral_owner) == own) {
                return Ok(Some(Node { name: name.as_str().to_owned(), stat }));
            }
        }
        Ok(None)
    }

    /// The last contender before `own` that has to be gone before it is its turn.
    fn predecessor(&self, own: &str, children: &[Ustring]) -> Option<String> {
        let turn = number(own, self.kind.node)?;
        children
            .iter()
            .filter_map(|name| Some((self.contends(name, self.kind.waits_for)?, name)))
            .filter(|(number, _)| *number < turn)
            .max_by_key(|(number, _)| *number)
            .map(|(_, name)| name.as_str().to_owned())
    }

    /// The number of a node that one of `patterns`, or of the extra ones, marks as a contender.
    fn contends(&self, name: &str, patterns: &[&str]) -> Option<i32> {
        let extra = self.options.extra_patterns.iter().map(String::as_str);
        patterns.iter().copied().chain(extra).find_map(|pattern| number(name, pattern))
    }

    /// Deletes the node that `id` begins, in the background, if there is one or is to be one soon: what
    /// was sent before is done before.
    fn withdraw(&self, id: String) {
        let contender = self.clone();
        drop(self.client.spawn(async move {
            while let Some(node) = contender.find(&id).await? {
                delete_own(&contender.client, &path::join(&contender.path, &node.name)).await?;
            }
            Ok(())
        }));
    }

    fn contenders(&self) -> AsyncResult<Vec<String>> {
        let contender = self.clone();
        self.client.spawn(async move {
            let children = match patiently(|| contender.client.get_children(&contender.path)).await
            {
                Err(error) if is_no_node(&error) => return Ok(Vec::new()),
                children => children?,
            };
            let patterns = [contender.kind.waits_for, &[contender.kind.node]].concat();
            let mut nodes: Vec<_> = children
                .iter()
                .filter_map(|name| Some((contender.contends(name, &patterns)?, name)))
                .collect();
            nodes.sort_unstable();
            let reads: Vec<_> = nodes
                .iter()
                .map(|(_, name)| contender.client.get(path::join(&contender.path, name)))
                .collect();
            let mut identifiers = Vec::new();
            for read in reads {
                match read.await {
                    Ok((data, _)) => identifiers.push(String::from_utf8_lossy(&data).into_owned()),
                    Err(error) if is_no_node(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(identifiers)
        })
    }
}

/// How contending went.
enum Turn {
    /// The lock is held, by this node.
    Held(Node),
    /// Somebody else holds it.
    Taken,
    /// The own node has vanished.
    Gone,
}

/// The number of a node whose name has `pattern` right before it.
fn number(name: &str, pattern: &str) -> Option<i32> {
    let at = name.rfind(pattern)?;
    path::sequence_after(name.get(..at + pattern.len())?, name)
}

/// A lock that is held. The last clone to be dropped releases it.
#[derive(Clone)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard {
    held: Arc<Held>,
}

impl LockGuard {
    /// Whether the lock is held for sure, by this side's clock: it was not released, its session has not
    /// expired, and could not have by now even if nothing more reached the servers.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// For how much longer the lock is held for sure, were the connection cut now.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.held.held_for()
    }

    /// Happens when the lock is lost with its session.
    #[must_use]
    pub fn lost(&self) -> &Event {
        self.held.lost()
    }

    /// A number that is greater than that of every earlier holder of this lock: the transaction that
    /// made the lock's node. Give it to the store that the lock protects, and have that refuse lower ones.
    #[must_use]
    pub fn fencing_token(&self) -> i64 {
        self.held.czxid()
    }

    /// The path of the lock's node.
    #[must_use]
    pub fn path(&self) -> &str {
        self.held.path()
    }

    /// Begins a transaction that is done only if the lock is held when the servers do it.
    pub fn transaction(&self) -> Transaction {
        self.held.transaction()
    }

    /// Gives up the lock. The handle may be dropped; the lock is released all the same.
    ///
    /// # Errors
    /// When the client may not delete the node.
    pub fn release(self) -> AsyncResult<()> {
        self.held.release()
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockGuard({}, held: {})", self.path(), self.is_held())
    }
}
