//! [`CreateMode`] and [`CreateOptions`]: what kind of node to create, for whom, and with its parents or not.

use std::{borrow::Cow, sync::Arc, time::Duration};

use zk_proto::{
    Acl, CreateMode as Flags, Request,
    records::{CreateRequest, CreateTtlRequest, MultiOp},
};

use crate::Error;

/// The longest time to live that a server takes: 40 bits of milliseconds.
const MAX_TTL_MS: i64 = 0xff_ffff_ffff;

/// A kind of node, where that is all there is to say: see [`CreateOptions`].
///
/// A kind that wants a time has one:
///
/// ```compile_fail
/// # use zk_client::{Client, CreateMode};
/// # fn example(zk: Client) {
/// zk.create("/a", b"", CreateMode::PersistentWithTtl); // for how long?
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// Lives until it is deleted.
    Persistent,
    /// As `Persistent`, with a number that the server appends to the name.
    PersistentSequential,
    /// Lives as long as the session that creates it, and has no children.
    Ephemeral,
    /// As `Ephemeral`, with a number that the server appends to the name.
    EphemeralSequential,
    /// Is deleted by the server some time after its last child (3.5.3 and later).
    Container,
    /// Is deleted by the server when it was left without change and children for this long: see
    /// [`CreateOptions::ttl`].
    PersistentWithTtl(Duration),
    /// As `PersistentWithTtl`, with a number that the server appends to the name.
    PersistentSequentialWithTtl(Duration),
}

impl CreateMode {
    /// The same with a number, if there is such a kind.
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

    /// As a request says it.
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

/// What kind of node to create: kazoo's `acl`, `ephemeral`, `sequence` and `makepath`, and the kinds of
/// node that came later.
///
/// A [`CreateMode`] can stand wherever options are taken.
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
    /// A node that lives until it is deleted.
    #[must_use]
    pub const fn persistent() -> Self {
        Self::of(CreateMode::Persistent)
    }

    /// A node that lives as long as this session, and has no children.
    #[must_use]
    pub const fn ephemeral() -> Self {
        Self::of(CreateMode::Ephemeral)
    }

    /// A node that the server deletes some time after its last child (3.5.3 and later).
    #[must_use]
    pub const fn container() -> Self {
        Self::of(CreateMode::Container)
    }

    /// A node that the server deletes when it was left without change and children for `ttl`: 1 ms to
    /// 34 years. The server must have `zookeeper.extendedTypesEnabled` set.
    #[must_use]
    pub const fn ttl(ttl: Duration) -> Self {
        Self::of(CreateMode::PersistentWithTtl(ttl))
    }

    const fn of(mode: CreateMode) -> Self {
        Self { mode, acl: None, makepath: false, protected: false }
    }

    /// The server appends a number to the name, ten digits that grow from node to node, up to 2147483647:
    /// there ZooKeeper's counter stays, or wraps to negative numbers for a moment, so that numbers come again.
    /// There are no sequential containers.
    #[must_use]
    pub const fn sequence(mut self) -> Self {
        self.mode = self.mode.sequence();
        self
    }

    /// Missing parents are created first, as persistent nodes with the same ACL.
    #[must_use]
    pub const fn makepath(mut self) -> Self {
        self.makepath = true;
        self
    }

    /// The node is found again when the reply to its creation is lost, and so is made once: its name gets
    /// a unique id in front, as Curator's "protection" does it, `_c_<uuid>-<name>`. Without, the call
    /// fails as [`Unknown`](crate::Outcome::Unknown), and the node may be there or not.
    ///
    /// An ephemeral node is taken for the one that was made only if it is of the present session; when
    /// that expires meanwhile, the call fails with [`SessionExpired`](crate::ErrorKind::SessionExpired),
    /// and the node is gone. Other nodes are known by their name alone.
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

    /// Who may do what with the node. Without it the client's
    /// [`default_acl`](crate::ClientBuilder::default_acl) counts.
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

    /// The node's ACL: its own or the client's.
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

pub(crate) fn no_acl() -> Error {
    Error::invalid_request(
        "no ACL: give one with CreateOptions::acl, or to all with ClientBuilder::default_acl \
         (OPEN_ACL_UNSAFE lets everybody do everything)",
    )
}
