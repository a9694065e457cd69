//! Embedded servers that are configured as ZooKeeper is for tests.

use std::{sync::Arc, time::Duration};

use rustls::{ServerConfig, server::NoServerSessionStorage, version};
use zk_proto::jute::Secret;
use zk_server::{Config, TestServer, TlsOptions, Version};

use crate::{
    security::{ClientAuth, Sasl, Tls},
    server::{Options, SUPER_DIGEST},
    tls_proxy::{Demand, server_config},
};

/// The configuration of an embedded server that behaves like a standalone server of `version` with the
/// default [`Options`]: the session timeouts, and the user `super` with the password `test`.
#[must_use]
pub fn embedded_config(version: Version) -> Config {
    let mut config = Config::default();
    config.version = version;
    config.min_session_timeout = Duration::from_millis(500);
    config.super_digest = Secret::new(Some(SUPER_DIGEST.to_owned()));
    config.reconfig_enabled = true;
    config
}

impl Options {
    /// Starts an embedded server of this version with these options of TLS, SASL and required authentication.
    ///
    /// # Panics
    ///
    /// If there is no port, or with SASL by GSSAPI, which it does not have.
    #[must_use]
    pub fn start_embedded(&self, version: Version) -> TestServer {
        let mut config = embedded_config(version);
        for (name, value) in &self.properties {
            let values = || value.split(',').map(str::to_owned).collect();
            match name.as_str() {
                "zookeeper.enforce.auth.schemes" => config.enforced_schemes = values(),
                "zookeeper.sessionRequireClientSASLAuth" if value == "true" => {
                    config.enforced_schemes = vec!["sasl".to_owned()];
                }
                "zookeeper.superUser" => config.sasl_super_user = Some(value.clone()),
                _ => {}
            }
        }
        match &self.sasl {
            None => {}
            Some(Sasl::DigestMd5 { users }) => {
                config.sasl_users = Some(Secret::new(users.iter().cloned().collect()));
            }
            Some(Sasl::Kerberos { .. }) => panic!("the embedded server has no GSSAPI"),
        }
        match &self.tls {
            None => TestServer::start_with(config).expect("a port"),
            Some(tls) => {
                let tls = TlsOptions::from_rustls(tls.rustls_config(version));
                TestServer::start_with_tls(config, &tls).expect("two ports")
            }
        }
    }
}

impl Tls {
    /// The same for rustls, with the protocol that ZooKeeper of this version uses by default.
    fn rustls_config(&self, version: Version) -> Arc<ServerConfig> {
        let demand = match (self.client_auth, self.check_revocation) {
            (ClientAuth::None, _) => Demand::Nothing,
            (ClientAuth::Need, false) => Demand::Certificate,
            (ClientAuth::Need, true) => Demand::Unrevoked,
        };
        if version < Version::V3_9 {
            return server_config(self.server, demand, &[&version::TLS12]);
        }
        let config = server_config(self.server, demand, &[&version::TLS13]);
        // 3.9 resumes no session.
        let mut config = Arc::unwrap_or_clone(config);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}
