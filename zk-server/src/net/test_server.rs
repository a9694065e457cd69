//! The test kit: [`TestServer`] and [`ClientConnection`].

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[cfg(feature = "tls")]
use super::tls_options::TlsOptions;
use super::{
    event_loop::EventLoop,
    runner::{Runner, Security, SharedRunner},
    slow_link::SlowLink,
    transport::Transport,
};
use zk_proto::session::SessionId;

use crate::{config::Config, connection::ConnectionId};

/// A ZooKeeper server in the process of a test, on a port of its own, that the test controls.
///
/// Dropping it closes all connections and stops the server. When a method returns, its effect is complete: connections
/// are closed, and bytes are handed to the system.
///
/// ```
/// use zk_server::TestServer;
///
/// let server = TestServer::start()?;
/// println!("connect clients to {}", server.hosts()); // 127.0.0.1:port
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Faults that a test can cause:
///
/// ```
/// # use std::time::Duration;
/// # use zk_server::{SlowLink, TestServer};
/// # let server = TestServer::start()?;
/// for connection in server.connections() {
///     connection.cut(); // the client reconnects and keeps its session
/// }
/// for session in server.sessions() {
///     server.expire_session(session); // the client reconnects and learns that its session has expired
/// }
/// server.freeze(); // a server that does not respond
/// server.thaw();
/// server.slow_down(SlowLink::new().delay(Duration::from_millis(50))); // a distant server
/// server.full_speed();
/// server.refuse_connections(true); // a server that cannot be reached
/// server.refuse_connections(false);
/// server.set_read_only(true); // a server without quorum
/// server.set_read_only(false);
/// server.restart(); // keeps znodes and sessions
/// server.restart_empty(); // keeps nothing
///
/// server.stop_clock(); // from now on, only `advance` moves the clock
/// server.advance(Duration::from_secs(3600));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TestServer {
    address: SocketAddr,
    #[cfg(feature = "tls")]
    tls_address: Option<SocketAddr>,
    runner: Arc<SharedRunner>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TestServer {
    /// Starts a server on a free port of 127.0.0.1, with the default [`Config`].
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Config::default())
    }

    /// Starts a server on a free port of 127.0.0.1. It uses the wall clock of the system; [`Config::epoch`] is ignored.
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

    /// Starts a server that listens at `address`. Anyone who can reach the address can use it, limited only by ACLs.
    ///
    /// # Errors
    /// If the server cannot listen at `address`, or no thread is available.
    pub fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Self> {
        let (listener, address) = listen(address)?;
        let (runner, thread) =
            Self::run(runner(address, config), vec![(listener, Security::Plain)])?;
        Ok(Self {
            address,
            #[cfg(feature = "tls")]
            tls_address: None,
            runner,
            thread: Some(thread),
        })
    }

    /// Starts a server on two free ports of 127.0.0.1: one for plain text, and one for TLS
    /// ([`tls_address`](Self::tls_address)). [`Config::x509`] is set.
    ///
    /// # Errors
    /// As [`start`](Self::start), or if the certificates or the key cannot be used.
    #[cfg(feature = "tls")]
    pub fn start_with_tls(config: Config, tls: &TlsOptions) -> io::Result<Self> {
        let free = (Ipv4Addr::LOCALHOST, 0);
        Self::bind_with_tls(free, free, config, tls)
    }

    /// Starts a server that listens at `address` for plain text and at `tls_address` for TLS. [`Config::x509`] is set.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), or if the certificates or the key cannot be used.
    #[cfg(feature = "tls")]
    pub fn bind_with_tls(
        address: impl ToSocketAddrs,
        tls_address: impl ToSocketAddrs,
        mut config: Config,
        tls: &TlsOptions,
    ) -> io::Result<Self> {
        let settings = tls.settings()?;
        let (listener, address) = listen(address)?;
        let (tls_listener, tls_address) = listen(tls_address)?;
        config.x509 = true;
        let mut runner = runner(address, config);
        runner.tls = Some(settings);
        let listeners = vec![(listener, Security::Plain), (tls_listener, Security::Tls)];
        let (runner, thread) = Self::run(runner, listeners)?;
        Ok(Self { address, tls_address: Some(tls_address), runner, thread: Some(thread) })
    }

    fn run(
        runner: Runner,
        listeners: Vec<(TcpListener, Security)>,
    ) -> io::Result<(Arc<SharedRunner>, thread::JoinHandle<()>)> {
        let event_loop = EventLoop::new(listeners, runner)?;
        let runner = event_loop.runner().clone();
        let thread = thread::Builder::new().name("zk-server".into());
        Ok((runner, thread.spawn(move || event_loop.run())?))
    }

    /// The address for TLS; `None` if the server has none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The connect string of clients that use TLS, `127.0.0.1:port`; `None` if the server has no TLS. The certificate must
    /// be for this address.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_hosts(&self) -> Option<String> {
        self.tls_address.map(|address| address.to_string())
    }

    /// Replaces certificates, key and authorities for new connections. Open connections stay open. Has no effect on a
    /// server without TLS.
    ///
    /// # Errors
    /// If the certificates or the key cannot be used. The previous ones then stay in use.
    #[cfg(feature = "tls")]
    pub fn replace_tls(&self, tls: &TlsOptions) -> io::Result<()> {
        let settings = tls.settings()?;
        self.runner.update(|runner| runner.tls = Some(settings));
        Ok(())
    }

    /// The address that the server listens at for plain text.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connect string for clients: `127.0.0.1:port`.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.address.to_string()
    }

    /// The sessions that have not ended.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.runner.lock().server.sessions().collect()
    }

    /// Ends a session as if it had expired: deletes its ephemeral nodes and closes its connection. When the client
    /// reconnects, it learns that the session has expired. Returns false if there is no such session.
    pub fn expire_session(&self, session: SessionId) -> bool {
        self.runner
            .update(|runner| runner.with_server(|server, now| server.expire_session(now, session)))
    }

    /// Sets the number that the next sequential child of the node at `path` gets, to test a program whose sequence
    /// numbers are used up: after 2147483647, each child gets that number again or, within one transaction, a negative
    /// one. Returns false if there is no such node.
    ///
    /// ```
    /// # let server = zk_server::TestServer::start()?;
    /// server.set_sequence("/", i32::MAX - 1); // two numbers are left
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

    /// If `refuse` is true, closes new connections at once. If it is false, accepts them again. Open connections stay open.
    pub fn refuse_connections(&self, refuse: bool) {
        self.runner.update(|runner| runner.is_refusing = refuse);
    }

    /// Stops reading from and writing to all connections, including new ones, which are still accepted. The clock goes on,
    /// and sessions expire.
    pub fn freeze(&self) {
        self.runner.update(|runner| runner.set_frozen(true));
    }

    /// Ends every [`freeze`](Self::freeze), of the whole server and of single connections.
    pub fn thaw(&self) {
        self.runner.update(|runner| runner.set_frozen(false));
    }

    /// Makes all connections slow, including new ones: see [`SlowLink`].
    pub fn slow_down(&self, link: SlowLink) {
        self.runner.update(|runner| runner.set_speed(link));
    }

    /// Ends every [`slow_down`](Self::slow_down), of the whole server and of single connections. Bytes in flight arrive
    /// at once.
    pub fn full_speed(&self) {
        self.slow_down(SlowLink::new());
    }

    /// Makes the server read-only, as if it had lost its quorum, or writable again: see
    /// [`Server::set_read_only`](crate::Server::set_read_only).
    pub fn set_read_only(&self, read_only: bool) {
        self.runner.update(|runner| {
            runner.with_server(|server, now| server.set_read_only(now, read_only))
        });
    }

    /// Simulates a restart that keeps znodes and sessions: closes all connections.
    pub fn restart(&self) {
        self.runner.update(|runner| runner.with_server(|server, now| server.restart(now)));
    }

    /// Simulates a restart that loses znodes and sessions: closes all connections. As in ZooKeeper, a client that has seen
    /// a later zxid than the new server has reached is refused; create a new client.
    pub fn restart_empty(&self) {
        self.runner.update(Runner::restart_empty);
    }

    /// Stops the clock. From now on, only [`advance`](Self::advance) moves it.
    pub fn stop_clock(&self) {
        self.runner.update(Runner::stop_clock);
    }

    /// Advances the clock by `by`, and handles in order what becomes due meanwhile: sessions without a sign of life expire,
    /// and containers and znodes with a TTL are removed.
    pub fn advance(&self, by: Duration) {
        self.runner.update(|runner| runner.advance(by));
    }
}

fn listen(address: impl ToSocketAddrs) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A server with the wall clock of the system.
fn runner(address: SocketAddr, mut config: Config) -> Runner {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    config.epoch = since_1970;
    // Servers get different session ids.
    let seed = u64::try_from(since_1970.as_nanos()).unwrap_or(0) ^ u64::from(address.port());
    Runner::new(config, seed)
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

/// A client's connection to a [`TestServer`], from [`TestServer::connections`]. The methods have no effect on a closed
/// connection.
#[derive(Clone)]
pub struct ClientConnection {
    id: ConnectionId,
    peer: SocketAddr,
    session: Option<SessionId>,
    runner: Arc<SharedRunner>,
}

impl ClientConnection {
    /// The address of the client.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The session of the connection when it was listed; `None` before the handshake.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Closes the connection at once. Bytes in flight are lost.
    pub fn cut(&self) {
        self.runner.update(|runner| runner.cut(self.id));
    }

    /// Stops reading from and writing to the connection.
    pub fn freeze(&self) {
        self.update(|transport| transport.is_frozen = true);
    }

    /// Ends a [`freeze`](Self::freeze). Bytes that were held back are sent.
    pub fn thaw(&self) {
        self.update(|transport| transport.is_frozen = false);
    }

    /// Makes the connection slow: see [`SlowLink`]. Other connections are not affected.
    ///
    /// ```
    /// use std::time::Duration;
    /// use zk_server::{SlowLink, TestServer};
    ///
    /// let server = TestServer::start()?;
    /// # let client = std::net::TcpStream::connect(server.address())?;
    /// // Give one client a latency of 150 ms each way.
    /// if let Some(connection) = server.connections().first() {
    ///     connection.slow_down(SlowLink::new().delay(Duration::from_millis(150)));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn slow_down(&self, link: SlowLink) {
        self.update(|transport| transport.set_speed(link));
    }

    /// Ends a [`slow_down`](Self::slow_down). Bytes in flight arrive at once.
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
