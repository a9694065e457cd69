//! [`SharedServer`]: the server that all tests of a binary share.

use std::{io, net::SocketAddr, sync::OnceLock};

use zk_client::{Client, ClientBuilder, TlsOptions};
use zk_server::{SessionId, TestServer, Version};

use crate::{
    Certificates, ClientAuth, Ensemble, Options, Proxy, ScriptedConnection, ScriptedServer,
    embedded_config, installed::requested_version, minimal_client, version_under_test,
};

/// The server that all tests of a binary share: ZooKeeper, or an embedded server.
pub(crate) enum SharedServer {
    Real(&'static Ensemble),
    Embedded { server: TestServer, version: Version },
}

static SHARED: OnceLock<SharedServer> = OnceLock::new();
/// Set if all clients of this binary use TLS.
static TLS: OnceLock<()> = OnceLock::new();

/// The shared server. It is ZooKeeper, unless [`use_embedded_server`] was called before.
pub(crate) fn shared_server() -> &'static SharedServer {
    SHARED.get_or_init(|| SharedServer::Real(crate::shared_ensemble()))
}

/// Makes all clients of this binary use TLS: to ZooKeeper on its port for TLS, and to a server of rustls where a
/// test has a proxy or a scripted server, which filter and make packets without TLS.
pub fn use_tls() {
    static SERVER: OnceLock<Ensemble> = OnceLock::new();

    TLS.get_or_init(|| ());
    SHARED.get_or_init(|| SharedServer::Real(SERVER.get_or_init(|| server_options().start(1))));
}

/// Whether all clients of this binary use TLS.
pub(crate) fn uses_tls() -> bool {
    TLS.get().is_some()
}

/// The options of a server that clients of this binary can connect to.
pub(crate) fn server_options() -> Options {
    with_tls(Options::default())
}

/// `options` with a port for TLS, if all clients of this binary use it.
pub(crate) fn with_tls(options: Options) -> Options {
    if uses_tls() { options.tls(ClientAuth::None) } else { options }
}

/// A builder with default options, except that it uses TLS if all clients of this binary do.
pub(crate) fn client_builder() -> ClientBuilder {
    if uses_tls() {
        let authority = Certificates::shared().authority();
        Client::builder().tls(TlsOptions::new().authorities_file(authority))
    } else {
        Client::builder()
    }
}

/// Makes all tests of this binary share an embedded server. It is configured as ZooKeeper is for tests, and
/// behaves like its newest supported release, unless `ZK_TEST_VERSION` names another one.
///
/// # Panics
///
/// If it cannot start.
pub fn use_embedded_server() {
    SHARED.get_or_init(|| {
        let version = requested_version().unwrap_or_default();
        let server = TestServer::start_with(embedded_config(version)).expect("there is a port");
        SharedServer::Embedded { server, version }
    });
}

/// The release that the tests run on.
pub(crate) fn version() -> Version {
    match SHARED.get() {
        Some(SharedServer::Embedded { version, .. }) => *version,
        _ => version_under_test(),
    }
}

/// A server with a port for TLS: ZooKeeper, or an embedded server if [`use_embedded_server`] was called before.
pub(crate) enum SecureServer {
    Real(Ensemble),
    Embedded(TestServer),
}

impl SecureServer {
    /// Starts a server with these options.
    pub(crate) fn start(options: &Options) -> Self {
        match SHARED.get() {
            Some(SharedServer::Embedded { version, .. }) => {
                Self::Embedded(options.start_embedded(*version))
            }
            _ => Self::Real(options.start(1)),
        }
    }

    /// The address for plain text.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) => ensemble.node(0).address(),
            Self::Embedded(server) => server.address(),
        }
    }

    /// The address for TLS.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) => ensemble.node(0).tls_address(),
            Self::Embedded(server) => server.tls_address().expect("it has TLS"),
        }
    }
}

impl SharedServer {
    /// The connect string.
    pub(crate) fn hosts(&self) -> String {
        self.client_address().to_string()
    }

    /// Where clients of this binary connect.
    pub(crate) fn client_address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) if uses_tls() => ensemble.node(0).tls_address(),
            _ => self.address(),
        }
    }

    /// Where clients connect without TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) => ensemble.node(0).address(),
            Self::Embedded { server, .. } => server.address(),
        }
    }

    /// The release that it is or behaves like.
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::Real(_) => version_under_test(),
            Self::Embedded { version, .. } => *version,
        }
    }

    /// The answer to a four-letter word.
    #[track_caller]
    pub(crate) fn four_letter_word(&self, word: &str) -> String {
        minimal_client::four_letter_word(self.address(), word).expect("the server answers")
    }

    /// Expires a session without its owner's doing.
    #[track_caller]
    pub(crate) fn expire_session(&self, id: i64, password: &[u8]) {
        match self {
            Self::Real(ensemble) => ensemble.expire_session(id, password),
            Self::Embedded { server, .. } => assert!(server.expire_session(SessionId(id))),
        }
    }
}

/// A proxy in front of the shared server.
pub(crate) fn new_proxy() -> Proxy {
    proxy_of(shared_server().address())
}

/// A proxy in front of the server without TLS at `target`.
pub(crate) fn proxy_of(target: SocketAddr) -> Proxy {
    if uses_tls() { Proxy::with_tls(target) } else { Proxy::new(target) }
}

/// A scripted server, see [`ScriptedServer::new`].
pub(crate) fn scripted_server(
    serve: impl Fn(usize, &mut ScriptedConnection) -> io::Result<()> + Send + Sync + 'static,
) -> ScriptedServer {
    let server = ScriptedServer::new(serve);
    if uses_tls() { server.with_tls() } else { server }
}
