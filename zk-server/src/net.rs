//! [`TestServer`]: a [`Server`] on a socket of this machine, for tests.
//!
//! Threads of `std` do all of it: one accepts connections, one wakes up when the server wants to be, and
//! each connection has one that reads and one that writes. They share the server under one lock, and
//! nothing waits for a client under it.

use std::{
    collections::BTreeMap,
    fmt, io,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;

use crate::{Config, ConnectionId, Output, Server, SessionId, Time};

/// How much may wait to be sent on a connection before no more is read from it.
const READ_AHEAD: usize = 1 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A ZooKeeper in this process, on a port of its own, that does as a test wants. It ends, with all its
/// connections, when it is dropped.
///
/// ```
/// use zk_server::TestServer;
///
/// let server = TestServer::start()?;
/// println!("clients connect to {}", server.hosts()); // 127.0.0.1:port
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// What a test can do to its client:
///
/// ```
/// # use std::time::Duration;
/// # use zk_server::TestServer;
/// # let server = TestServer::start()?;
/// for connection in server.connections() {
///     connection.cut(); // the client connects again, and keeps its session
/// }
/// for session in server.sessions() {
///     server.expire_session(session); // the client learns that it is lost
/// }
/// server.freeze(); // a server that is there and silent
/// server.thaw();
/// server.refuse_connections(true); // a server that is not there
/// server.refuse_connections(false);
/// server.set_read_only(true); // a server without quorum
/// server.set_read_only(false);
/// server.restart(); // nodes and sessions are kept
/// server.restart_empty(); // nothing is kept
///
/// server.stop_clock(); // time passes by hand from here on
/// server.advance(Duration::from_secs(3600));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl TestServer {
    /// Starts a server on a free port of 127.0.0.1, with the default [`Config`].
    ///
    /// # Errors
    /// When the system has no port or thread to give.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Config::default())
    }

    /// Starts a server on a free port of 127.0.0.1. Its wall clock is the system's, whatever
    /// [`Config::epoch`] says.
    ///
    /// ```
    /// use std::time::Duration;
    /// use zk_server::{Config, TestServer};
    ///
    /// let mut config = Config::default();
    /// config.max_session_timeout = Duration::from_secs(5);
    /// let server = TestServer::start_with(config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(config: Config) -> io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0), config)
    }

    /// Starts a server at `address`. There is no more protection to it than its access lists.
    ///
    /// # Errors
    /// When it cannot listen there, or has no thread.
    pub fn bind(address: impl ToSocketAddrs, mut config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        config.epoch = since_1970;
        let clock = Clock { passed: Duration::ZERO, running_since: Some(Instant::now()) };
        let mut core = Core {
            server: Server::new(config.clone(), 0),
            config,
            clock,
            // Sessions are to differ from server to server.
            seed: u64::try_from(since_1970.as_nanos()).unwrap_or(0) ^ u64::from(address.port()),
            links: BTreeMap::new(),
            next_connection: 0,
            is_refusing: false,
            is_frozen: false,
            is_over: false,
        };
        core.server = core.new_server();
        let shared = Arc::new(Shared { core: Mutex::new(core), earlier: Condvar::new() });
        let mut server = Self { address, shared: shared.clone(), threads: Vec::new() };
        server.threads.push(spawn("zk-server-timer", {
            let shared = shared.clone();
            move || shared.keep_time()
        })?);
        server.threads.push(spawn("zk-server-accept", move || shared.accept(&listener))?);
        Ok(server)
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connect string: `127.0.0.1:port`.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.address.to_string()
    }

    /// The sessions that live.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.shared.lock().server.sessions().collect()
    }

    /// Ends a session as if it had expired: its ephemeral nodes go, its connection is closed, and its
    /// owner learns why when it connects again. False when there is no such session.
    pub fn expire_session(&self, session: SessionId) -> bool {
        self.shared.with(|server, now| server.expire_session(now, session))
    }

    /// Sets the number that the next sequential child of the node at `path` gets, so that a test can see what
    /// becomes of its program when the numbers are used up: from 2147483647 on, each child gets that one,
    /// or, within one transaction, a negative one. False when there is no such node.
    ///
    /// ```
    /// # let server = zk_server::TestServer::start()?;
    /// server.set_sequence("/", i32::MAX - 1); // two more, and then they are used up
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_sequence(&self, path: &str, next: i32) -> bool {
        self.shared.with(|server, _| server.set_sequence(path, next))
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> Vec<ClientConnection> {
        let core = self.shared.lock();
        let handle = |(id, link): (&ConnectionId, &Arc<Link>)| ClientConnection {
            peer: link.peer,
            session: core.server.session_of(*id),
            link: link.clone(),
        };
        core.links.iter().map(handle).collect()
    }

    /// The connection of a session, if it has one.
    #[must_use]
    pub fn connection_of(&self, session: SessionId) -> Option<ClientConnection> {
        self.connections().into_iter().find(|connection| connection.session == Some(session))
    }

    /// Closes new connections at once, or takes them again. Those that are open stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.lock().is_refusing = refuse;
    }

    /// Goes silent: connections are taken, and stay, but nothing is read from them or sent on them.
    /// Time goes on, and sessions expire.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Ends a [`freeze`](Self::freeze), of the whole server or of single connections.
    pub fn thaw(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        let mut core = self.shared.lock();
        core.is_frozen = frozen;
        core.links.values().for_each(|link| link.change(|gate| gate.is_frozen = frozen));
    }

    /// Goes read-only, as a server that has lost its quorum, or back: see [`Server::set_read_only`].
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.with(|server, now| server.set_read_only(now, read_only));
    }

    /// Restarts: all connections are closed; nodes and sessions are kept.
    pub fn restart(&self) {
        self.shared.with(|server, now| server.restart(now));
    }

    /// Restarts without nodes and sessions. A client that has seen more transactions than the new server
    /// has done is refused, as ZooKeeper does it: make a new one.
    pub fn restart_empty(&self) {
        let mut core = self.shared.lock();
        core.links.values().for_each(|link| link.cut());
        core.links.clear();
        core.server = core.new_server();
        self.shared.earlier.notify_all();
    }

    /// Stops the clock: from here on time passes by [`advance`](Self::advance) alone.
    pub fn stop_clock(&self) {
        let mut core = self.shared.lock();
        core.clock = Clock { passed: core.clock.elapsed(), running_since: None };
    }

    /// Lets time pass at once, and all that is due in it happen in its order: sessions expire whose
    /// clients were not heard of, containers and nodes with a TTL go.
    pub fn advance(&self, by: Duration) {
        let mut core = self.shared.lock();
        let end = core.clock.now().after(by);
        while let Some(due) = core.server.poll_timeout().filter(|due| *due <= end) {
            core.server.handle_timeout(due);
        }
        core.clock.passed = core.clock.passed.saturating_add(by);
        core.settle();
        self.shared.earlier.notify_all();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        {
            let mut core = self.shared.lock();
            core.is_over = true;
            core.links.values().for_each(|link| link.cut());
            core.links.clear();
        }
        self.shared.earlier.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A client's connection to a [`TestServer`], from [`TestServer::connections`].
#[derive(Debug, Clone)]
pub struct ClientConnection {
    peer: SocketAddr,
    session: Option<SessionId>,
    link: Arc<Link>,
}

impl ClientConnection {
    /// The client's address.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The session that it belonged to when it was listed; `None` before the handshake.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Closes it at once, with whatever was on its way.
    pub fn cut(&self) {
        self.link.cut();
    }

    /// Goes silent on it: nothing is read from it or sent on it.
    pub fn freeze(&self) {
        self.link.change(|gate| gate.is_frozen = true);
    }

    /// Ends a [`freeze`](Self::freeze); what was held goes on its way.
    pub fn thaw(&self) {
        self.link.change(|gate| gate.is_frozen = false);
    }
}

/// Time as the server has it.
struct Clock {
    /// What had passed when it was last started, stopped or moved.
    passed: Duration,
    running_since: Option<Instant>,
}

impl Clock {
    fn elapsed(&self) -> Duration {
        let running = self.running_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.passed.saturating_add(running)
    }

    fn now(&self) -> Time {
        Time::from_origin(self.elapsed())
    }
}

struct Core {
    server: Server,
    config: Config,
    clock: Clock,
    seed: u64,
    links: BTreeMap<ConnectionId, Arc<Link>>,
    next_connection: u64,
    is_refusing: bool,
    is_frozen: bool,
    is_over: bool,
}

impl Core {
    fn new_server(&mut self) -> Server {
        self.seed = self.seed.wrapping_add(1);
        Server::new(self.config.clone(), self.seed)
    }

    /// Hands to the connections what the server has for them.
    fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let (Output::Transmit(id) | Output::Disconnect(id)) = output;
            let Some(link) = self.links.get(&id) else { continue };
            link.change(|gate| {
                self.server.poll_transmit(id, &mut gate.outgoing);
                gate.is_closing |= matches!(output, Output::Disconnect(_));
            });
        }
    }
}

struct Shared {
    core: Mutex<Core>,
    /// The server may want to be woken up earlier than before.
    earlier: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the server, and what follows from it.
    fn with<T>(&self, act: impl FnOnce(&mut Server, Time) -> T) -> T {
        let mut core = self.lock();
        let due = core.server.poll_timeout();
        let now = core.clock.now();
        let result = act(&mut core.server, now);
        core.settle();
        if core.server.poll_timeout() != due {
            self.earlier.notify_all();
        }
        result
    }

    fn keep_time(&self) {
        let mut core = self.lock();
        while !core.is_over {
            let now = core.clock.now();
            let wait = core.server.poll_timeout().map(|due| due.since(now));
            core = match wait {
                Some(Duration::ZERO) => {
                    core.server.handle_timeout(now);
                    core.settle();
                    core
                }
                Some(wait) if core.clock.running_since.is_some() => {
                    let woken = self.earlier.wait_timeout(core, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                _ => self.earlier.wait(core).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            let core = self.lock();
            if core.is_over {
                return;
            }
            match accepted {
                // Closed by the drop.
                Ok(_) if core.is_refusing => {}
                Ok((stream, peer)) => {
                    drop(core);
                    // A client that cannot be served is dropped, and tries again.
                    let _ = self.serve(stream, peer);
                }
                Err(_) => {
                    drop(core);
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        let reader = stream.try_clone()?;
        let mut core = self.lock();
        let gate = Gate { is_frozen: core.is_frozen, ..Gate::default() };
        let link = Arc::new(Link { peer, stream, gate: Mutex::new(gate), changed: Condvar::new() });
        core.next_connection = core.next_connection.wrapping_add(1);
        let id = ConnectionId(core.next_connection);
        let now = core.clock.now();
        core.server.handle_connected(now, id, peer);
        core.links.insert(id, link.clone());
        drop(core);

        spawn("zk-server-write", {
            let link = link.clone();
            move || link.write(writer)
        })?;
        let shared = self.clone();
        spawn("zk-server-read", move || shared.read(reader, id, &link))?;
        Ok(())
    }

    fn read(&self, mut stream: TcpStream, id: ConnectionId, link: &Link) {
        let mut chunk = vec![0; CHUNK];
        while link.wait_to_read() {
            let Ok(len) = stream.read(&mut chunk) else { break };
            let Some(bytes) = chunk.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            if !link.wait_to_read() {
                break;
            }
            self.with(|server, now| server.handle_data(now, id, bytes));
        }
        link.cut();
        let mut core = self.lock();
        core.links.remove(&id);
        core.server.handle_disconnected(id);
    }
}

/// A connection, as its threads and the kit share it.
struct Link {
    peer: SocketAddr,
    stream: TcpStream,
    gate: Mutex<Gate>,
    changed: Condvar,
}

/// What may pass.
#[derive(Default)]
struct Gate {
    outgoing: BytesMut,
    is_frozen: bool,
    /// To be closed once `outgoing` has been sent.
    is_closing: bool,
    is_cut: bool,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn cut(&self) {
        self.change(|gate| gate.is_cut = true);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits while `held` says so; `None` once the connection is cut.
    fn wait(&self, held: impl Fn(&Gate) -> bool) -> Option<MutexGuard<'_, Gate>> {
        let held = |gate: &mut Gate| !gate.is_cut && held(gate);
        let gate = self.changed.wait_while(self.lock(), held);
        let gate = gate.unwrap_or_else(PoisonError::into_inner);
        (!gate.is_cut).then_some(gate)
    }

    /// Waits until more may be read; false once the connection is cut.
    fn wait_to_read(&self) -> bool {
        self.wait(|gate| gate.is_frozen || gate.outgoing.len() > READ_AHEAD).is_some()
    }

    fn write(&self, mut stream: TcpStream) {
        let idle = |gate: &Gate| gate.is_frozen || gate.outgoing.is_empty() && !gate.is_closing;
        while let Some(mut gate) = self.wait(idle) {
            let bytes = gate.outgoing.split();
            let is_last = gate.is_closing;
            drop(gate);
            // The one that reads may wait for room.
            self.changed.notify_all();
            if stream.write_all(&bytes).is_err() || is_last {
                break;
            }
        }
        self.cut();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}
