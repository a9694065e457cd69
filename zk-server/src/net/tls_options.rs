//! [`TlsOptions`]: how a server serves TLS.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::tls::TlsSettings;

/// How long a handshake may take: the default of Netty, which ZooKeeper uses.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a client shows a certificate (`ssl.clientAuth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// A client is not asked for one.
    None,
    /// A client is asked for one, and may have none. A certificate that is not valid is refused.
    Want,
    /// A client without a valid one is refused. The default, as in ZooKeeper.
    #[default]
    Need,
}

/// How a [`TestServer`](crate::TestServer) serves TLS: TLS 1.2 and 1.3 by [rustls], with the cryptography of ring.
///
/// As in ZooKeeper, a client's certificate is an identity of its connection: `x509:CN=client`.
///
/// ```no_run
/// use zk_server::{ClientAuth, Config, TestServer, TlsOptions};
///
/// let tls = TlsOptions::new(std::fs::read("server.pem")?, std::fs::read("server.key")?)
///     .client_authorities(std::fs::read("ca.pem")?)
///     .client_auth(ClientAuth::Want);
/// let server = TestServer::start_with_tls(Config::default(), &tls)?;
/// println!("TLS: {:?}, plain text: {}", server.tls_address(), server.address());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [rustls]: https://docs.rs/rustls
#[derive(Clone)]
pub struct TlsOptions {
    source: Source,
    handshake_timeout: Duration,
}

#[derive(Clone)]
enum Source {
    Pem { certificates: Vec<u8>, key: Vec<u8>, authorities: Vec<u8>, client_auth: ClientAuth },
    Config(Arc<ServerConfig>),
}

impl TlsOptions {
    /// Creates options from the server's certificate, which the certificates of its authorities may follow, and its
    /// private key, both in PEM. They are read when a server starts.
    #[must_use]
    pub fn new(certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let source = Source::Pem {
            certificates: certificates.into(),
            key: key.into(),
            authorities: Vec::new(),
            client_auth: ClientAuth::default(),
        };
        Self { source, handshake_timeout: HANDSHAKE_TIMEOUT }
    }

    /// Creates options from a configuration of rustls, with the provider, certificates, verifier and protocols that it
    /// names.
    #[must_use]
    pub const fn from_rustls(config: Arc<ServerConfig>) -> Self {
        Self { source: Source::Config(config), handshake_timeout: HANDSHAKE_TIMEOUT }
    }

    /// Sets the authorities that sign the certificates of clients, in PEM. Default: none, and no certificate of a client
    /// is valid. Has no effect on options from [`from_rustls`](Self::from_rustls).
    #[must_use]
    pub fn client_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        if let Source::Pem { authorities, .. } = &mut self.source {
            *authorities = pem.into();
        }
        self
    }

    /// Sets whether clients show a certificate. Default: [`ClientAuth::Need`]. Has no effect on options from
    /// [`from_rustls`](Self::from_rustls).
    #[must_use]
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        if let Source::Pem { client_auth, .. } = &mut self.source {
            *client_auth = auth;
        }
        self
    }

    /// Sets how long a client may take for the handshake before it is disconnected, in real time. Default: 10 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Reads certificates and keys.
    pub(super) fn settings(&self) -> io::Result<TlsSettings> {
        let config = match &self.source {
            Source::Config(config) => config.clone(),
            Source::Pem { certificates, key, authorities, client_auth } => {
                Arc::new(config(certificates, key, authorities, *client_auth)?)
            }
        };
        Ok(TlsSettings { config, handshake_timeout: self.handshake_timeout })
    }
}

fn config(
    certificates: &[u8],
    key: &[u8],
    authorities: &[u8],
    client_auth: ClientAuth,
) -> io::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let certificates = chain(certificates, "the certificate of the server")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| invalid("the private key of the server", &error))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("the protocols", &error))?;
    let builder = match client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Want | ClientAuth::Need => {
            let mut roots = RootCertStore::empty();
            for authority in chain(authorities, "the authorities of clients")? {
                roots.add(authority).map_err(|error| invalid("an authority of clients", &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = match client_auth {
                ClientAuth::Need => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let verifier: Arc<dyn ClientCertVerifier> =
                verifier.build().map_err(|error| invalid("the authorities of clients", &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder
        .with_single_cert(certificates, key)
        .map_err(|error| invalid("the certificate of the server", &error))
}

/// The certificates in `pem`, at least one.
fn chain(pem: &[u8], what: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(invalid(what, &"there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(invalid(what, &error)),
    }
}

/// The error names what is wrong, and never shows a key.
fn invalid(what: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} cannot be used: {error}"))
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TlsOptions");
        if let Source::Pem { client_auth, .. } = &self.source {
            debug.field("client_auth", client_auth);
        }
        debug.field("handshake_timeout", &self.handshake_timeout).finish_non_exhaustive()
    }
}
