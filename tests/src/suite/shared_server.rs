//! [`SharedServer`]: the server that all tests of a binary share.

use std::{net::SocketAddr, sync::OnceLock};

use zk_server::{SessionId, TestServer, Version};

use crate::{
    Ensemble, Proxy, embedded_config, installed::requested_version, minimal_client,
    version_under_test,
};

/// The server that all tests of a binary share: ZooKeeper, or an embedded server.
pub(crate) enum SharedServer {
    Real(&'static Ensemble),
    Embedded { server: TestServer, version: Version },
}

static SHARED: OnceLock<SharedServer> = OnceLock::new();

/// The shared server. It is ZooKeeper, unless [`use_embedded_server`] was called before.
pub(crate) fn shared_server() -> &'static SharedServer {
    SHARED.get_or_init(|| SharedServer::Real(crate::shared_ensemble()))
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

impl SharedServer {
    /// The connect string.
    pub(crate) fn hosts(&self) -> String {
        self.address().to_string()
    }

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
    Proxy::new(shared_server().address())
}
