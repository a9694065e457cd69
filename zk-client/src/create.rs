//! [`CreateMode`] and [`CreateOptions`]: the kind of a new node, its ACL, and whether its parents are created.

use std::{borrow::Cow, sync::Arc, time::Duration};

use zk_proto::{
    Acl, CreateMode as Flags, Request,
    records::{CreateRequest, CreateTtlRequest, MultiOp},
};

use crate::Error;

/// The longest time to live that a server accepts: 40 bits of milliseconds.
const MAX_TTL_MS: i64 = 0xff_ffff_ffff;

/// The kind of a new node. It can be used wherever [`CreateOptions`] are expected.
///
/// A kind that needs a time to live contains it:
///
/// ```compile_fail
/// # use zk_client::{Client, CreateMode};
/// # fn example(zk: Client) {
/// zk.create("/a", b"", CreateMode::PersistentWithTtl); // for how long?
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// The node exists until it is deleted.
    Persistent,
    /// Like `Persistent`, and the server appends a number to the name.
    PersistentSequential,
    /// The node exists as long as the session that creates it, and cannot have children.
    Ephemeral,
    /// Like `Ephemeral`, and the server appends a number to the name.
    EphemeralSequential,
    /// The server deletes the node some time after its last child was deleted (3.5.1 and later).
    Container,
    /// The server deletes the node if it has no children and was not changed for this long: see
    /// [`CreateOptions::ttl`].
    PersistentWithTtl(Duration),
    /// Like `PersistentWithTtl`, and the server appends a number to the name.
    PersistentSequentialWithTtl(Duration),
}

impl CreateMode {
    /// The sequential kind, if there is one.
    const fn sequence(self) -> Self {
        match self {
            Self::Persistent => Self::PersistentSequential,
            Self::Ephemeral => Self::EphemeralSequential,
            Self::PersistentWithTtl(ttl) => Self::PersistentSequentialWithTtl(ttl),
            other => other,
        }
    }

    const fn ttl(self) -> Option<Duration> {
        match self {
            Self::PersistentWithTtl(ttl) | Self::PersistentSequentialWithTtl(ttl) => Some(ttl),
            _ => None,
        }
    }

    /// The kind in a request.
    const fn flags(self) -> Flags {
        match self {
            Self::Persistent => Flags::Persistent,
            Self::PersistentSequential => Flags::PersistentSequential,
            Self::Ephemeral => Flags::Ephemeral,
            Self::EphemeralSequential => Flags::EphemeralSequential,
            Self::Container => Flags::Container,
            Self::PersistentWithTtl(_) => Flags::PersistentWithTtl,
            Self::PersistentSequentialWithTtl(_) => Flags::PersistentSequentialWithTtl,
        }
    }
}

/// Options of a new node: its kind, its ACL, whether its parents are created, and whether its creation survives a
/// lost reply.
///
/// A [`CreateMode`] can be used wherever options are expected.
///
/// ```no_run
/// # use std::time::Duration;
/// # use zk_client::{CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, Error};
/// # async fn example(zk: Client) -> Result<(), Error> {
/// zk.create("/a", b"data", CreateMode::Persistent).await?;
/// zk.create("/a/b/c", b"", CreateOptions::persistent().makepath()).await?;
/// let path = zk.create("/a/job-", b"", CreateOptions::ephemeral().sequence()).await?;
/// assert!(path.starts_with("/a/job-00"));
/// zk.create("/a/mine", b"", CreateOptions::persistent().acl(&CREATOR_ALL_ACL)).await?;
/// zk.create("/a/short", b"", CreateOptions::ttl(Duration::from_secs(60))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    mode: CreateMode,
    acl: Option<Arc<[Acl]>>,
    makepath: bool,
    protected: bool,
}

impl CreateOptions {
    /// A node that exists until it is deleted.
    #[must_use]
    pub const fn persistent() -> Self {
        Self::of(CreateMode::Persistent)
    }

    /// A node that exists as long as this session, and cannot have children.
    #[must_use]
    pub const fn ephemeral() -> Self {
        Self::of(CreateMode::Ephemeral)
    }

    /// A node that the server deletes some time after its last child was deleted (3.5.1 and later).
    #[must_use]
    pub const fn container() -> Self {
        Self::of(CreateMode::Container)
    }

    /// A node that the server deletes if it has no children and was not changed for `ttl`: 1 ms to 34 years. The
    /// server (3.5.3 and later) must have `zookeeper.extendedTypesEnabled` set.
    #[must_use]
    pub const fn ttl(ttl: Duration) -> Self {
        Self::of(CreateMode::PersistentWithTtl(ttl))
    }

    const fn of(mode: CreateMode) -> Self {
        Self { mode, acl: None, makepath: false, protected: false }
    }

    /// Makes the server append a number to the name: ten digits that grow from node to node, up to 2147483647.
    ///
    /// There ZooKeeper's counter stops, or wraps to negative numbers for a moment, so numbers may repeat. There are
    /// no sequential containers.
    #[must_use]
    pub const fn sequence(mut self) -> Self {
        self.mode = self.mode.sequence();
        self
    }

    /// Creates missing parents first, as persistent nodes with the same ACL.
    #[must_use]
    pub const fn makepath(mut self) -> Self {
        self.makepath = true;
        self
    }

    /// Creates the node exactly once, even if the reply to its creation is lost.
    ///
    /// The name gets a unique prefix, `_c_<uuid>-<name>` as in Curator, by which the client finds the node again.
    /// Without this option, such a call fails with the outcome [`Unknown`](crate::Outcome::Unknown), and the node
    /// may or may not exist.
    ///
    /// An ephemeral node counts as created only if it belongs to the present session. If that expires meanwhile,
    /// the call fails with [`SessionExpired`](crate::ErrorKind::SessionExpired), and the node is gone. Other nodes
    /// are known by their name alone.
    ///
    /// ```no_run
    /// # use zk_client::{Client, CreateOptions, Error};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// let options = CreateOptions::ephemeral().sequence().protected();
    /// let path = zk.create("/workers/worker-", b"", options).await?;
    /// assert!(path.starts_with("/workers/_c_") && path.contains("-worker-"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn protected(mut self) -> Self {
        self.protected = true;
        self
    }

    /// Sets the ACL of the node. Without it, the client's [`default_acl`](crate::ClientBuilder::default_acl)
    /// applies.
    #[must_use]
    pub fn acl(mut self, acl: impl AsRef<[Acl]>) -> Self {
        self.acl = Some(acl.as_ref().into());
        self
    }

    pub(crate) const fn makes_path(&self) -> bool {
        self.makepath
    }

    pub(crate) const fn is_protected(&self) -> bool {
        self.protected
    }

    pub(crate) const fn is_ephemeral(&self) -> bool {
        self.mode.flags().is_ephemeral()
    }

    pub(crate) const fn is_sequential(&self) -> bool {
        self.mode.flags().is_sequential()
    }

    /// Returns the node's ACL: its own or the client's. That there is none is an error.
    pub(crate) fn resolve_acl(&self, default: Option<&Arc<[Acl]>>) -> Result<Arc<[Acl]>, Error> {
        self.acl.as_ref().or(default).cloned().ok_or_else(no_acl)
    }

    /// Makes the record that creates `path`. With `with_stat`, the reply has the node's stat.
    pub(crate) fn record<'a>(
        &self,
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &'a [Acl],
        with_stat: bool,
    ) -> Result<CreateRecord<'a>, Error> {
        let acl = Some(Cow::Borrowed(acl));
        let flags = self.mode.flags();
        if let Some(ttl) = self.mode.ttl() {
            let ms = ttl.as_millis();
            let Some(ttl) = i64::try_from(ms).ok().filter(|ms| (1..=MAX_TTL_MS).contains(ms))
            else {
                return Err(Error::invalid_request(format!(
                    "create {path}: {ttl:?} is not a time to live that servers accept"
                )));
            };
            return Ok(CreateRecord::CreateTtl(CreateTtlRequest { path, data, acl, flags, ttl }));
        }
        let create = CreateRequest { path, data, acl, flags };
        Ok(if flags.is_container() {
            CreateRecord::CreateContainer(create)
        } else if with_stat {
            CreateRecord::Create2(create)
        } else {
            CreateRecord::Create(create)
        })
    }
}

/// The record that creates a node, for a request of its own or for a transaction.
pub(crate) enum CreateRecord<'a> {
    Create(CreateRequest<'a>),
    /// The reply has the node's stat.
    Create2(CreateRequest<'a>),
    CreateContainer(CreateRequest<'a>),
    CreateTtl(CreateTtlRequest<'a>),
}

impl<'a> From<CreateRecord<'a>> for Request<'a> {
    fn from(record: CreateRecord<'a>) -> Self {
        match record {
            CreateRecord::Create(create) => Self::Create(create),
            CreateRecord::Create2(create) => Self::Create2(create),
            CreateRecord::CreateContainer(create) => Self::CreateContainer(create),
            CreateRecord::CreateTtl(create) => Self::CreateTtl(create),
        }
    }
}

impl<'a> From<CreateRecord<'a>> for MultiOp<'a> {
    fn from(record: CreateRecord<'a>) -> Self {
        match record {
            CreateRecord::Create(create) => Self::Create(create),
            CreateRecord::Create2(create) => Self::Create2(create),
            CreateRecord::CreateContainer(create) => Self::CreateContainer(create),
            CreateRecord::CreateTtl(create) => Self::CreateTtl(create),
        }
    }
}

impl From<CreateMode> for CreateOptions {
    fn from(mode: CreateMode) -> Self {
        Self::of(mode)
    }
}

impl From<&Self> for CreateOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

/// The error of a creation without an ACL.
pub(crate) fn no_acl() -> Error {
    Error::invalid_request(
        "no ACL: give one with CreateOptions::acl, or to all with ClientBuilder::default_acl \
         (OPEN_ACL_UNSAFE lets everybody do everything)",
    )
}
