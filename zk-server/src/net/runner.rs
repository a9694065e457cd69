//! [`Runner`]: a server with its clock and its connections. The event loop and the test kit share it under one lock.
//! No code blocks while it holds the lock: the sockets are non-blocking.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use zk_proto::Time;

#[cfg(feature = "tls")]
use super::tls::{Tls, TlsSettings};
use super::{
    buffers::{Buffers, Received},
    link::{Link, WINDOW},
    slow_link::SlowLink,
    transport::Transport,
};
use crate::{
    config::Config,
    connection::ConnectionId,
    server::{Output, Server},
};

/// A [`Runner`] that the event loop and the test kit share.
pub(super) struct SharedRunner {
    runner: Mutex<Runner>,
    /// Held by the thread that locks `runner` next. Without it, the event loop of a busy server could lock it again
    /// and again before another thread wakes up.
    next: Mutex<()>,
    /// Wakes the event loop.
    waker: mio::Waker,
}

impl SharedRunner {
    pub(super) const fn new(runner: Runner, waker: mio::Waker) -> Self {
        Self { runner: Mutex::new(runner), next: Mutex::new(()), waker }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Runner> {
        let _next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.runner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `update` to the runner, and wakes the event loop, as something may be due earlier now.
    pub(super) fn update<T>(&self, update: impl FnOnce(&mut Runner) -> T) -> T {
        let result = update(&mut self.lock());
        // This fails if the system is out of memory. What is due is then handled at the next event.
        let _ = self.waker.wake();
        result
    }
}

/// What protects the connections of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

/// The server's clock, which a test may stop.
struct Clock {
    /// The time at which it was last started, stopped or advanced.
    passed: Duration,
    running_since: Option<Instant>,
}

impl Clock {
    fn now(&self) -> Time {
        let running = self.running_since.map_or(Duration::ZERO, |since| since.elapsed());
        Time::from_origin(self.passed.saturating_add(running))
    }
}

pub(super) struct Runner {
    pub(super) server: Server,
    config: Config,
    seed: u64,
    clock: Clock,
    /// The origin of real time, which never stops.
    started: Instant,
    transports: BTreeMap<ConnectionId, Transport>,
    next_connection: u64,
    /// When each connection is to be served again, in real time: [`Transport::due`].
    schedule: BTreeSet<(Time, ConnectionId)>,
    buffers: Buffers,
    /// The settings of new connections.
    is_frozen: bool,
    speed: SlowLink,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsSettings>,
    pub(super) is_refusing: bool,
    pub(super) is_shut_down: bool,
}

impl Runner {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            server: Server::new(config.clone(), seed),
            config,
            seed,
            clock: Clock { passed: Duration::ZERO, running_since: Some(now) },
            started: now,
            transports: BTreeMap::new(),
            next_connection: 0,
            schedule: BTreeSet::new(),
            buffers: Buffers::new(),
            is_frozen: false,
            speed: SlowLink::new(),
            #[cfg(feature = "tls")]
            tls: None,
            is_refusing: false,
            is_shut_down: false,
        }
    }

    /// The time for connections, which does not depend on the server's clock.
    fn real_now(&self) -> Time {
        Time::from_origin(self.started.elapsed())
    }

    // ---- for the event loop ------------------------------------------------------------------------

    /// Adds a connection, or closes it if connections are refused.
    pub(super) fn accept(
        &mut self,
        mut socket: TcpStream,
        peer: SocketAddr,
        security: Security,
        registry: &Registry,
    ) -> io::Result<()> {
        if self.is_refusing {
            return Ok(());
        }
        socket.set_nodelay(true)?;
        self.next_connection = self.next_connection.wrapping_add(1);
        let id = ConnectionId(self.next_connection);
        let token = Token(usize::try_from(id.0).map_err(io::Error::other)?);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut transport = Transport::new(Link::new(socket), peer);
        match security {
            Security::Plain => {}
            #[cfg(feature = "tls")]
            Security::Tls => {
                let settings = self.tls.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
                let tls = Tls::new(settings, self.real_now()).map_err(io::Error::other)?;
                transport.encrypt(tls);
            }
        }
        transport.is_frozen = self.is_frozen;
        transport.set_speed(self.speed);
        self.server.handle_connected(self.clock.now(), id, peer);
        self.transports.insert(id, transport);
        Ok(())
    }

    /// Serves the connection that an event is about.
    pub(super) fn handle_event(&mut self, event: &Event) {
        let Ok(id) = u64::try_from(event.token().0).map(ConnectionId) else { return };
        if let Some(transport) = self.transports.get_mut(&id) {
            transport.handle_event(event);
            self.serve(id);
        }
    }

    /// Handles all that is due.
    pub(super) fn handle_due(&mut self) {
        let now = self.real_now();
        let due = self.schedule.range(..=(now, ConnectionId(u64::MAX)));
        // Those that are scheduled meanwhile are served after the next events.
        for id in due.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.serve(id);
        }
        let now = self.clock.now();
        if self.clock.running_since.is_some()
            && self.server.poll_timeout().is_some_and(|due| due <= now)
        {
            self.server.handle_timeout(now);
            self.process_outputs();
        }
    }

    /// The time until something is due; `None` if nothing is scheduled.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let connection = self.schedule.first().map(|(due, _)| due.since(self.real_now()));
        let server = self.clock.running_since.and(self.server.poll_timeout());
        [connection, server.map(|due| due.since(self.clock.now()))].into_iter().flatten().min()
    }

    /// Closes all connections, and accepts no more.
    pub(super) fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.cut_all();
    }

    // ---- for the test kit --------------------------------------------------------------------------

    /// Applies `act` to the server, and processes the server's outputs.
    pub(super) fn with_server<T>(&mut self, act: impl FnOnce(&mut Server, Time) -> T) -> T {
        let result = act(&mut self.server, self.clock.now());
        self.process_outputs();
        result
    }

    pub(super) fn transports(&self) -> impl Iterator<Item = (ConnectionId, &Transport)> {
        self.transports.iter().map(|(id, transport)| (*id, transport))
    }

    /// Freezes or thaws all connections, including new ones.
    pub(super) fn set_frozen(&mut self, frozen: bool) {
        self.is_frozen = frozen;
        self.update_transports(|transport| transport.is_frozen = frozen);
    }

    /// Sets the speed of all connections, including new ones.
    pub(super) fn set_speed(&mut self, speed: SlowLink) {
        self.speed = speed;
        self.update_transports(|transport| transport.set_speed(speed));
    }

    fn update_transports(&mut self, update: impl Fn(&mut Transport)) {
        for id in self.transports.keys().copied().collect::<Vec<_>>() {
            self.update_transport(id, &update);
        }
    }

    /// Applies `update` to a connection, if it is open, then sends and schedules what has become possible.
    pub(super) fn update_transport(
        &mut self,
        id: ConnectionId,
        update: impl FnOnce(&mut Transport),
    ) {
        if let Some(transport) = self.transports.get_mut(&id) {
            update(transport);
            self.flush(id);
            self.reschedule(id);
        }
    }

    /// Replaces the server by an empty one, and closes all connections.
    pub(super) fn restart_empty(&mut self) {
        self.cut_all();
        self.seed = self.seed.wrapping_add(1);
        self.server = Server::new(self.config.clone(), self.seed);
    }

    pub(super) fn stop_clock(&mut self) {
        let passed = self.clock.now().since_origin();
        self.clock = Clock { passed, running_since: None };
    }

    /// Advances the clock. What becomes due is handled in order, each at its own time.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.clock.now().after(by);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.server.handle_timeout(due);
        }
        self.clock.passed = self.clock.passed.saturating_add(by);
        self.process_outputs();
    }

    /// Closes a connection at once.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        if let Some(transport) = self.transports.remove(&id) {
            if let Some(due) = transport.due {
                self.schedule.remove(&(due, id));
            }
            self.server.handle_disconnected(id);
        }
    }

    fn cut_all(&mut self) {
        for id in self.transports.keys().copied().collect::<Vec<_>>() {
            self.cut(id);
        }
    }

    // ---- connections -------------------------------------------------------------------------------

    /// Sends what the socket takes, reads once, handles what was received, and schedules the next turn.
    fn serve(&mut self, id: ConnectionId) {
        self.flush(id);
        let now = self.real_now();
        let is_backlogged = self.is_backlogged(id);
        let Some(transport) = self.transports.get_mut(&id) else { return };
        if !is_backlogged && !transport.is_frozen {
            let received = match transport.has_requests {
                true => Received::Bytes(&[]),
                false => transport.receive(now, &mut self.buffers),
            };
            match received {
                Received::Nothing => {}
                #[cfg(feature = "tls")]
                Received::Failed => self.server.handle_disconnected(id),
                Received::Bytes(bytes) => {
                    let now = self.clock.now();
                    #[cfg(feature = "tls")]
                    if let Some(subject) = transport.take_subject() {
                        self.server.handle_certificate(id, &subject);
                    }
                    transport.has_requests = self.server.handle_data_up_to(now, id, bytes, WINDOW);
                    self.process_outputs();
                }
                Received::End => self.cut(id),
            }
        }
        self.reschedule(id);
    }

    /// Carries out what the server asks for.
    fn process_outputs(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let (Output::Transmit(id) | Output::Disconnect(id)) = output;
            if let Some(transport) = self.transports.get_mut(&id) {
                transport.is_closing |= matches!(output, Output::Disconnect(_));
                self.flush(id);
                self.reschedule(id);
            }
        }
    }

    /// Sends what the socket of a connection takes.
    fn flush(&mut self, id: ConnectionId) {
        let now = self.real_now();
        let Some(transport) = self.transports.get_mut(&id) else { return };
        let Some(pending) = self.server.outgoing(id) else { return };
        match transport.send(now, pending) {
            Ok(false) => {}
            Ok(true) | Err(_) => self.cut(id),
        }
    }

    /// Whether a client must read replies before its next request is handled.
    fn is_backlogged(&self, id: ConnectionId) -> bool {
        self.server.pending(id) > WINDOW
    }

    /// Schedules the next turn of a connection.
    fn reschedule(&mut self, id: ConnectionId) {
        let now = self.real_now();
        let is_backlogged = self.is_backlogged(id);
        let Some(transport) = self.transports.get_mut(&id) else { return };
        let due = transport.next_due(now, is_backlogged);
        if due != transport.due {
            if let Some(due) = mem::replace(&mut transport.due, due) {
                self.schedule.remove(&(due, id));
            }
            if let Some(due) = due {
                self.schedule.insert((due, id));
            }
        }
    }
}
