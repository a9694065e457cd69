//! [`ScriptedServer`]: a server that sends what a test tells it to, for replies that no real server sends.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{TlsProxy, frame};

/// The time that the client may be silent before its connection is closed.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const PING: i32 = -2;

/// A server on 127.0.0.1. A function of the test serves each connection, on its own thread.
pub struct ScriptedServer {
    address: SocketAddr,
    /// What clients connect to, if they use TLS.
    front: Option<TlsProxy>,
    closed: Arc<AtomicBool>,
    /// `None` in `drop` only.
    acceptor: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// Starts a server. `serve` is called with the number of the connection, from
    /// 0, and the connection; when it returns, the connection is closed.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[must_use]
    pub fn new(
        serve: impl Fn(usize, &mut ScriptedConnection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let closed = Arc::new(AtomicBool::new(false));
        let (serve, ended) = (Arc::new(serve), closed.clone());
        let acceptor = thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = serve.clone();
                thread::spawn(move || {
                    if let Ok(mut conversation) = ScriptedConnection::new(stream) {
                        // The client may disconnect at any time.
                        let _ = serve(number, &mut conversation);
                    }
                });
            }
        });
        Self { address, front: None, closed, acceptor: Some(acceptor) }
    }

    /// The same, for clients that use TLS.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.front = Some(TlsProxy::for_any_client(self.address));
        self
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.as_ref().map_or(self.address, TlsProxy::address)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // The acceptor looks for `closed` when it has accepted something.
        let woken = TcpStream::connect(self.address);
        let ended = self.acceptor.take().map(JoinHandle::join);
        drop((woken, ended));
    }
}

impl fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedServer({})", self.address)
    }
}

/// One connection to a [`ScriptedServer`].
#[derive(Debug)]
pub struct ScriptedConnection {
    stream: TcpStream,
}

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The xid, which the reply must have.
    pub xid: i32,
    /// The operation code.
    pub opcode: i32,
    /// The record after the header.
    pub body: Vec<u8>,
}

impl ScriptedConnection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        Ok(Self { stream })
    }

    /// Reads the client's handshake and grants the session `id` with the requested timeout. Returns the id of
    /// the session that the client asked for, or 0 for a new one.
    pub fn handshake(&mut self, id: i64) -> io::Result<i64> {
        let request = self.receive()?;
        let field = |at: usize, length: usize| {
            request.get(at..at + length).ok_or(io::ErrorKind::UnexpectedEof)
        };
        let timeout = i32::from_be_bytes(field(12, 4)?.try_into().expect("4 bytes"));
        let asked = i64::from_be_bytes(field(16, 8)?.try_into().expect("8 bytes"));
        self.grant(timeout, id)?;
        Ok(asked)
    }

    /// Reads the client's handshake and refuses the session.
    pub fn refuse_session(&mut self) -> io::Result<()> {
        self.receive()?;
        self.grant(0, 0)
    }

    fn grant(&mut self, timeout: i32, id: i64) -> io::Result<()> {
        let mut response = 0_i32.to_be_bytes().to_vec();
        response.extend(timeout.to_be_bytes());
        response.extend(id.to_be_bytes());
        response.extend(16_i32.to_be_bytes());
        response.extend([7; 16]);
        response.push(0); // not read-only
        self.send(&response)
    }

    /// The client's next request. Pings are answered and skipped.
    pub fn request(&mut self) -> io::Result<Request> {
        loop {
            let frame = self.receive()?;
            let (header, body) = frame.split_first_chunk::<8>().ok_or(io::ErrorKind::Other)?;
            let xid = i32::from_be_bytes(header[..4].try_into().expect("4 bytes"));
            let opcode = i32::from_be_bytes(header[4..].try_into().expect("4 bytes"));
            if xid != PING {
                return Ok(Request { xid, opcode, body: body.to_vec() });
            }
            self.reply(PING, 0, &[])?;
        }
    }

    /// Sends a reply with this xid, error code and record.
    pub fn reply(&mut self, xid: i32, error: i32, body: &[u8]) -> io::Result<()> {
        let mut frame = xid.to_be_bytes().to_vec();
        frame.extend(1_i64.to_be_bytes()); // zxid
        frame.extend(error.to_be_bytes());
        frame.extend(body);
        self.send(&frame)
    }

    /// Sends a frame with any content.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = i32::try_from(frame.len()).expect("a short frame");
        self.send_bytes(&length.to_be_bytes())?;
        self.send_bytes(frame)
    }

    /// Sends bytes that need not be a frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits until the client disconnects.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        frame::receive(&mut self.stream)
    }
}
