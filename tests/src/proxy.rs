//! A byte proxy in front of one server that injects network faults on request.
//!
//! ```text
//! source ──▸ reader ──▸ queue ──▸ writer ──▸ sink      for each direction
//!                                   │
//!                      delay, hold, frames, budget
//! ```
//!
//! Each connection has a reader and a writer thread for each direction. The reader timestamps what it reads,
//! so that a delay adds latency without limiting the throughput. The end of the stream goes through the queue
//! too, so that it can be held back and delayed.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::{TlsProxy, lock};

/// How long the server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// The interval at which a blocked writer checks whether its connection was cut.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);
/// The size of a read, and the number of queued chunks before the reader waits.
const CHUNK: usize = 16 * 1024;
const QUEUE: usize = 256;

/// One of the two directions through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients to the server: requests.
    ToServer,
    /// From the server to clients: replies and notifications.
    ToClient,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameAction {
    /// Forward it.
    Pass,
    /// Drop it.
    Drop,
    /// Drop it and close its connection, as [`Proxy::cut_fin`] does.
    Cut,
}

type Filter = Box<dyn FnMut(&[u8]) -> FrameAction + Send>;

/// A proxy on 127.0.0.1 in front of one server. Settings apply to present and future connections unless
/// documented otherwise. If the server cannot be reached, a connection is reset right after it is accepted.
/// Dropping the proxy resets all connections and ends all its threads.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// What clients connect to, if they use TLS.
    front: Option<TlsProxy>,
    inner: Arc<ProxyInner>,
    /// `None` in `drop` only.
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy in front of the server at `target`.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self::listen(target).expect("a proxy can listen on a port of its own")
    }

    /// As [`new`](Self::new), for clients that use TLS. It decrypts what they send, so that frames can be
    /// filtered, and passes it to a server without TLS. Its certificate is that of
    /// [`Holder::Server`](crate::Holder::Server).
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[must_use]
    pub fn with_tls(target: SocketAddr) -> Self {
        let mut proxy = Self::new(target);
        proxy.front = Some(TlsProxy::for_any_client(proxy.address));
        proxy
    }

    fn listen(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let inner = Arc::new(ProxyInner {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
            filters: Default::default(),
        });
        let acceptor = thread::spawn({
            let inner = Arc::clone(&inner);
            move || inner.accept(&listener)
        });
        Ok(Self { address, front: None, inner, acceptor: Some(acceptor) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.as_ref().map_or(self.address, TlsProxy::address)
    }

    /// The number of live connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.inner.state).connections.len()
    }

    /// The number of connections accepted so far, including those that were then refused.
    #[must_use]
    pub fn accepted(&self) -> usize {
        lock(&self.inner.state).accepted
    }

    /// Resets all present connections, those that [`connections`](Self::connections)
    /// counts; what has not passed yet is lost.
    pub fn cut_rst(&self) {
        self.inner.cut_all(Cut::Rst);
    }

    /// Closes all present connections, those that [`connections`](Self::connections)
    /// counts, in an orderly way; what has not passed yet is lost.
    pub fn cut_fin(&self) {
        self.inner.cut_all(Cut::Fin);
    }

    /// Holds back everything in this direction, both bytes and the end of streams, as if the network dropped
    /// it.
    pub fn hold(&self, direction: Direction) {
        self.inner.change(|state| state.direction(direction).held = true);
    }

    /// Ends every [`hold`](Self::hold). What was held back passes now.
    pub fn release(&self) {
        self.inner.change(|state| {
            for way in &mut state.directions {
                way.held = false;
            }
        });
    }

    /// Sets whether future connections are reset as soon as they are accepted.
    pub fn refuse(&self, refuse: bool) {
        self.inner.change(|state| state.refuse = refuse);
    }

    /// Lets this many more bytes pass in this direction, on all connections together, and then closes the
    /// connection that has more to send, as [`cut_fin`](Self::cut_fin) does. Happens once.
    pub fn drop_after(&self, direction: Direction, bytes: usize) {
        self.inner.change(|state| state.direction(direction).budget = Some(bytes));
    }

    /// Delays everything by `delay`, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.inner.change(|state| state.delay = delay);
    }

    /// Sets whether bytes pass one by one, each in its own segment.
    pub fn trickle(&self, trickle: bool) {
        self.inner.change(|state| state.trickle = trickle);
    }

    /// Calls `filter` with each frame (without its length prefix) that begins in this direction from now on.
    /// Replaces an earlier filter. With a filter, a frame passes as a whole and not as its parts arrive.
    ///
    /// The filter must not call this method.
    pub fn on_frame(
        &self,
        direction: Direction,
        filter: impl FnMut(&[u8]) -> FrameAction + Send + 'static,
    ) {
        *lock(&self.inner.filters[direction as usize]) = Some(Box::new(filter));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.inner.state).closed = true;
        self.cut_rst();
        // The acceptor looks for `closed` when it has accepted something.
        let woken = TcpStream::connect(self.address);
        let ended = self.acceptor.take().map(JoinHandle::join);
        drop(woken);
        if let Some(Err(cause)) = ended
            && !thread::panicking()
        {
            panic::resume_unwind(cause); // a filter's assertion, most likely
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Rst,
    Fin,
}

/// The settings of one direction.
#[derive(Debug, Default)]
struct DirectionState {
    held: bool,
    budget: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    directions: [DirectionState; 2],
    delay: Duration,
    trickle: bool,
    refuse: bool,
    closed: bool,
    accepted: usize,
    /// The live ones, by their number in order of acceptance.
    connections: HashMap<usize, Arc<Connection>>,
}

impl State {
    fn direction(&mut self, direction: Direction) -> &mut DirectionState {
        &mut self.directions[direction as usize]
    }
}

struct ProxyInner {
    target: SocketAddr,
    state: Mutex<State>,
    /// Notified when `state` has changed or a connection was cut.
    changed: Condvar,
    /// Separate from `state`, so that a filter can use the proxy.
    filters: [Mutex<Option<Filter>>; 2],
}

impl fmt::Debug for ProxyInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyInner")
            .field("target", &self.target)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream) -> io::Result<Arc<Self>> {
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_INTERVAL))?;
        }
        Ok(Arc::new(Self { client, server, cut: AtomicBool::new(false) }))
    }

    fn source(&self, direction: Direction) -> &TcpStream {
        match direction {
            Direction::ToServer => &self.client,
            Direction::ToClient => &self.server,
        }
    }

    fn sink(&self, direction: Direction) -> &TcpStream {
        match direction {
            Direction::ToServer => &self.server,
            Direction::ToClient => &self.client,
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ends the connection and wakes its readers. To be called with the state
    /// locked, and `changed` notified thereafter, so that its writers wake too.
    fn cut(&self, cut: Cut) {
        self.cut.store(true, Ordering::Release);
        for stream in [&self.client, &self.server] {
            // Fails only for a stream that has ended already.
            let _ = match cut {
                Cut::Fin => stream.shutdown(Shutdown::Both),
                Cut::Rst => {
                    reset_on_close(stream);
                    stream.shutdown(Shutdown::Read)
                }
            };
        }
    }

    /// Passes chunks from the source to the writer, until the stream ends.
    fn read(&self, direction: Direction, queue: &SyncSender<(Instant, Chunk)>) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = match self.source(direction).read(&mut buffer) {
                Ok(0) => Chunk::Fin,
                Ok(length) => Chunk::Bytes(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Chunk::Rst,
            };
            let last = !matches!(chunk, Chunk::Bytes(_));
            if self.is_cut() || queue.send((Instant::now(), chunk)).is_err() || last {
                return;
            }
        }
    }

    fn write(&self, direction: Direction, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink(direction).write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if !self.is_cut() => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

/// What a reader passes on to its writer.
enum Chunk {
    Bytes(Vec<u8>),
    Fin,
    Rst,
}

impl ProxyInner {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn cut_all(&self, cut: Cut) {
        self.change(|state| {
            for (_, connection) in state.connections.drain() {
                connection.cut(cut);
            }
        });
    }

    fn cut(&self, number: usize, cut: Cut) {
        self.change(|state| {
            if let Some(connection) = state.connections.remove(&number) {
                connection.cut(cut);
            }
        });
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for client in listener.incoming() {
                let (number, refuse) = {
                    let mut state = lock(&self.state);
                    if state.closed {
                        return;
                    }
                    state.accepted += 1;
                    (state.accepted, state.refuse)
                };
                // Errors are of clients that have gone already.
                let Ok(client) = client else { continue };
                let connect = || TcpStream::connect_timeout(&self.target, CONNECT_LIMIT).ok();
                let Some(server) = (!refuse).then(connect).flatten() else {
                    reset_on_close(&client);
                    continue;
                };
                let Ok(connection) = Connection::new(client, server) else {
                    continue;
                };
                let mut state = lock(&self.state);
                if state.closed {
                    return; // nothing would cut it any more
                }
                state.connections.insert(number, Arc::clone(&connection));
                scope.spawn(move || self.forward(number, &connection));
            }
        });
    }

    /// Forwards a connection until it ends.
    fn forward(&self, number: usize, connection: &Connection) {
        thread::scope(|scope| {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let (queue, chunks) = sync_channel(QUEUE);
                scope.spawn(move || connection.read(direction, &queue));
                scope.spawn(move || {
                    if let Err(cut) = self.write(connection, direction, &chunks) {
                        self.cut(number, cut);
                    }
                });
            }
        });
        lock(&self.state).connections.remove(&number);
    }

    /// Writes what is queued to the sink until the source has ended or the
    /// connection is cut. The error is how to cut it, if it is to be.
    fn write(
        &self,
        connection: &Connection,
        direction: Direction,
        chunks: &Receiver<(Instant, Chunk)>,
    ) -> Result<(), Cut> {
        let mut frames = Frames::default();
        let write = |bytes: &[u8]| connection.write(direction, bytes).map_err(|_| Cut::Rst);
        for (arrived, chunk) in chunks {
            let Some(segment) = self.pass(connection, direction, arrived) else {
                break;
            };
            match chunk {
                Chunk::Bytes(bytes) => {
                    let filter = &self.filters[direction as usize];
                    let (mut out, cut) = frames.push(&bytes, lock(filter).as_mut());
                    let cut = self.use_budget(direction, &mut out) || cut;
                    out.chunks(segment).try_for_each(write)?;
                    if cut {
                        return Err(Cut::Fin);
                    }
                }
                Chunk::Fin => {
                    write(frames.remainder())?;
                    let sink = connection.sink(direction);
                    return sink.shutdown(Shutdown::Write).map_err(|_| Cut::Rst);
                }
                Chunk::Rst => return Err(Cut::Rst),
            }
        }
        Ok(())
    }

    /// Waits until a chunk that arrived at `arrived` may pass. Returns the maximum length of a segment, or
    /// `None` if the connection was cut.
    fn pass(
        &self,
        connection: &Connection,
        direction: Direction,
        arrived: Instant,
    ) -> Option<usize> {
        let mut state = lock(&self.state);
        loop {
            if connection.is_cut() {
                return None;
            }
            let wait = (arrived + state.delay).saturating_duration_since(Instant::now());
            state = if state.direction(direction).held {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else if !wait.is_zero() {
                let waited = self.changed.wait_timeout(state, wait);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                return Some(if state.trickle { 1 } else { usize::MAX });
            };
        }
    }

    /// Truncates `out` to what [`Proxy::drop_after`] allows. Returns whether the budget is used up.
    fn use_budget(&self, direction: Direction, out: &mut Vec<u8>) -> bool {
        let mut state = lock(&self.state);
        let budget = &mut state.direction(direction).budget;
        let Some(allowed) = *budget else {
            return false;
        };
        let used_up = allowed <= out.len();
        out.truncate(allowed);
        *budget = (!used_up).then(|| allowed - out.len());
        used_up
    }
}

/// Follows the frames in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    /// The part that has arrived of an incomplete frame or length.
    pending: Vec<u8>,
    /// The number of bytes of that length that have passed without a filter.
    passed: usize,
    /// The number of bytes still to come of a frame that passes without a filter.
    rest: usize,
}

impl Frames {
    /// Adds `bytes`. Returns what passes now, and whether to cut the connection then.
    fn push(&mut self, bytes: &[u8], mut filter: Option<&mut Filter>) -> (Vec<u8>, bool) {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut left = self.pending.as_slice();
        loop {
            let (passing, next) = left.split_at(self.rest.min(left.len()));
            out.extend_from_slice(passing);
            self.rest -= passing.len();
            left = next;

            let filter = filter.as_mut().filter(|_| self.passed == 0);
            let Some((prefix, _)) = left.split_first_chunk() else {
                if filter.is_none() {
                    out.extend_from_slice(&left[self.passed..]);
                    self.passed = left.len();
                }
                break;
            };
            let size = prefix.len() + u32::from_be_bytes(*prefix) as usize;
            let Some(filter) = filter else {
                left = &left[self.passed..];
                self.rest = size - self.passed;
                self.passed = 0;
                continue;
            };
            let Some((frame, next)) = left.split_at_checked(size) else {
                break;
            };
            match filter(&frame[prefix.len()..]) {
                FrameAction::Pass => out.extend_from_slice(frame),
                FrameAction::Drop => {}
                FrameAction::Cut => return (out, true),
            }
            left = next;
        }
        self.pending = left.to_vec();
        (out, false)
    }

    /// What has not passed when the stream ends.
    fn remainder(&self) -> &[u8] {
        &self.pending[self.passed..]
    }
}

/// Makes `stream` send a reset when it is closed.
fn reset_on_close(stream: &TcpStream) {
    // Fails only for a stream that has ended already.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}
