//! What a server is made with.

use std::time::Duration;

use zk_proto::{Time, frame::DEFAULT_MAX_BUFFER, jute::Secret};

/// A release of ZooKeeper, as which a server behaves.
///
/// `docs/embedded-server.md` in the repository lists what they do otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Version {
    /// ZooKeeper 3.8.0 as Debian has it.
    V3_8,
    /// ZooKeeper 3.9.5.
    #[default]
    V3_9,
}

/// How a server is to behave. Start from [`Config::default`], which suits tests, and change what should
/// differ.
///
/// ```
/// use std::time::Duration;
///
/// let mut config = zk_server::Config::default();
/// config.min_session_timeout = Duration::from_secs(4);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// As which release of ZooKeeper it behaves. Default the newest that it is compared with,
    /// [`Version::V3_9`].
    pub version: Version,
    /// Sessions expire at multiples of this (`tickTime`). Default 100 ms.
    pub tick_time: Duration,
    /// The shortest session timeout that is granted. Default 200 ms.
    pub min_session_timeout: Duration,
    /// The longest session timeout that is granted. Default 60 s.
    pub max_session_timeout: Duration,
    /// The largest packet that is taken, in bytes (`jute.maxbuffer`); one that is longer ends its
    /// connection. Default 1,048,575.
    pub max_packet: usize,
    /// How many bytes may wait for a client that does not read; one more ends its connection. Those of a
    /// [`TestServer`](crate::TestServer) are events for the most part: while more than 1 MiB waits for a
    /// client, its requests wait as well. Default 64 MiB.
    pub max_pending: usize,
    /// Whether nodes may have a TTL (`zookeeper.extendedTypesEnabled`). Default true, other than
    /// ZooKeeper's.
    pub extended_types: bool,
    /// How often containers and nodes with a TTL are looked at (`znode.container.checkIntervalMs`).
    /// Default 60 s.
    pub container_check_interval: Duration,
    /// Who may do everything, as `user:base64(sha1(user:password))`
    /// (`zookeeper.DigestAuthenticationProvider.superDigest`). Default nobody.
    pub super_digest: Secret<Option<String>>,
    /// The wall clock at the origin of the server's time, since 1970: what [`Stat`] has times by.
    /// Default 0.
    ///
    /// [`Stat`]: zk_proto::records::Stat
    pub epoch: Duration,
    /// Whether this is one of several copies that are fed the same requests in the same order, as those of
    /// an ensemble are. A session that is resumed then keeps the connections that it had, of which requests
    /// may be on their way to this copy still; to close them is up to whoever feeds it. Default false.
    pub is_copy: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: Version::default(),
            tick_time: Duration::from_millis(100),
            min_session_timeout: Duration::from_millis(200),
            max_session_timeout: Duration::from_secs(60),
            max_packet: DEFAULT_MAX_BUFFER,
            max_pending: 64 << 20,
            extended_types: true,
            container_check_interval: Duration::from_secs(60),
            super_digest: Secret::new(None),
            epoch: Duration::ZERO,
            is_copy: false,
        }
    }
}

impl Config {
    /// The wall clock at `now`, in milliseconds since 1970.
    pub(crate) fn wall_millis(&self, now: Time) -> i64 {
        millis(self.epoch.saturating_add(now.since_origin()))
    }
}

/// `span` in milliseconds, the unit of ZooKeeper's protocol.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
