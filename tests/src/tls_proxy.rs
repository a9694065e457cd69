//! [`TlsProxy`]: TLS in front of a server without it, by rustls.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use rustls::{
    HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version,
};

use crate::{Certificates, Holder, lock};

/// A server with TLS on 127.0.0.1. It passes what it decrypts to a server without TLS, and back. Dropping it ends all
/// connections.
#[derive(Debug)]
pub struct TlsProxy {
    address: SocketAddr,
    inner: Arc<Inner>,
}

/// One handshake that ended, well or not.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Whether a session was resumed. `None` if the handshake failed.
    pub kind: Option<HandshakeKind>,
    /// The protocol version.
    pub version: Option<ProtocolVersion>,
    /// The server's name that the client sent.
    pub name: Option<String>,
}

#[derive(Debug)]
struct Inner {
    target: SocketAddr,
    config: Mutex<Arc<ServerConfig>>,
    handshakes: Mutex<Vec<Handshake>>,
    accepted: Mutex<usize>,
    connections: Mutex<Vec<TcpStream>>,
    truncates: AtomicBool,
    is_over: AtomicBool,
}

/// Whether a [`TlsProxy`] demands certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It wants none.
    Nothing,
    /// It wants one from the authority of the tests.
    Certificate,
    /// It wants one that is not on the authority's revocation list.
    Unrevoked,
}

/// The configuration of a server with the certificate of `holder`.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn server_config(
    holder: Holder,
    demand: Demand,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let certificates = Certificates::shared();
    let read = |path| CertificateDer::pem_file_iter(path).expect("a file");
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("versions");
    let config = if demand == Demand::Nothing {
        config.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(read(certificates.authority()).flatten());
        let lists = CertificateRevocationListDer::pem_file_iter(certificates.revocation_list());
        let lists = lists.expect("a file").flatten().filter(|_| demand == Demand::Unrevoked);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
            .with_crls(lists)
            .allow_unknown_revocation_status()
            .build();
        config.with_client_cert_verifier(verifier.expect("a verifier"))
    };
    let chain = read(certificates.chain(holder)).map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.key(holder)).expect("a key");
    Arc::new(config.with_single_cert(chain, key).expect("a certificate"))
}

impl TlsProxy {
    /// Starts in front of `target`.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn new(target: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner {
            target,
            config: Mutex::new(config),
            handshakes: Mutex::default(),
            accepted: Mutex::default(),
            connections: Mutex::default(),
            truncates: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let acceptor = inner.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if acceptor.is_over.load(Ordering::Relaxed) {
                    return;
                }
                *lock(&acceptor.accepted) += 1;
                lock(&acceptor.connections).extend(stream.try_clone());
                let inner = acceptor.clone();
                thread::spawn(move || inner.serve(stream));
            }
        });
        Self { address, inner }
    }

    /// As [`new`](Self::new), with the certificate of [`Holder::Server`] and for clients with and without one.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn for_any_client(target: SocketAddr) -> Self {
        let versions = [&version::TLS12, &version::TLS13];
        Self::new(target, server_config(Holder::Server, Demand::Nothing, &versions))
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handshakes so far.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Handshake> {
        lock(&self.inner.handshakes).clone()
    }

    /// The number of connections that were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        *lock(&self.inner.accepted)
    }

    /// Later connections use `config`.
    pub fn set_config(&self, config: Arc<ServerConfig>) {
        *lock(&self.inner.config) = config;
    }

    /// Whether connections end without TLS' notice of it.
    pub fn truncate(&self, truncates: bool) {
        self.inner.truncates.store(truncates, Ordering::Relaxed);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for stream in lock(&self.inner.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.inner.is_over.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

impl Inner {
    fn serve(&self, mut stream: TcpStream) {
        let Ok(target) = TcpStream::connect(self.target) else { return };
        let config = lock(&self.config).clone();
        let mut session = ServerConnection::new(config).expect("a session");
        let handshake = session.complete_io(&mut stream);
        lock(&self.handshakes).push(Handshake {
            kind: session.handshake_kind().filter(|_| handshake.is_ok()),
            version: session.protocol_version(),
            name: session.server_name().map(str::to_owned),
        });
        // The server may have reset its connection meanwhile.
        let reset = target.take_error().ok().flatten().is_some();
        if reset || handshake.is_ok() && is_reset(&self.relay(session, &stream, &target)) {
            // The client's connection is reset too, when its last handle is closed.
            let _ = set_socket_linger(&stream, Some(Duration::ZERO));
            let peer = stream.peer_addr().ok();
            lock(&self.connections).retain(|other| other.peer_addr().ok() != peer);
            return;
        }
        let _ = stream.shutdown(Shutdown::Write);
        // So that what was sent is not discarded by a reset.
        let _ = io::copy(&mut stream, &mut io::sink());
    }

    /// Passes everything on until both directions have ended. The result is that of the direction to the client.
    fn relay(
        &self,
        session: ServerConnection,
        stream: &TcpStream,
        target: &TcpStream,
    ) -> io::Result<()> {
        target.set_nodelay(true)?;
        stream.set_nodelay(true)?;
        let session = Mutex::new(session);
        thread::scope(|scope| {
            let to_client = scope.spawn(|| {
                let result = self.to_client(&session, target, stream);
                let way = if result.is_ok() { Shutdown::Write } else { Shutdown::Read };
                let _ = stream.shutdown(way);
                result
            });
            let _ = to_server(&session, stream, target);
            let _ = target.shutdown(Shutdown::Write);
            to_client.join().unwrap_or(Ok(()))
        })
    }

    fn to_client(
        &self,
        session: &Mutex<ServerConnection>,
        mut target: &TcpStream,
        mut stream: &TcpStream,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = target.read(&mut buffer)?;
            let mut session = lock(session);
            match &buffer[..read] {
                [] if self.truncates.load(Ordering::Relaxed) => return Ok(()),
                [] => session.send_close_notify(),
                bytes => session.writer().write_all(bytes)?,
            }
            while session.wants_write() {
                session.write_tls(&mut stream)?;
            }
            if read == 0 {
                return Ok(());
            }
        }
    }
}

fn is_reset(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn to_server(
    session: &Mutex<ServerConnection>,
    mut stream: &TcpStream,
    mut target: &TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        // What the handshake has read beyond its end comes first.
        let mut plain = Vec::new();
        let end = match lock(session).reader().read_to_end(&mut plain) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            result => result.map(|_| true)?,
        };
        target.write_all(&plain)?;
        if end {
            return Ok(());
        }
        let read = stream.read(&mut buffer)?;
        let mut bytes = &buffer[..read];
        if bytes.is_empty() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let mut session = lock(session);
            session.read_tls(&mut bytes)?;
            let processed = session.process_new_packets();
            while session.wants_write() {
                session.write_tls(&mut stream)?;
            }
            processed.map_err(io::Error::other)?;
            let mut plain = Vec::new();
            let _ = session.reader().read_to_end(&mut plain);
            target.write_all(&plain)?;
        }
    }
}
