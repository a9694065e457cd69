//! The configuration of a server.

#[cfg(feature = "sasl-digest-md5")]
use std::collections::BTreeMap;
use std::time::Duration;

use zk_proto::{Time, frame::DEFAULT_MAX_BUFFER, jute::Secret};

/// The release of ZooKeeper that a server behaves as.
///
/// `docs/embedded-server.md` in the repository lists how they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Version {
    /// ZooKeeper 3.8.0 as packaged by Debian.
    V3_8,
    /// ZooKeeper 3.9.5.
    #[default]
    V3_9,
}

/// The configuration of a server. Start from [`Config::default`], which suits tests, and change fields.
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
    /// The release of ZooKeeper that the server behaves as. Default: [`Version::V3_9`].
    pub version: Version,
    /// Sessions expire at multiples of this time (`tickTime`). Default: 100 ms.
    pub tick_time: Duration,
    /// The shortest session timeout that the server grants. Default: 200 ms.
    pub min_session_timeout: Duration,
    /// The longest session timeout that the server grants. Default: 60 s.
    pub max_session_timeout: Duration,
    /// The largest packet that the server accepts, in bytes (`jute.maxbuffer`). A larger one ends its connection.
    /// Default: 1,048,575.
    pub max_packet: usize,
    /// How many bytes may wait to be sent to a client that does not read. If more do, its connection is closed. On a
    /// [`TestServer`](crate::TestServer) these are mostly events, since requests are not handled while more than 1 MiB
    /// waits. Default: 64 MiB.
    pub max_pending: usize,
    /// Whether znodes may have a TTL (`zookeeper.extendedTypesEnabled`). Default: true, unlike ZooKeeper.
    pub extended_types: bool,
    /// How often containers and znodes with a TTL are checked (`znode.container.checkIntervalMs`). Default: 60 s.
    pub container_check_interval: Duration,
    /// The super user, who has all permissions, as `user:base64(sha1(user:password))`
    /// (`zookeeper.DigestAuthenticationProvider.superDigest`). Default: none.
    pub super_digest: Secret<Option<String>>,
    /// Whether the ensemble may be changed by requests (`reconfigEnabled`). The answer to one is
    /// [`Unimplemented`](zk_proto::ErrorCode::Unimplemented) if so, because this server is standalone, and
    /// [`ReconfigDisabled`](zk_proto::ErrorCode::ReconfigDisabled) if not. Default: false.
    pub reconfig_enabled: bool,
    /// Whether the scheme `x509` exists, as in ZooKeeper with a secure client port. Default: false, but true for a
    /// `TestServer` with TLS.
    pub x509: bool,
    /// The owner of a certificate who has all permissions (`zookeeper.X509AuthenticationProvider.superUser`), in the form
    /// of RFC 2253, such as `CN=admin`. Default: none.
    pub x509_super_user: Option<String>,
    /// The users of SASL with DIGEST-MD5 and their passwords, as in the section `Server` of a JAAS configuration with
    /// `DigestLoginModule`. A client that proves to be one of them has the identity `sasl:user`. Default: none, and
    /// SASL and its ACLs are not configured.
    #[cfg(feature = "sasl-digest-md5")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sasl-digest-md5")))]
    pub sasl_users: Option<Secret<BTreeMap<String, String>>>,
    /// The user of SASL who has all permissions (`zookeeper.superUser`). Default: none.
    #[cfg(feature = "sasl-digest-md5")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sasl-digest-md5")))]
    pub sasl_super_user: Option<String>,
    /// Whether a client whom SASL refuses may go on without authentication (`zookeeper.allowSaslFailedClients`). It is
    /// then answered with no token. If not, the answer is [`AuthFailed`](zk_proto::ErrorCode::AuthFailed), or
    /// [`SessionClosedRequireSaslAuth`](zk_proto::ErrorCode::SessionClosedRequireSaslAuth) if
    /// [`enforced_schemes`](Self::enforced_schemes) has `sasl`, and the connection is closed. Default: false.
    #[cfg(feature = "sasl-digest-md5")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sasl-digest-md5")))]
    pub allow_failed_sasl: bool,
    /// The schemes of which a client needs one before its first request: `enforce.auth.schemes`, if
    /// `enforce.auth.enabled`. With `sasl`, this is also `sessionRequireClientSASLAuth`. Another request is answered with
    /// [`SessionClosedRequireSaslAuth`](zk_proto::ErrorCode::SessionClosedRequireSaslAuth), and the connection is
    /// closed. Default: none, and clients need no authentication.
    pub enforced_schemes: Vec<String>,
    /// The wall clock at the origin of the server's time, as the time since 1970. The times in [`Stat`] are relative to
    /// it. Default: 0.
    ///
    /// [`Stat`]: zk_proto::records::Stat
    pub epoch: Duration,
    /// Whether this server is one of several copies that get the same requests in the same order, like the servers of
    /// an ensemble. If so, a session that is resumed on another connection keeps the previous one open, since its
    /// requests may still be in flight to this copy; the caller closes it. Default: false.
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
            reconfig_enabled: false,
            x509: false,
            x509_super_user: None,
            #[cfg(feature = "sasl-digest-md5")]
            sasl_users: None,
            #[cfg(feature = "sasl-digest-md5")]
            sasl_super_user: None,
            #[cfg(feature = "sasl-digest-md5")]
            allow_failed_sasl: false,
            enforced_schemes: Vec::new(),
            epoch: Duration::ZERO,
            is_copy: false,
        }
    }
}

impl Config {
    /// The schemes of authentication, and whose rules apply to them.
    pub(crate) const fn schemes(&self) -> Schemes {
        #[cfg(feature = "sasl-digest-md5")]
        let sasl = self.sasl_users.is_some();
        #[cfg(not(feature = "sasl-digest-md5"))]
        let sasl = false;
        Schemes { version: self.version, x509: self.x509, sasl }
    }

    /// The wall clock at `now`, in milliseconds since 1970.
    pub(crate) fn wall_millis(&self, now: Time) -> i64 {
        millis(self.epoch.saturating_add(now.since_origin()))
    }
}

/// The schemes of authentication that a server has besides `digest` and `ip`, and the release whose rules apply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schemes {
    pub(crate) version: Version,
    pub(crate) x509: bool,
    pub(crate) sasl: bool,
}

/// `span` in milliseconds, the unit of ZooKeeper's protocol.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
