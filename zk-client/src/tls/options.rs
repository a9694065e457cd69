//! [`TlsOptions`]: what the user says about TLS.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use zk_proto::jute::Secret;

/// How a client uses TLS: whom it trusts, and how it identifies itself. Pass it to
/// [`ClientBuilder::tls`](crate::ClientBuilder::tls).
///
/// By default, the client trusts the authorities of the system and has no certificate of its own. A server must show a
/// certificate for the name or address in the [hosts](crate::ClientBuilder::hosts) of the client; no name is looked up
/// in reverse. Every connection to every host uses TLS 1.3 or 1.2, those of four-letter words included. A session is
/// resumed when the client reconnects.
///
/// Files are read by [`build`](crate::ClientBuilder::build), which fails if one is missing or wrong, and again before
/// each connection, on a thread of their own. If one has changed, the new content is used from then on: certificates
/// can be renewed without a restart. Files that belong together may be replaced one after the other: a connection that
/// finds a certificate without its key fails, and the next attempt reads both again.
///
/// ```no_run
/// use zk_client::{Client, TlsOptions};
///
/// # async fn example() -> Result<(), zk_client::Error> {
/// let tls = TlsOptions::new()
///     .authorities_file("/etc/zookeeper/ca.pem")
///     .identity_files("/etc/zookeeper/client.pem", "/etc/zookeeper/client-key.pem");
/// let zk = Client::builder().hosts("zk1:2281,zk2:2281,zk3:2281").tls(tls).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing until they are passed to a builder"]
#[non_exhaustive]
pub struct TlsOptions {
    pub(super) trust: Trust,
    pub(super) check: Check,
    pub(super) identity: Option<Identity>,
    pub(super) revocations: Vec<Pem>,
    pub(super) server_name: Option<String>,
    /// If given, everything else but the name of the server is taken from it.
    pub(super) config: Option<Arc<rustls::ClientConfig>>,
}

/// Whose certificates are trusted. Without any authority, this is the system's.
#[derive(Clone, Default)]
pub(super) struct Trust {
    pub(super) system: bool,
    pub(super) authorities: Vec<Pem>,
}

/// What is checked of a server's certificate.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Check {
    #[default]
    All,
    ButHostName,
    Nothing,
}

/// The client's own certificate.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificates: Pem,
    pub(super) key: Pem,
}

/// Where PEM text comes from.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Memory(Secret<Bytes>),
}

impl TlsOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns options that use `config` for every connection. The client changes nothing in it: authorities,
    /// certificates, protocol versions, session resumption and SNI are the user's. So is the provider of cryptography,
    /// for example FIPS mode by rustls' feature `fips`. [`rustls`](crate::rustls) is the version that this crate uses.
    ///
    /// Only [`server_name`](Self::server_name) has an effect beside it; with any other option,
    /// [`build`](crate::ClientBuilder::build) fails.
    pub fn from_config(config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        Self { config: Some(config.into()), ..Self::default() }
    }

    /// Adds the authorities in a PEM file to those that are trusted. The authorities of the system are not trusted then,
    /// unless [`system_authorities`](Self::system_authorities) says so.
    pub fn authorities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.trust.authorities.push(Pem::File(path.into()));
        self
    }

    /// Like [`authorities_file`](Self::authorities_file), with the PEM text itself.
    pub fn authorities_pem(mut self, pem: impl Into<Bytes>) -> Self {
        self.trust.authorities.push(Pem::Memory(Secret::new(pem.into())));
        self
    }

    /// Trusts the authorities of the system as well as those that are given. They are read at most once a minute.
    ///
    /// On Unix, the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` say where they are, if set.
    pub const fn system_authorities(mut self) -> Self {
        self.trust.system = true;
        self
    }

    /// Sets the client's certificate and its private key, both PEM files. The first one has the client's certificate
    /// and those of intermediate authorities, the client's first. It may be the same file as the second one.
    ///
    /// The key is in PKCS #8, PKCS #1 (RSA) or SEC 1 (EC) format and not encrypted.
    pub fn identity_files(
        mut self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (certificates, key) = (Pem::File(certificates.into()), Pem::File(key.into()));
        self.identity = Some(Identity { certificates, key });
        self
    }

    /// Like [`identity_files`](Self::identity_files), with the PEM texts themselves.
    pub fn identity_pem(mut self, certificates: impl Into<Bytes>, key: impl Into<Bytes>) -> Self {
        let certificates = Pem::Memory(Secret::new(certificates.into()));
        let key = Pem::Memory(Secret::new(key.into()));
        self.identity = Some(Identity { certificates, key });
        self
    }

    /// Adds the certificate revocation lists in a PEM file. A server's certificate that one of them revokes is refused.
    /// A certificate whose authority has no list here is not refused for that.
    pub fn revocations_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.revocations.push(Pem::File(path.into()));
        self
    }

    /// Like [`revocations_file`](Self::revocations_file), with the PEM text itself.
    pub fn revocations_pem(mut self, pem: impl Into<Bytes>) -> Self {
        self.revocations.push(Pem::Memory(Secret::new(pem.into())));
        self
    }

    /// Sets the name, or the IP address, that the certificate of every server must be for, in place of the configured
    /// one. A name is also sent to the servers (SNI).
    ///
    /// For example, all servers of an ensemble have one certificate for `zookeeper.example.com`, and the client
    /// connects to their addresses.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts a certificate of a trusted authority for any host. This is dangerous: whoever has such a certificate can
    /// pose as every server of the ensemble.
    pub fn dangerous_accept_any_host_name(mut self) -> Self {
        if self.check == Check::All {
            self.check = Check::ButHostName;
        }
        self
    }

    /// Accepts every certificate. This is dangerous: the traffic is encrypted, but anybody on the way can pose as a
    /// server, and read and change everything. Authorities and revocation lists have no effect.
    pub const fn dangerous_accept_any_certificate(mut self) -> Self {
        self.check = Check::Nothing;
        self
    }
}

/// Shows paths, and no content.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TlsOptions");
        if self.config.is_some() {
            debug.field("config", &"the user's");
        } else {
            debug
                .field("authorities", &self.trust.authorities)
                .field("system_authorities", &self.trusts_system())
                .field("identity", &self.identity.as_ref().map(|own| (&own.certificates, &own.key)))
                .field("revocations", &self.revocations)
                .field("check", &self.check);
        }
        debug.field("server_name", &self.server_name).finish()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => fmt::Debug::fmt(path, f),
            Self::Memory(pem) => write!(f, "{} bytes", pem.expose().len()),
        }
    }
}

/// Says where the text is from, for errors.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory(_) => f.write_str("the PEM text"),
        }
    }
}

impl TlsOptions {
    /// Whether the authorities of the system are trusted.
    pub(super) fn trusts_system(&self) -> bool {
        self.check != Check::Nothing && (self.trust.system || self.trust.authorities.is_empty())
    }

    /// All sources of PEM text.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Pem> {
        let identity = self.identity.iter().flat_map(|own| [&own.certificates, &own.key]);
        self.trust.authorities.iter().chain(identity).chain(&self.revocations)
    }

    /// Whether a configuration of the user's is given and nothing that it should say itself.
    pub(super) fn is_config_alone(&self) -> bool {
        self.config.is_some()
            && self.sources().next().is_none()
            && !self.trust.system
            && self.check == Check::All
    }
}
