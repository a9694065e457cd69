//! A connection to an echo, which has no ZooKeeper in it: what sockets and rustls cost by themselves.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::stub::{ECHO_LEN, Stub};

/// An echo in a process of its own, and a connection to it from this thread.
#[derive(Debug)]
pub struct Echo {
    stream: Stream,
    length: usize,
    _stub: Stub,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Echo {
    /// Starts an echo that answers each request with `length` bytes.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn plain(length: usize) -> Self {
        let stub = Stub::start(&length.to_string(), None).expect("an echo");
        let stream = connect(&stub);
        Self { stream: Stream::Plain(stream), length, _stub: stub }
    }

    /// Starts an echo with TLS, by these files.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn tls(length: usize, authority: &Path, chain: &Path, key: &Path) -> Self {
        let stub = Stub::start(&length.to_string(), Some((chain, key))).expect("an echo");
        let stream = connect(&stub);
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::from(stub.address.ip());
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let stream = Stream::Tls(Box::new(StreamOwned::new(session, stream)));
        Self { stream, length, _stub: stub }
    }

    /// Keeps `depth` requests in flight for `time`. Returns the number of answers.
    ///
    /// # Panics
    /// If the connection breaks.
    pub fn run(&mut self, depth: usize, time: Duration) -> usize {
        match &mut self.stream {
            Stream::Plain(stream) => exchange(stream, self.length, depth, time),
            Stream::Tls(stream) => exchange(&mut **stream, self.length, depth, time),
        }
    }
}

fn connect(stub: &Stub) -> TcpStream {
    let stream = TcpStream::connect(stub.address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn exchange(
    stream: &mut (impl Read + Write),
    length: usize,
    depth: usize,
    time: Duration,
) -> usize {
    let end = Instant::now() + time;
    let requests = vec![b'x'; depth * ECHO_LEN];
    let mut buffer = vec![0; 64 << 10];
    let (mut answers, mut received, mut in_flight) = (0, 0, depth);
    stream.write_all(&requests).expect("the echo reads");
    stream.flush().expect("the echo reads");
    while in_flight > 0 {
        let read = stream.read(&mut buffer).expect("the echo answers");
        assert!(read > 0, "the echo has ended");
        received += read;
        let complete = received / length;
        received %= length;
        answers += complete;
        if complete > 0 && Instant::now() < end {
            stream.write_all(&requests[..complete * ECHO_LEN]).expect("the echo reads");
            stream.flush().expect("the echo reads");
        } else {
            in_flight -= complete;
        }
    }
    answers
}
