//! [`TestServer`]: the test kit.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    event_loop::EventLoop,
    runner::{Runner, SharedRunner},
    slow_link::SlowLink,
    transport::Transport,
};
use zk_proto::session::SessionId;

use crate::{config::Config, connection::ConnectionId};

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
/// # use zk_server::{SlowLink, TestServer};
/// # let server = TestServer::start()?;
/// for connection in server.connections() {
///     connection.cut(); // the client connects again, and keeps its session
/// }
/// for session in server.sessions() {
///     server.expire_session(session); // the client learns that it is lost
/// }
/// server.freeze(); // a server that is there and silent
/// server.thaw();
/// server.slow_down(SlowLink::new().delay(Duration::from_millis(50))); // a server far away
/// server.full_speed();
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
    runner: Arc<SharedRunner>,
    thread: Option<thread::JoinHandle<()>>,
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
    /// When it cannot listen there, or the system has no thread to give.
    pub fn bind(address: impl ToSocketAddrs, mut config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        config.epoch = since_1970;
        // Sessions are to differ from server to server.
        let seed = u64::try_from(since_1970.as_nanos()).unwrap_or(0) ^ u64::from(address.port());
        let event_loop = EventLoop::new(listener, Runner::new(config, seed))?;
        let runner = event_loop.runner().clone();
        let thread = thread::Builder::new().name("zk-server".into());
        let thread = Some(thread.spawn(move || event_loop.run())?);
        Ok(Self { address, runner, thread })
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
        self.runner.lock().server.sessions().collect()
    }

    /// Ends a session as if it had expired: its ephemeral nodes go, its connection is closed, and its
    /// owner learns why when it connects again. False when there is no such session.
    pub fn expire_session(&self, session: SessionId) -> bool {
        self.runner
            .update(|runner| runner.with_server(|server, now| server.expire_session(now, session)))
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
        self.runner.update(|runner| runner.with_server(|server, _| server.set_sequence(path, next)))
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> Vec<ClientConnection> {
        let runner = self.runner.lock();
        let connection = |(id, transport): (ConnectionId, &Transport)| ClientConnection {
            id,
            peer: transport.peer,
            session: runner.server.session_of(id),
            runner: self.runner.clone(),
        };
        runner.transports().map(connection).collect()
    }

    /// The connection of a session, if it has one.
    #[must_use]
    pub fn connection_of(&self, session: SessionId) -> Option<ClientConnection> {
        self.connections().into_iter().find(|connection| connection.session == Some(session))
    }

    /// Closes new connections at once, or takes them again. Those that are open stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.runner.update(|runner| runner.is_refusing = refuse);
    }

    /// Goes silent: connections are taken, and stay, but nothing is read from them or sent on them.
    /// Time goes on, and sessions expire.
    pub fn freeze(&self) {
        self.runner.update(|runner| runner.set_frozen(true));
    }

    /// Ends a [`freeze`](Self::freeze), of the whole server or of single connections.
    pub fn thaw(&self) {
        self.runner.update(|runner| runner.set_frozen(false));
    }

    /// Makes all connections slow, those that are open and those to come: see [`SlowLink`].
    pub fn slow_down(&self, link: SlowLink) {
        self.runner.update(|runner| runner.set_speed(link));
    }

    /// Ends a [`slow_down`](Self::slow_down), of the whole server or of single connections. What was under
    /// way arrives at once.
    pub fn full_speed(&self) {
        self.slow_down(SlowLink::new());
    }

    /// Goes read-only, as a server that has lost its quorum, or back: see
    /// [`Server::set_read_only`](crate::Server::set_read_only).
    pub fn set_read_only(&self, read_only: bool) {
        self.runner.update(|runner| {
            runner.with_server(|server, now| server.set_read_only(now, read_only))
        });
    }

    /// Restarts: all connections are closed; nodes and sessions are kept.
    pub fn restart(&self) {
        self.runner.update(|runner| runner.with_server(|server, now| server.restart(now)));
    }

    /// Restarts without nodes and sessions. A client that has seen more transactions than the new server
    /// has done is refused, as ZooKeeper does it: make a new one.
    pub fn restart_empty(&self) {
        self.runner.update(Runner::restart_empty);
    }

    /// Stops the clock: from here on time passes by [`advance`](Self::advance) alone.
    pub fn stop_clock(&self) {
        self.runner.update(Runner::stop_clock);
    }

    /// Lets time pass at once, and all that is due in it happen in its order: sessions expire whose
    /// clients were not heard of, containers and nodes with a TTL go.
    pub fn advance(&self, by: Duration) {
        self.runner.update(|runner| runner.advance(by));
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.runner.update(Runner::shut_down);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A client's connection to a [`TestServer`], from [`TestServer::connections`]. Once it is closed there is
/// nothing that it does.
#[derive(Clone)]
pub struct ClientConnection {
    id: ConnectionId,
    peer: SocketAddr,
    session: Option<SessionId>,
    runner: Arc<SharedRunner>,
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
        self.runner.update(|runner| runner.cut(self.id));
    }

    /// Goes silent on it: nothing is read from it or sent on it.
    pub fn freeze(&self) {
        self.update(|transport| transport.is_frozen = true);
    }

    /// Ends a [`freeze`](Self::freeze); what was held goes on its way.
    pub fn thaw(&self) {
        self.update(|transport| transport.is_frozen = false);
    }

    /// Makes it slow: see [`SlowLink`]. Other connections stay as they are.
    ///
    /// ```
    /// use std::time::Duration;
    /// use zk_server::{SlowLink, TestServer};
    ///
    /// let server = TestServer::start()?;
    /// # let client = std::net::TcpStream::connect(server.address())?;
    /// // One of the clients is far away.
    /// if let Some(connection) = server.connections().first() {
    ///     connection.slow_down(SlowLink::new().delay(Duration::from_millis(150)));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn slow_down(&self, link: SlowLink) {
        self.update(|transport| transport.set_speed(link));
    }

    /// Ends a [`slow_down`](Self::slow_down); what was under way arrives at once.
    pub fn full_speed(&self) {
        self.slow_down(SlowLink::new());
    }

    fn update(&self, update: impl FnOnce(&mut Transport)) {
        self.runner.update(|runner| runner.update_transport(self.id, update));
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection")
            .field("peer", &self.peer)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
