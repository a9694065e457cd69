//! How servers are configured to use TLS and to authenticate clients.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fmt::Write as _, fs};

use crate::certificates::{Certificates, Holder};

/// Whether a server with TLS asks clients for a certificate (`ssl.clientAuth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It refuses clients without one.
    Need,
    /// It does not ask.
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) client_auth: ClientAuth,
    pub(crate) server: Holder,
    pub(crate) check_revocation: bool,
}

impl Tls {
    pub(crate) const FACTORY: (&str, &str) =
        ("zookeeper.serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory");

    /// The lines of `zoo.cfg` of a server that also serves TLS at `address`.
    pub(crate) fn config(&self, address: SocketAddr) -> String {
        let certificates = Certificates::shared();
        format!(
            "secureClientPort={}\n\
             secureClientPortAddress={}\n\
             ssl.keyStore.location={}\n\
             ssl.keyStore.type=PEM\n\
             ssl.trustStore.location={}\n\
             ssl.trustStore.type=PEM\n\
             ssl.clientAuth={}\n\
             ssl.crl={}\n",
            address.port(),
            address.ip(),
            certificates.key_store(self.server).display(),
            certificates.authority().display(),
            match self.client_auth {
                ClientAuth::Need => "need",
                ClientAuth::None => "none",
            },
            self.check_revocation,
        )
    }
}

/// How a server identifies clients by SASL.
#[derive(Clone, Debug)]
pub(crate) enum Sasl {
    DigestMd5 { users: Vec<(String, String)> },
    Kerberos { keytab: PathBuf, principal: String, krb5_conf: PathBuf },
}

impl Sasl {
    pub(crate) const PROVIDER: (&str, &str) = (
        "zookeeper.authProvider.sasl",
        "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
    );

    /// Writes the configuration of Java's login modules, and returns the system properties that name it.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<Vec<(String, String)>> {
        let mut properties = Vec::new();
        let login = match self {
            Self::DigestMd5 { users } => {
                let mut module =
                    "org.apache.zookeeper.server.auth.DigestLoginModule required".to_owned();
                for (name, password) in users {
                    let _ = write!(module, "\n  user_{name}={}", quoted(password));
                }
                module
            }
            Self::Kerberos { keytab, principal, krb5_conf } => {
                let krb5_conf = krb5_conf.display().to_string();
                properties.push(("java.security.krb5.conf".to_owned(), krb5_conf));
                format!(
                    "com.sun.security.auth.module.Krb5LoginModule required\n  \
                     useKeyTab=true storeKey=true useTicketCache=false\n  \
                     keyTab={}\n  principal={}",
                    quoted(&keytab.display().to_string()),
                    quoted(principal),
                )
            }
        };
        let file = directory.join("jaas.conf");
        fs::write(&file, format!("Server {{\n  {login};\n}};\n"))?;
        let file = file.display().to_string();
        properties.push(("java.security.auth.login.config".to_owned(), file));
        Ok(properties)
    }
}

/// `text` as a string of Java's login configuration.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
