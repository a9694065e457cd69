//! [`Core`]: the server, its clock and its connections, which the event loop and the test kit share under
//! one lock. Nothing waits under it: sockets do not block.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use zk_proto::Time;

use super::{
    transport::{Link, Received, WINDOW},
    slow_link::SlowLink,
};
use crate::{
    config::Config,
    connection::ConnectionId,
    server::{Output, Server},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// What the event loop and the test kit share.
pub(super) struct Shared {
    core: Mutex<Core>,
    /// Held by the thread that is to have the core next. Without it, the event loop of a busy server could
    /// take the core again and again before another thread wakes up.
    next: Mutex<()>,
    /// Ends the event loop's wait.
    waker: mio::Waker,
}

impl Shared {
    pub(super) const fn new(core: Core, waker: mio::Waker) -> Self {
        Self { core: Mutex::new(core), next: Mutex::new(()), waker }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        let _next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and has the event loop see what is due next.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let result = change(&mut self.lock());
        // It fails if the system has no memory. What is due then waits for the next event.
        let _ = self.waker.wake();
        result
    }
}

/// Time as the server has it.
struct Clock {
    /// What had passed when it was last started, stopped or moved.
    passed: Duration,
    running_since: Option<Instant>,
}

impl Clock {
    fn now(&self) -> Time {
        let running = self.running_since.map_or(Duration::ZERO, |since| since.elapsed());
        Time::from_origin(self.passed.saturating_add(running))
    }
}

pub(super) struct Core {
    pub(super) server: Server,
    config: Config,
    seed: u64,
    clock: Clock,
    /// The origin of real time, which does not stop.
    started: Instant,
    links: BTreeMap<ConnectionId, Link>,
    next_connection: u64,
    /// The connections to be served again, and when in real time: `Link::due`.
    agenda: BTreeSet<(Time, ConnectionId)>,
    chunk: Vec<u8>,
    /// What new connections are made with.
    is_frozen: bool,
    speed: SlowLink,
    pub(super) is_refusing: bool,
    pub(super) is_over: bool,
}

impl Core {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            server: Server::new(config.clone(), seed),
            config,
            seed,
            clock: Clock { passed: Duration::ZERO, running_since: Some(now) },
            started: now,
            links: BTreeMap::new(),
            next_connection: 0,
            agenda: BTreeSet::new(),
            chunk: vec![0; CHUNK],
            is_frozen: false,
            speed: SlowLink::new(),
            is_refusing: false,
            is_over: false,
        }
    }

    /// What the time is for connections, whatever it is for the server.
    fn real_now(&self) -> Time {
        Time::from_origin(self.started.elapsed())
    }

    // ---- what the event loop does ------------------------------------------------------------------

    /// Takes in a connection.
    pub(super) fn accept(
        &mut self,
        mut socket: TcpStream,
        peer: SocketAddr,
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
        let mut link = Link::new(socket, peer);
        link.is_frozen = self.is_frozen;
        link.set_speed(self.speed);
        self.server.handle_connected(self.clock.now(), id, peer);
        self.links.insert(id, link);
        Ok(())
    }

    /// Does what a connection's socket is ready for.
    pub(super) fn handle_event(&mut self, event: &Event) {
        let Ok(id) = u64::try_from(event.token().0).map(ConnectionId) else { return };
        if let Some(link) = self.links.get_mut(&id) {
            link.note(event);
            self.serve(id);
        }
    }

    /// Does what is due.
    pub(super) fn handle_due(&mut self) {
        let now = self.real_now();
        let due = self.agenda.range(..=(now, ConnectionId(u64::MAX)));
        // Whoever is put on it meanwhile waits for the next events.
        for id in due.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.serve(id);
        }
        let now = self.clock.now();
        if self.clock.running_since.is_some()
            && self.server.poll_timeout().is_some_and(|due| due <= now)
        {
            self.server.handle_timeout(now);
            self.settle();
        }
    }

    /// How long it is until something is due; `None` while nothing is.
    pub(super) fn wait(&self) -> Option<Duration> {
        let link = self.agenda.first().map(|(due, _)| due.since(self.real_now()));
        let server = self.clock.running_since.and(self.server.poll_timeout());
        [link, server.map(|due| due.since(self.clock.now()))].into_iter().flatten().min()
    }

    /// Closes all connections, and takes no more.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.cut_all();
    }

    // ---- what the test kit does --------------------------------------------------------------------

    /// Does something with the server, and what follows from it.
    pub(super) fn act<T>(&mut self, act: impl FnOnce(&mut Server, Time) -> T) -> T {
        let result = act(&mut self.server, self.clock.now());
        self.settle();
        result
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (ConnectionId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// Freezes or thaws all connections, and those to come.
    pub(super) fn set_frozen(&mut self, frozen: bool) {
        self.is_frozen = frozen;
        self.change_links(|link| link.is_frozen = frozen);
    }

    /// Makes all connections, and those to come, as slow as that.
    pub(super) fn set_speed(&mut self, speed: SlowLink) {
        self.speed = speed;
        self.change_links(|link| link.set_speed(speed));
    }

    fn change_links(&mut self, change: impl Fn(&mut Link)) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.change_link(id, &change);
        }
    }

    /// Changes a connection, if it is open, and sees what comes of it.
    pub(super) fn change_link(&mut self, id: ConnectionId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            change(link);
            self.flush(id);
            self.schedule(id);
        }
    }

    /// Starts anew, without nodes, sessions and connections.
    pub(super) fn start_anew(&mut self) {
        self.cut_all();
        self.seed = self.seed.wrapping_add(1);
        self.server = Server::new(self.config.clone(), self.seed);
    }

    pub(super) fn stop_clock(&mut self) {
        let passed = self.clock.now().since_origin();
        self.clock = Clock { passed, running_since: None };
    }

    /// Lets time pass, and what is due in it happen in its order.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.clock.now().after(by);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.server.handle_timeout(due);
        }
        self.clock.passed = self.clock.passed.saturating_add(by);
        self.settle();
    }

    /// Closes a connection at once.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.remove(&id) {
            if let Some(due) = link.due {
                self.agenda.remove(&(due, id));
            }
            self.server.handle_disconnected(id);
        }
    }

    fn cut_all(&mut self) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.cut(id);
        }
    }

    // ---- connections -------------------------------------------------------------------------------

    /// Sends what a connection takes, then handles what one read brings, then says when to go on.
    fn serve(&mut self, id: ConnectionId) {
        self.flush(id);
        let now = self.real_now();
        let is_backlogged = self.is_backlogged(id);
        let Some(link) = self.links.get_mut(&id) else { return };
        if !is_backlogged && !link.is_frozen {
            let received = match link.has_requests {
                true => Received::Bytes(0),
                false => link.receive(now, &mut self.chunk),
            };
            match received {
                Received::Nothing => {}
                Received::Bytes(len) => {
                    let bytes = self.chunk.get(..len).unwrap_or_default();
                    let now = self.clock.now();
                    link.has_requests = self.server.handle_data_up_to(now, id, bytes, WINDOW);
                    self.settle();
                }
                Received::End => self.cut(id),
            }
        }
        self.schedule(id);
    }

    /// Does what the server asks for.
    fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let (Output::Transmit(id) | Output::Disconnect(id)) = output;
            if let Some(link) = self.links.get_mut(&id) {
                link.is_closing |= matches!(output, Output::Disconnect(_));
                self.flush(id);
                self.schedule(id);
            }
        }
    }

    /// Sends what a connection takes.
    fn flush(&mut self, id: ConnectionId) {
        let now = self.real_now();
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(pending) = self.server.outgoing(id) else { return };
        match link.send(now, pending) {
            Ok(false) => {}
            Ok(true) | Err(_) => self.cut(id),
        }
    }

    /// Whether a client has to take replies before its next request is handled.
    fn is_backlogged(&self, id: ConnectionId) -> bool {
        self.server.pending(id) > WINDOW
    }

    /// Puts on the agenda when a connection is to be served again.
    fn schedule(&mut self, id: ConnectionId) {
        let now = self.real_now();
        let is_backlogged = self.is_backlogged(id);
        let Some(link) = self.links.get_mut(&id) else { return };
        let due = link.next(now, is_backlogged);
        if due != link.due {
            if let Some(due) = mem::replace(&mut link.due, due) {
                self.agenda.remove(&(due, id));
            }
            if let Some(due) = due {
                self.agenda.insert((due, id));
            }
        }
    }
}
