//! [`Access`]: how the clients reach a server, in plain text or with TLS.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use zk_tests::{Certificates, Holder};

use crate::sequence::CLIENTS;

/// The timeout of a reply, and of every other wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The client that uses plain text, if the others use TLS.
pub(crate) const PLAIN_CLIENT: usize = 0;

/// A connection in plain text or with TLS.
pub(crate) type Stream = Box<dyn ReadWrite + Send>;

pub(crate) trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

/// Where a server is, and how each client reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Its address for plain text.
    pub(crate) address: SocketAddr,
    /// Its address for TLS, and the certificates of all clients but the first, which uses plain text.
    pub(crate) tls: Option<(SocketAddr, [Holder; CLIENTS - 1])>,
}

impl Access {
    /// Opens a connection of the client number `client`.
    pub(crate) fn open(&self, client: usize) -> Stream {
        let tls = match (self.tls, client) {
            (None, _) | (_, PLAIN_CLIENT) => None,
            (Some((address, holders)), client) => Some((address, holders[client - 1])),
        };
        let address = tls.map_or(self.address, |(address, _)| address);
        let stream = TcpStream::connect_timeout(&address, LIMIT).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(LIMIT)).expect("a TCP socket");
        match tls {
            None => Box::new(stream),
            Some((address, holder)) => {
                let name = ServerName::from(address.ip());
                let connection = ClientConnection::new(tls_config(holder), name).expect("a config");
                Box::new(StreamOwned::new(connection, stream))
            }
        }
    }

    /// The answer to a four-letter word, on the port that the client number `client` uses.
    pub(crate) fn four_letter_word(&self, word: &str, client: usize) -> io::Result<String> {
        let mut stream = self.open(client);
        stream.write_all(word.as_bytes())?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // ZooKeeper may end TLS without saying so.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

/// A configuration that trusts the authority of the tests, with this certificate.
fn tls_config(holder: Holder) -> Arc<ClientConfig> {
    let certificates = Certificates::shared();
    let mut roots = RootCertStore::empty();
    for authority in pem_certificates(&certificates.authority()) {
        roots.add(authority).expect("an authority");
    }
    let key = PrivateKeyDer::from_pem_file(certificates.key(holder)).expect("a key");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_root_certificates(roots)
        .with_client_auth_cert(pem_certificates(&certificates.chain(holder)), key);
    Arc::new(config.expect("a certificate"))
}

fn pem_certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file).expect("a file");
    certificates.collect::<Result<_, _>>().expect("certificates")
}
