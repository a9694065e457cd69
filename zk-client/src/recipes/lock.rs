//! [`Lock`], [`ReadLock`] and [`WriteLock`]: one holder, or many readers, in the order of arrival.
//!
//! The nodes are kazoo's, or by an option another client's: below the lock's path, each contender has an
//! ephemeral sequential node whose name is a unique id, `__lock__` (`__rlock__` for readers) and the
//! number. The lowest number holds; each other contender watches the one contender before it that it has
//! to wait for, so that a release wakes the next in line and nobody else.

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
    delete, delete_own, foreign,
    held::{Held, guard},
    identifiers, is_over,
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
        /// The side of a shared lock that many may hold at once. See [`recipes::ReadLock`](super::ReadLock).
        #[derive(Clone)]
        pub struct ReadLock;
    }

    blocking_form! {
        /// The side of a shared lock that one may hold. See [`recipes::WriteLock`](super::WriteLock).
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

/// Which side of a lock.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// Of a lock without sides.
    Exclusive,
    Read,
    Write,
}

/// Whose form nodes have, and so with whose they contend.
#[derive(Debug, Clone, Copy, Default)]
enum Form {
    #[default]
    Kazoo,
    Curator,
    GoZookeeper,
}

/// How a lock's nodes are named and for whose it waits: what is right before the number.
#[derive(Debug, Clone, Copy)]
struct Names {
    node: &'static str,
    waits_for: &'static [&'static str],
}

impl Form {
    const fn names(self, side: Side) -> Option<Names> {
        let (node, waits_for): (_, &[_]) = match (self, side) {
            (Self::Kazoo, Side::Exclusive) => ("__lock__", &["__lock__"]),
            (Self::Kazoo, Side::Read) => ("__rlock__", &["__lock__"]),
            (Self::Kazoo, Side::Write) => ("__lock__", &["__lock__", "__rlock__"]),
            (Self::Curator, Side::Read) => ("-__READ__", &["-__WRIT__"]),
            (Self::Curator, Side::Write) => ("-__WRIT__", &["-__WRIT__", "-__READ__"]),
            (Self::Curator | Self::GoZookeeper, Side::Exclusive) => ("-lock-", &["-lock-"]),
            (Self::GoZookeeper, Side::Read | Side::Write) => return None,
        };
        Some(Names { node, waits_for })
    }

    /// What a node's name is before its number.
    fn name(self, id: u128, names: Names) -> String {
        match self {
            Self::Kazoo => format!("{id:032x}{}", names.node),
            Self::Curator => format!("_c_{}{}", uuid(id), names.node),
            Self::GoZookeeper => format!("_c_{id:032x}{}", names.node),
        }
    }
}

/// How a lock is to behave: kazoo's `identifier` and `extra_lock_patterns`, and whose locks it is shared with.
///
/// A lock is shared with programs that use another client only if each waits for the nodes of the other. With
/// kazoo's these locks share as they are. For Curator's and go-zookeeper's there is an option, since both
/// look for nodes of their own form alone:
///
/// | | shares with |
/// |---|---|
/// | default | kazoo's `Lock`, `ReadLock`, `WriteLock` |
/// | [`curator`](Self::curator) | Curator's `InterProcessMutex`, and the two sides of its `InterProcessReadWriteLock` |
/// | [`go_zookeeper`](Self::go_zookeeper) | go-zookeeper's `Lock` |
///
/// All who contend at one path have to have one form. Curator's `InterProcessSemaphoreV2` and
/// `InterProcessSemaphoreMutex` share with nothing here.
#[derive(Clone, Default)]
#[must_use = "options do nothing by themselves: see `Lock::with_options`"]
pub struct LockOptions {
    identifier: Vec<u8>,
    extra_patterns: Vec<String>,
    form: Form,
}

/// Without the identifier, which is data of a node.
impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("extra_patterns", &self.extra_patterns)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl LockOptions {
    /// For a lock that is shared with programs on Curator: the nodes have Curator's form, `_c_<uuid>-lock-` and
    /// the number, or `-__READ__` and `-__WRIT__` in a [`ReadLock`] and a [`WriteLock`], so that a [`Lock`]
    /// contends with its `InterProcessMutex`, and these with the sides of its `InterProcessReadWriteLock`.
    ///
    /// At the path of an `InterProcessSemaphoreV2` or `InterProcessSemaphoreMutex` an acquire fails with
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    ///
    /// ```no_run
    /// # use zk_client::{Client, Error, recipes::{Lock, LockOptions}};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let guard = Lock::with_options(&zk, "/locks/report", LockOptions::curator()).acquire().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn curator() -> Self {
        Self { form: Form::Curator, ..Self::default() }
    }

    /// For a [`Lock`] that is shared with programs on go-zookeeper: the nodes have the form of its `Lock`,
    /// `_c_<hex>-lock-` and the number. There is nothing to share a [`ReadLock`] or [`WriteLock`] with: to
    /// acquire one fails with [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn go_zookeeper() -> Self {
        Self { form: Form::GoZookeeper, ..Self::default() }
    }

    /// What [`contenders`](Lock::contenders) shows of this contender. Default nothing.
    pub fn identifier(mut self, identifier: impl AsRef<[u8]>) -> Self {
        self.identifier = identifier.as_ref().to_vec();
        self
    }

    /// Waits for nodes as well whose names have `pattern` right before their number. Those who made them
    /// do not wait for this lock's node in return, unless they are told to: to share a lock with Curator
    /// or go-zookeeper, use [`curator`](Self::curator) or [`go_zookeeper`](Self::go_zookeeper).
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
/// // … this is done by one process at a time …
/// guard.transaction().set("/report", b"done", None).commit().await?.committed()?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// It is not re-entrant: each acquire contends for itself, be it of the same object.
///
/// # What is guaranteed
///
/// - **Nobody else gets in while the holder's node is there**, by the ensemble's own order. The node is
///   there until it is released or the holder's session has expired.
/// - **A holder can be late to learn that.** A process that was paused beyond its session may believe for a
///   moment that it still holds. Let what the lock protects check: write to ZooKeeper through
///   [`LockGuard::transaction`], which fails when the lock's node is gone, and give other stores
///   [`LockGuard::fencing_token`], which grows from holder to holder.
/// - **Suspended:** the connection is lost, and the lock is held for as long as the session lives.
///   [`LockGuard::suspended`] and [`LockGuard::on_change`] tell. [`LockGuard::is_held`] is true while it is
///   sure by this side's clock that the lock is held; without a connection it never is. Stop then, or rely
///   on fencing.
/// - **Lost:** the session has expired, and the lock with it, or somebody has deleted the lock's node:
///   [`LockGuard::lost`] happens. A waiter starts over with a new node, at the end of the queue.
/// - **No node is left behind**: not when the reply to the create is lost, when an acquire is cancelled,
///   dropped or timed out at any moment, when the release is interrupted, or when the holder panics. What
///   cannot be deleted goes with the session.
#[derive(Clone)]
pub struct Lock(Contender);

/// The side of a shared lock that many may hold at once, while nobody has the [`WriteLock`].
///
/// Readers and writers get their turn in the order in which they came: a reader waits for the writers
/// before it, a writer for all before it. The guarantees are those of a [`Lock`].
#[derive(Clone)]
pub struct ReadLock(Contender);

/// The side of a shared lock that one may hold, while nobody has the [`ReadLock`]. The guarantees are those
/// of a [`Lock`].
#[derive(Clone)]
pub struct WriteLock(Contender);

macro_rules! lock {
    ($name:ident, $side:expr) => {
        with_blocking! { impl $name {
            /// The lock at `path`, which is created with its parents when it is first acquired.
            #[must_use]
            pub fn new(client: &Client, path: impl Into<String>) -> Self {
                Self::with_options(client, path, LockOptions::default())
            }

            /// As [`new`](Self::new), with options.
            #[must_use]
            pub fn with_options(client: &Client, path: impl Into<String>, options: LockOptions) -> Self {
                Self(Contender {
                    client: client.clone(),
                    path: path.into(),
                    side: $side,
                    options,
                    tasks: RunningTasks::default(),
                })
            }

            /// Waits until the lock is held. Where there is a handle, cancelling or dropping it ends the
            /// waiting, and gives up the lock if it was held just then.
            ///
            /// # Errors
            /// Those that waiting does not help: no right to create nodes, to list them or to read that of
            /// the contender that is to be waited for; a client that is stopped;
            /// [`SequenceExhausted`](ErrorKind::SequenceExhausted) when contenders at this path cannot be
            /// ordered any more; [`Cancelled`](ErrorKind::Cancelled) by [`cancel`](Self::cancel). Nothing is
            /// left of an acquire that fails.
            pub fn acquire(&self) -> AsyncResult<LockGuard> {
                self.0.acquire(None)
            }

            /// As [`acquire`](Self::acquire), for no longer than `timeout`.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
            pub fn acquire_timeout(&self, timeout: Duration) -> AsyncResult<LockGuard> {
                self.0.acquire(Some(timeout))
            }

            /// Takes the lock if it is free: kazoo's `acquire(blocking=False)`. It waits for the
            /// connection, but not for other contenders.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> AsyncResult<Option<LockGuard>> {
                self.0.try_acquire()
            }

            /// Cancels each acquire of this object, or of a clone of it, that is under way: kazoo's `cancel`.
            /// It fails with [`Cancelled`](ErrorKind::Cancelled), be it one that blocks another thread, and
            /// its node is deleted. Later acquires are not concerned, nor is who has the lock already.
            pub fn cancel(&self) {
                self.0.tasks.cancel();
            }

            /// The identifiers of those who hold the lock or wait for it, in their order.
            ///
            /// # Errors
            /// Those of the connection.
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

/// Who contends, for what and how.
#[derive(Clone)]
struct Contender {
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

impl Contender {
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

    /// Contends until the lock is held or `stop` says so; `None` when it is not free and is not to be
    /// waited for.
    async fn contend(&self, stop: &Stop, wait: bool) -> Result<Option<Arc<Held>>, Error> {
        // Before anything is made of it: below `/lock/` a node can be made, and not be listed.
        path::validate(&self.path).map_err(|error| Error::bad_path(error, None))?;
        let names = self.names()?;
        loop {
            // A new id for each node: one of an earlier session may still be there, dying.
            let id = self.options.form.name(self.client.inner().unique_id(), names);
            let id = path::join(&self.path, &id);
            let made = OnceLock::new();
            let ended = until_stopped(stop, self.contend_as(&id, names, &made, wait)).await;
            let is_stopped = ended.is_none();
            let error = match ended {
                Some(Ok(Turn::Held(node))) => {
                    return Ok(Some(Held::new(&self.client, node.path, &node.stat)));
                }
                Some(Ok(Turn::Taken(path))) => {
                    delete(&self.client, path.into()).await?;
                    return Ok(None);
                }
                Some(Ok(Turn::Gone)) => continue,
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
                // It goes on if it takes too long.
                until_stopped(stop, withdrawn).await;
            }
            return Err(error);
        }
    }

    /// Contends with the node that `id` begins, until it is its turn, or the node is gone. The node's path
    /// is in `made` as soon as it is known.
    async fn contend_as(
        &self,
        id: &str,
        names: Names,
        made: &OnceLock<Ustring>,
        wait: bool,
    ) -> Result<Turn, Error> {
        let options = CreateOptions::ephemeral().sequence().makepath();
        let identifier = Some(&*self.options.identifier);
        let created = self.client.create_once(id, identifier, &options).await;
        let (path, stat) = created.map_err(|error| sequence::refused(id, error))?;
        let path = made.get_or_init(|| path).clone();
        let (own, number) = (path::name(&path), sequence::own(id, &path)?);
        loop {
            let children = retry_transient(&self.client, |zk| zk.get_children(&self.path)).await;
            let children = match children {
                Err(error) if is_no_node(&error) => return Ok(Turn::Gone),
                children => children?,
            };
            if matches!(self.options.form, Form::Curator) {
                foreign::refuse_semaphore_v2(&self.path, &children)?;
            }
            // A node of an earlier session is about to go, if it is not gone already.
            let alive = self.client.session_id() == Some(SessionId(stat.ephemeral_owner));
            if !alive || !children.iter().any(|name| *name == *own) {
                return Ok(Turn::Gone);
            }
            let contenders = sequence::contenders(&children, self.patterns(names.waits_for));
            let Some(before) = sequence::predecessor(number, contenders) else {
                return Ok(Turn::Held(Node { path, stat }));
            };
            if !wait {
                return Ok(Turn::Taken(path));
            }
            let before = path::join(&self.path, before);
            // To get it takes the right to read it, on every version of the servers. To look whether it
            // exists does not on all of them, and events are withheld without a word from those who may not
            // read the node.
            match retry_transient(&self.client, |zk| zk.get_and_watch(&before)).await {
                Ok((_, _, watch)) => drop(watch.await?),
                Err(error) if is_no_node(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn names(&self) -> Result<Names, Error> {
        self.options.form.names(self.side).ok_or_else(|| {
            Error::invalid(format!(
                "{} is to be shared with go-zookeeper, which has no locks with a side for readers",
                self.path
            ))
        })
    }

    /// What marks a node as a contender of one of these kinds, or of the extra ones.
    fn patterns<'p>(&'p self, kinds: &'p [&'p str]) -> impl Iterator<Item = &'p str> + Clone {
        kinds.iter().copied().chain(self.options.extra_patterns.iter().map(String::as_str))
    }

    /// Deletes the node that `id` begins, whose path is not known, in a task of its own, if there is one or
    /// is to be one soon: what was sent before is done before.
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
                Err(error) if is_over(&error) => Ok(()),
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
            identifiers(&contender.client, paths).await
        })
    }
}

/// How contending went.
enum Turn {
    /// The lock is held, by this node.
    Held(Node),
    /// Somebody else holds it, and this is the own node.
    Taken(Ustring),
    /// The own node has vanished.
    Gone,
}

guard! {
    /// A lock that is held. The last clone to be dropped releases it.
    pub struct LockGuard, of "the lock"
}

with_blocking! { impl LockGuard {
    /// A number that is greater than that of every earlier holder of this lock: the transaction that
    /// made the lock's node. Give it to the store that the lock protects, and have that refuse lower ones.
    ///
    /// Readers that hold a [`ReadLock`] at the same time have different numbers; those of writers are
    /// greater than all before them.
    #[must_use]
    pub fn fencing_token(&self) -> i64 {
        self.0.czxid()
    }
} }
