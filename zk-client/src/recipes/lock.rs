//! [`Lock`], [`ReadLock`] and [`WriteLock`]: locks with one holder, or many readers, in the order of arrival.
//!
//! Each contender has an ephemeral sequential node below the lock's path. Its name is a unique id, `__lock__` (`__rlock__`
//! for readers) and the number, as in kazoo; options give it the format of other clients. A contender holds the lock if no
//! contender that it must wait for has a lower number: see [`LockInner::attempt`]. Otherwise it watches the last such
//! contender before it, so that a release wakes only the next one in line.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use zk_proto::{path, records::Stat, session::SessionId};

use crate::{
    AsyncResult, Client, CreateOptions, Error, ErrorKind, Transaction, Ustring,
    compound_calls::uuid,
    from_reply::is_no_node,
    retrying::retry_transient,
    stop::{Stop, until_stopped},
    surfaces::with_blocking,
};

use super::{
    delete, delete_own,
    held_node::{HeldNode, guard},
    is_session_gone, other_clients, read_identifiers,
    running_tasks::RunningTasks,
    sequence,
};

/// The blocking forms of the locks, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    pub(crate) use crate::{client::blocking::Client, transaction::blocking::Transaction};

    use crate::surfaces::blocking_form;

    blocking_form! {
        /// A lock that one contender holds at a time. See [`recipes::Lock`](super::Lock).
        ///
        /// ```no_run
        /// # use zk_client::{Error, blocking::{Client, recipes::Lock}};
        /// # fn example(zk: Client) -> Result<(), Error> {
        /// let guard = Lock::new(&zk, "/locks/report").acquire()?;
        /// guard.transaction().set("/report", b"done", None).commit()?.committed()?;
        /// guard.release()
        /// # }
        /// ```
        #[derive(Clone)]
        pub struct Lock;
    }

    blocking_form! {
        /// The read side of a shared lock. See [`recipes::ReadLock`](super::ReadLock).
        #[derive(Clone)]
        pub struct ReadLock;
    }

    blocking_form! {
        /// The write side of a shared lock. See [`recipes::WriteLock`](super::WriteLock).
        #[derive(Clone)]
        pub struct WriteLock;
    }

    blocking_form! {
        /// A lock that is held. The last clone to be dropped releases it, without blocking.
        #[derive(Clone)]
        #[must_use = "it is released when this is dropped"]
        pub struct LockGuard;
    }
}

/// The side of a lock.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// A lock without sides.
    Exclusive,
    Read,
    Write,
}

/// The client whose format the nodes have, and with whose nodes they contend.
#[derive(Debug, Clone, Copy, Default)]
enum NodeFormat {
    #[default]
    Kazoo,
    Curator,
    GoZookeeper,
}

/// The parts of nodes' names right before the number: of a lock's own nodes, and of those that it waits for.
#[derive(Debug, Clone, Copy)]
struct NodeNames {
    node: &'static str,
    waits_for: &'static [&'static str],
}

impl NodeFormat {
    const fn names(self, side: Side) -> Option<NodeNames> {
        let (node, waits_for): (_, &[_]) = match (self, side) {
            (Self::Kazoo, Side::Exclusive) => ("__lock__", &["__lock__"]),
            (Self::Kazoo, Side::Read) => ("__rlock__", &["__lock__"]),
            (Self::Kazoo, Side::Write) => ("__lock__", &["__lock__", "__rlock__"]),
            (Self::Curator, Side::Read) => ("-__READ__", &["-__WRIT__"]),
            (Self::Curator, Side::Write) => ("-__WRIT__", &["-__WRIT__", "-__READ__"]),
            (Self::Curator | Self::GoZookeeper, Side::Exclusive) => ("-lock-", &["-lock-"]),
            (Self::GoZookeeper, Side::Read | Side::Write) => return None,
        };
        Some(NodeNames { node, waits_for })
    }

    /// Returns a node's name up to its number.
    fn name(self, id: u128, names: NodeNames) -> String {
        match self {
            Self::Kazoo => format!("{id:032x}{}", names.node),
            Self::Curator => format!("_c_{}{}", uuid(id), names.node),
            Self::GoZookeeper => format!("_c_{id:032x}{}", names.node),
        }
    }
}

/// Options of a lock: an identifier, and the other clients that it is shared with.
///
/// A lock can be shared with programs that use another client only if both sides wait for each other's nodes. By default,
/// a lock is shared with kazoo's. Curator and go-zookeeper wait only for nodes of their own format, so there is an option
/// for each of them:
///
/// | option | is shared with |
/// |---|---|
/// | default | kazoo's `Lock`, `ReadLock`, `WriteLock` |
/// | [`curator`](Self::curator) | Curator's `InterProcessMutex`, and the two sides of its `InterProcessReadWriteLock` |
/// | [`go_zookeeper`](Self::go_zookeeper) | go-zookeeper's `Lock` |
///
/// All contenders at one path must use the same format. Curator's `InterProcessSemaphoreV2` and
/// `InterProcessSemaphoreMutex` cannot be shared with any lock of this crate.
#[derive(Clone, Default)]
#[must_use = "options do nothing by themselves: see `Lock::with_options`"]
pub struct LockOptions {
    identifier: Vec<u8>,
    extra_patterns: Vec<String>,
    form: NodeFormat,
}

/// The identifier is left out, because it is a node's data.
impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("extra_patterns", &self.extra_patterns)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl LockOptions {
    /// Options for a lock that is shared with programs that use Curator.
    ///
    /// The nodes have Curator's format: `_c_<uuid>-lock-` and the number, with `-__READ__` or `-__WRIT__` in a [`ReadLock`]
    /// or a [`WriteLock`]. A [`Lock`] contends with Curator's `InterProcessMutex`, and the other two with the sides of its
    /// `InterProcessReadWriteLock`. At the path of an `InterProcessSemaphoreV2` or `InterProcessSemaphoreMutex`, an acquire
    /// fails with [`InvalidInput`](ErrorKind::InvalidInput).
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, recipes::{Lock, LockOptions}};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let guard = Lock::with_options(&zk, "/locks/report", LockOptions::curator()).acquire().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn curator() -> Self {
        Self { form: NodeFormat::Curator, ..Self::default() }
    }

    /// Options for a [`Lock`] that is shared with programs that use go-zookeeper.
    ///
    /// The nodes have the format of its `Lock`: `_c_<hex>-lock-` and the number. go-zookeeper has no lock for readers, so
    /// an acquire of a [`ReadLock`] or [`WriteLock`] fails with [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn go_zookeeper() -> Self {
        Self { form: NodeFormat::GoZookeeper, ..Self::default() }
    }

    /// Sets what [`contenders`](Lock::contenders) returns for this contender. The default is nothing.
    pub fn identifier(mut self, identifier: impl AsRef<[u8]>) -> Self {
        self.identifier = identifier.as_ref().to_vec();
        self
    }

    /// Makes the lock also wait for nodes whose names have `pattern` right before the number.
    ///
    /// Their creators do not wait for this lock in return, unless they are configured to. To share a lock with Curator or
    /// go-zookeeper, use [`curator`](Self::curator) or [`go_zookeeper`](Self::go_zookeeper).
    pub fn extra_lock_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.extra_patterns.push(pattern.into());
        self
    }
}

/// A lock that one contender holds at a time.
///
/// ```no_run
/// # use zk_client::{Client, Error, recipes::Lock};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// let lock = Lock::new(&zk, "/locks/report");
/// let guard = lock.acquire().await?;
/// // … one process at a time does this …
/// guard.transaction().set("/report", b"done", None).commit().await?.committed()?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// The lock is not reentrant: each acquire is a contender of its own, also on the same object.
///
/// # What is guaranteed
///
/// - **Mutual exclusion:** while the holder's node exists, nobody else holds the lock. The ensemble orders the nodes. The
///   node exists until the lock is released or the holder's session expires.
/// - **Fencing:** a holder may learn of its loss late. A process that was paused for longer than its session timeout may
///   believe for a moment that it still holds the lock. So let the protected store check: write to ZooKeeper with
///   [`LockGuard::transaction`], which fails if the lock's node no longer exists, and pass
///   [`LockGuard::fencing_token`], which grows from holder to holder, to other stores.
/// - **Suspended:** if the connection is lost, the lock is held as long as the session lives. [`LockGuard::suspended`] and
///   [`LockGuard::on_change`] report this. [`LockGuard::is_held`] is true while the lock is held for certain, by the clock
///   of this machine; without a connection it is false. Stop the protected work then, or rely on fencing.
/// - **Lost:** if the session expires or another client deletes the lock's node, the lock is lost, and
///   [`LockGuard::lost`] is set. A waiter creates a new node, at the end of the queue.
/// - **No node is left behind** if the reply to a create is lost, an acquire is cancelled, dropped or timed out at any
///   moment, a release is interrupted, or the holder panics. A node that cannot be deleted goes with the session.
#[derive(Clone)]
pub struct Lock(LockInner);

/// The read side of a shared lock: many may hold it at once, while nobody holds the [`WriteLock`].
///
/// Readers and writers get the lock in the order of their arrival: a reader waits for the writers before it, a writer for
/// all contenders before it. The guarantees are those of a [`Lock`].
#[derive(Clone)]
pub struct ReadLock(LockInner);

/// The write side of a shared lock: one may hold it, while nobody holds the [`ReadLock`]. The guarantees are those of a
/// [`Lock`].
#[derive(Clone)]
pub struct WriteLock(LockInner);

macro_rules! lock {
    ($name:ident, $side:expr) => {
        with_blocking! { impl $name {
            /// Returns the lock at `path`. The first acquire creates the node, and its parents if they are missing.
            #[must_use]
            pub fn new(client: &Client, path: impl Into<String>) -> Self {
                Self::with_options(client, path, LockOptions::default())
            }

            /// Like [`new`](Self::new), with options.
            #[must_use]
            pub fn with_options(client: &Client, path: impl Into<String>, options: LockOptions) -> Self {
                Self(LockInner {
                    client: client.clone(),
                    path: path.into(),
                    side: $side,
                    options,
                    tasks: RunningTasks::default(),
                })
            }

            /// Waits until the lock is held.
            ///
            /// # Errors
            /// Errors that waiting cannot resolve. An acquire that fails leaves no node behind.
            /// - [`NoAuth`](crate::ErrorCode::NoAuth) if the client may not create nodes, list them, or read the node of the
            ///   contender before it.
            /// - [`ConnectionClosed`](ErrorKind::ConnectionClosed) if the client is stopped.
            /// - [`SequenceExhausted`](ErrorKind::SequenceExhausted) if the sequence numbers at this path are used up.
            /// - [`Cancelled`](ErrorKind::Cancelled) after [`cancel`](Self::cancel).
            ///
            /// # Cancel safety
            /// Dropping or cancelling the result ends the acquire. If the lock is held by then, it is released.
            pub fn acquire(&self) -> AsyncResult<LockGuard> {
                self.0.acquire(None)
            }

            /// Waits until the lock is held, for at most `timeout`.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
            pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<LockGuard> {
                self.0.acquire(Some(timeout))
            }

            /// Acquires the lock if it is free, and returns `None` otherwise.
            ///
            /// This waits for the connection, but not for other contenders.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> AsyncResult<Option<LockGuard>> {
                self.0.try_acquire()
            }

            /// Cancels all acquires of this object and of its clones that are in progress, also those that block threads.
            ///
            /// They fail with [`Cancelled`](ErrorKind::Cancelled), and their nodes are deleted. Later acquires and locks that
            /// are held already are not affected.
            pub fn cancel(&self) {
                self.0.tasks.cancel();
            }

            /// Returns the identifiers of those who hold the lock or wait for it, in order.
            ///
            /// # Errors
            /// Errors of the session, and [`NoAuth`](crate::ErrorCode::NoAuth) if the client may not read the nodes.
            pub fn contenders(&self) -> AsyncResult<Vec<String>> {
                self.0.contenders()
            }
        } }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.path)
            }
        }
    };
}

lock!(Lock, Side::Exclusive);
lock!(ReadLock, Side::Read);
lock!(WriteLock, Side::Write);

/// The implementation of the three locks.
#[derive(Clone)]
struct LockInner {
    client: Client,
    path: String,
    side: Side,
    options: LockOptions,
    tasks: RunningTasks,
}

/// A contender's node.
#[derive(Debug, Clone)]
struct Node {
    path: Ustring,
    stat: Stat,
}

impl LockInner {
    fn acquire(&self, timeout: Option<Duration>) -> AsyncResult<LockGuard> {
        let contender = self.clone();
        self.tasks.spawn(&self.client, move |abandon| async move {
            let stop = Stop::new(contender.client.inner(), abandon, timeout);
            let held = contender.contend(&stop, true).await?;
            held.map(LockGuard).ok_or_else(|| stop.error(&contender.path))
        })
    }

    fn try_acquire(&self) -> AsyncResult<Option<LockGuard>> {
        let contender = self.clone();
        self.tasks.spawn(&self.client, move |abandon| async move {
            let stop = Stop::on(abandon);
            Ok(contender.contend(&stop, false).await?.map(LockGuard))
        })
    }

    /// Makes attempts until the lock is held or `stop` ends them. `None` if the lock is not free and `wait` is false.
    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<Arc<HeldNode>>, Error> {
        // This comes first: with the path `/lock/`, a node could be created but not listed.
        path::validate(&self.path).map_err(|error| Error::bad_path(error, None))?;
        let names = self.names()?;
        loop {
            // Each node has a new id, because a node of an earlier session may still exist.
            let id = self.options.form.name(self.client.inner().unique_id(), names);
            let id = path::join(&self.path, &id);
            let made = OnceLock::new();
            let ended = until_stopped(stop, self.attempt(&id, names, &made, wait)).await;
            let is_stopped = ended.is_none();
            let error = match ended {
                Some(Ok(Attempt::Held(node))) => {
                    return Ok(Some(HeldNode::new(&self.client, node.path, &node.stat)));
                }
                Some(Ok(Attempt::Taken(path))) => {
                    delete(&self.client, path.into()).await?;
                    return Ok(None);
                }
                Some(Ok(Attempt::NodeGone)) => continue,
                Some(Err(error)) if error.kind() == ErrorKind::SessionExpired => continue,
                Some(Err(error)) => error,
                None => stop.error(&self.path),
            };
            let withdrawn = match made.into_inner() {
                Some(path) => delete(&self.client, path.into()),
                None => self.withdraw(id),
            };
            if is_stopped {
                drop(withdrawn);
            } else {
                // The deletion goes on if it takes too long.
                until_stopped(stop, withdrawn).await;
            }
            return Err(error);
        }
    }

    /// Creates a node whose name begins with `id`, and waits until it holds the lock or is gone. It holds the lock if it has
    /// no predecessor among the contenders that it waits for. The node's path is put into `made` as soon as it is known.
    async fn attempt(
        &self,
        id: &str,
        names: NodeNames,
        made: &OnceLock<Ustring>,
        wait: bool,
    ) -> Result<Attempt, Error> {
        let options = CreateOptions::ephemeral().sequence().makepath();
        let identifier = Some(&*self.options.identifier);
        let created = self.client.create_once(id, identifier, &options).await;
        let (path, stat) = created.map_err(|error| sequence::creation_error(id, error))?;
        let path = made.get_or_init(|| path).clone();
        let (own, number) = (path::name(&path), sequence::number_of(id, &path)?);
        loop {
            let children = retry_transient(&self.client, |zk| zk.get_children(&self.path)).await;
            let children = match children {
                Err(error) if is_no_node(&error) => return Ok(Attempt::NodeGone),
                children => children?,
            };
            if matches!(self.options.form, NodeFormat::Curator) {
                other_clients::refuse_semaphore_v2(&self.path, &children)?;
            }
            // A node of an earlier session does not count: the servers are about to delete it.
            let alive = self.client.session_id() == Some(SessionId(stat.ephemeral_owner));
            if !alive || !children.iter().any(|name| *name == *own) {
                return Ok(Attempt::NodeGone);
            }
            let contenders = sequence::contenders(&children, self.patterns(names.waits_for));
            let Some(before) = sequence::predecessor(number, contenders) else {
                return Ok(Attempt::Held(Node { path, stat }));
            };
            if !wait {
                return Ok(Attempt::Taken(path));
            }
            let before = path::join(&self.path, before);
            // A get fails on every version of the servers if the client may not read the node. An exists does not fail on
            // all of them, and servers silently withhold events from clients that may not read the node.
            match retry_transient(&self.client, |zk| zk.get_and_watch(&before)).await {
                Ok((_, _, watch)) => drop(watch.await?),
                Err(error) if is_no_node(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn names(&self) -> Result<NodeNames, Error> {
        self.options.form.names(self.side).ok_or_else(|| {
            Error::invalid(format!(
                "{} cannot be shared with go-zookeeper, which has no read and write locks",
                self.path
            ))
        })
    }

    /// Returns the patterns of nodes' names of `kinds`, and the extra ones.
    fn patterns<'p>(&'p self, kinds: &'p [&'p str]) -> impl Iterator<Item = &'p str> + Clone {
        kinds.iter().copied().chain(self.options.extra_patterns.iter().map(String::as_str))
    }

    /// Deletes the node whose name begins with `id`, if it exists, in a task. Its path is not known. A create that was sent
    /// before is applied before.
    fn withdraw(&self, id: String) -> AsyncResult<()> {
        let client = self.client.clone();
        self.client.spawn(async move {
            let result = async {
                while let Some((path, _)) = client.find_created(&id, true).await? {
                    delete_own(&client, &path).await?;
                }
                Ok(())
            };
            match result.await {
                Err(error) if is_session_gone(&error) => Ok(()),
                result => result,
            }
        })
    }

    fn contenders(&self) -> AsyncResult<Vec<String>> {
        let contender = self.clone();
        self.client.spawn(async move {
            let names = contender.names()?;
            let children =
                match retry_transient(&contender.client, |zk| zk.get_children(&contender.path))
                    .await
                {
                    Err(error) if is_no_node(&error) => return Ok(Vec::new()),
                    children => children?,
                };
            let kinds = [names.waits_for, &[names.node]].concat();
            let mut nodes: Vec<_> =
                sequence::contenders(&children, contender.patterns(&kinds)).collect();
            nodes.sort_unstable();
            let paths = nodes.iter().map(|(_, name)| path::join(&contender.path, name));
            read_identifiers(&contender.client, paths).await
        })
    }
}

/// The result of an attempt to get the lock.
enum Attempt {
    /// This node holds the lock.
    Held(Node),
    /// The lock is not free. The path is that of the own node.
    Taken(Ustring),
    /// The own node no longer exists.
    NodeGone,
}

guard! {
    /// A lock that is held. The last clone to be dropped releases it.
    pub struct LockGuard, of "the lock"
}

with_blocking! { impl LockGuard {
    /// Returns a number that is greater than that of every earlier holder of this lock.
    ///
    /// It is the id of the transaction that created the lock's node. Pass it to the store that the lock protects, and let
    /// the store refuse lower numbers. Readers that hold a [`ReadLock`] at the same time have different numbers; the number
    /// of a writer is greater than all before it.
    #[must_use]
    pub fn fencing_token(&self) -> i64 {
        self.0.czxid()
    }
} }
