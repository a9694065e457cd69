//! The simulated world: the network, the faults and the servers are state machines that do not know each
//! other. This joins them, and checks what passes between them.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use zk_proto::{ErrorCode, Request, Response};
use zk_server::{ConnectionId, SessionId};

use crate::{
    executor::{Delays, Environment, Scheduler},
    faults::{Action, Attempt, FaultInjector, Faults, Targets},
    liveness::Liveness,
    network::{Content, Cut, Delivery, Direction, Network},
    servers::{Hosts, Output, machine_number},
    wire_rules::WireRules,
};

/// How many bytes a server sends before it closes a connection early: the replies to the handshake and to a
/// credential.
const FIRST_REPLIES: usize = 41 + 20;

pub(crate) struct World {
    network: Network,
    faults: FaultInjector,
    hosts: Hosts,
    wire_rules: WireRules,
    /// By connection that a client has not dropped.
    liveness: BTreeMap<u64, Liveness>,
    /// By process: how often it has begun to connect.
    attempts: BTreeMap<usize, usize>,
    /// How many records of the log are in the trace.
    traced: usize,
}

impl Environment for World {
    fn poll_timeout(&self) -> Option<Duration> {
        let due =
            [self.network.poll_timeout(), self.hosts.poll_timeout(), self.faults.poll_timeout()];
        due.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, scheduler: &mut Scheduler) {
        let now = scheduler.now;
        let is_due = |due: Option<Duration>| due.is_some_and(|due| due <= now);
        if is_due(self.hosts.poll_timeout()) {
            scheduler.step("servers", 0, 0);
            self.hosts.handle_timeout(now);
        } else if is_due(self.faults.poll_timeout()) {
            let targets = Targets {
                machines: self.hosts.machines(),
                processes: scheduler.alive(),
                connections: self.network.open_connections(),
            };
            let (fault, actions) = self.faults.handle_timeout(now, &targets);
            if let Some((kind, duration)) = fault {
                scheduler.step("fault", kind as u64, duration.as_millis() as u64);
            }
            self.carry_out(scheduler, actions);
        } else if let Some(delivery) = self.network.handle_timeout(now) {
            self.deliver(scheduler, delivery);
        }
        self.handle_outputs(scheduler);
    }
}

impl World {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        Self {
            network: Network::new(random.fork()),
            faults: FaultInjector::new(random.fork()),
            hosts: Hosts::new(random.fork()),
            wire_rules: WireRules::default(),
            liveness: BTreeMap::new(),
            attempts: BTreeMap::new(),
            traced: 0,
        }
    }

    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Forgets all connections.
    pub(crate) fn clear(&mut self) {
        self.network.clear();
    }

    // ---- what passes between the parts -------------------------------------------------------------

    fn deliver(&mut self, scheduler: &mut Scheduler, delivery: Delivery) {
        let Delivery { connection, process, content, wakers } = delivery;
        wakers.into_iter().flatten().for_each(|waker| scheduler.wake(waker));
        match content {
            Content::ToClient(len) => {
                scheduler.step("to client", connection, len as u64);
                let actions = self.faults.handle_arrival(scheduler.now, process);
                self.carry_out(scheduler, actions);
            }
            Content::ToServer(bytes) => {
                let id = ConnectionId(connection);
                scheduler.step("to server", connection, bytes.as_ref().map_or(0, Vec::len) as u64);
                if let Some(bytes) = &bytes {
                    self.wire_rules.handle_received(id, bytes);
                }
                self.hosts.handle_received(scheduler.now, id, bytes);
            }
        }
    }

    /// Carries out what the servers do, and reports violations.
    fn handle_outputs(&mut self, scheduler: &mut Scheduler) {
        let now = scheduler.now;
        while let Some(output) = self.hosts.poll_output() {
            match output {
                Output::Transmit(id, mut bytes) => {
                    self.wire_rules.handle_sent(id, &bytes);
                    self.send(now, id.0, Direction::ToClient, &mut bytes);
                }
                Output::Close(id) => {
                    self.wire_rules.handle_closed(id);
                    self.network.close_server_end(now, id.0);
                }
                Output::Reset(id) => self.cut(scheduler, id.0, Cut::Reset),
                Output::Step(kind, member) => scheduler.step(kind, member, 0),
                Output::Violation(what) => scheduler.fail(what),
            }
        }
        let records = &self.hosts.log().records;
        for record in records.get(self.traced..).unwrap_or_default() {
            scheduler.trace.note(now, || format!("{record:?}"));
        }
        self.traced = records.len();
        while let Some(what) = self.wire_rules.take_violation() {
            scheduler.fail(what);
        }
    }

    fn send(&mut self, now: Duration, id: u64, direction: Direction, bytes: &mut [u8]) {
        if !self.network.has_sent(id, direction) {
            self.faults.change_handshake(direction, bytes);
        }
        self.network.send(now, id, direction, bytes);
    }

    fn cut(&mut self, scheduler: &mut Scheduler, connection: u64, cut: Cut) {
        scheduler.step("cut", connection, cut as u64);
        self.network.cut(scheduler.now, connection, cut);
    }

    // ---- clients -----------------------------------------------------------------------------------

    /// A process begins to connect: when the attempt ends, and how.
    pub(crate) fn begin_to_connect(
        &mut self,
        now: Duration,
        process: usize,
    ) -> (Duration, Attempt) {
        *self.attempts.entry(process).or_default() += 1;
        self.faults.connect(now)
    }

    /// How often a process has begun to connect.
    pub(crate) fn attempts(&self, process: usize) -> usize {
        self.attempts.get(&process).copied().unwrap_or_default()
    }

    /// When the resolver replies.
    ///
    /// # Errors
    /// That it fails.
    pub(crate) fn begin_to_resolve(&mut self, now: Duration) -> io::Result<Duration> {
        self.faults.resolve(now)
    }

    /// Connects a process to the server at this address, if one is up.
    pub(crate) fn connect(
        &mut self,
        scheduler: &mut Scheduler,
        process: usize,
        address: SocketAddr,
    ) -> Option<u64> {
        let machine = self.hosts.machine_at(machine_number(address)?)?;
        let id = self.network.open(process);
        if let Some((direction, bytes, cut)) = self.faults.cut_of_new_connection() {
            self.network.cut_after(id, direction, bytes, cut);
        }
        if self.hosts.closes_early(machine) {
            self.network.cut_after(id, Direction::ToClient, FIRST_REPLIES, Cut::Close);
        }
        scheduler.step("connected", id, machine as u64);
        self.liveness.insert(id, Liveness::default());
        self.wire_rules.handle_connected(scheduler.now, ConnectionId(id));
        self.hosts.handle_connected(scheduler.now, ConnectionId(id), machine);
        self.handle_outputs(scheduler);
        Some(id)
    }

    pub(crate) fn poll_read(
        &mut self,
        now: Duration,
        id: u64,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.network.poll_read(id, context, buffer);
        if let Poll::Ready(Ok(len)) = result
            && let Some(liveness) = self.liveness.get_mut(&id)
        {
            liveness.handle_read(now, buffer.get(..len).unwrap_or_default());
        }
        result
    }

    pub(crate) fn poll_write(
        &mut self,
        scheduler: &mut Scheduler,
        process: usize,
        id: u64,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.network.poll_write(id, context, bytes.len());
        let Poll::Ready(Ok(len)) = result else { return result };
        let now = scheduler.now;
        scheduler.step("write", id, len as u64);
        let free = scheduler.disturbed_until(process);
        if let Some(silence) = self.liveness.get(&id).and_then(|it| it.overdue(now, free)) {
            scheduler.fail(format!("a client stays connected without a reply for {silence:?}"));
        }
        self.wire_rules.handle_written(now, ConnectionId(id), self.faults.is_calm());
        let mut sent = bytes.get(..len).unwrap_or(bytes).to_vec();
        self.send(now, id, Direction::ToServer, &mut sent);
        self.handle_outputs(scheduler);
        result
    }

    pub(crate) fn shut_down(&mut self, scheduler: &mut Scheduler, id: u64) {
        scheduler.step("shut down", id, 0);
        self.network.shut_client_end(scheduler.now, id);
    }

    /// A client drops its end of a connection. The wakers are to be dropped while no lock is held.
    pub(crate) fn close(&mut self, scheduler: &mut Scheduler, id: u64) -> [Option<Waker>; 2] {
        scheduler.step("close", id, 0);
        self.liveness.remove(&id);
        self.network.drop_client_end(scheduler.now, id)
    }

    // ---- faults ------------------------------------------------------------------------------------

    fn carry_out(&mut self, scheduler: &mut Scheduler, actions: Vec<Action>) {
        let now = scheduler.now;
        for action in actions {
            match action {
                Action::Cut(connection, cut) => self.cut(scheduler, connection, cut),
                Action::Hold(connection, direction, until) => {
                    self.network.hold(connection, direction, until);
                }
                Action::AddToLength(connection, more) => {
                    self.network.add_to_length(connection, more);
                }
                Action::Trickle(connection, pace) => self.network.trickle(connection, pace),
                Action::SetDown(machine, is_down) => self.hosts.set_down(now, machine, is_down),
                Action::SetFrozen(machine, it) => self.hosts.set_frozen(now, machine, it),
                Action::SetIsolated(machine, it) => self.hosts.set_isolated(now, machine, it),
                Action::SetClosesEarly(machine, it) => self.hosts.set_closes_early(machine, it),
                Action::SetLag(machine, lag) => self.hosts.set_lag(now, machine, lag),
                Action::SetLosesReply(it) => self.hosts.set_loses_reply(it),
                Action::EndSession => self.hosts.end_any_session(now),
                Action::SetPaused(process, it) => scheduler.set_paused(process, it),
                Action::Jump(process, by) => scheduler.jump(process, by),
                Action::Kill(process) => scheduler.kill(process),
            }
            self.handle_outputs(scheduler);
        }
    }

    /// Begins to break things, until [`heal`](Self::heal).
    pub(crate) fn begin_faults(&mut self, scheduler: &mut Scheduler, faults: Faults) {
        let (per_million, longest) = (faults.delays, faults.longest);
        scheduler.set_delays(Some(Delays { per_million, longest }));
        let actions = self.faults.begin(scheduler.now, faults, self.hosts.machines());
        self.carry_out(scheduler, actions);
    }

    /// Ends all faults. What was lost stays lost.
    pub(crate) fn heal(&mut self, scheduler: &mut Scheduler) {
        scheduler.step("heal", 0, 0);
        scheduler.set_delays(None);
        self.network.heal(scheduler.now);
        let actions = self.faults.heal(self.hosts.machines());
        self.carry_out(scheduler, actions);
    }

    /// Resets all connections.
    pub(crate) fn cut_all(&mut self, scheduler: &mut Scheduler) {
        for connection in self.network.open_connections() {
            self.cut(scheduler, connection, Cut::Reset);
        }
    }

    /// Has all attempts to connect refused, or not.
    pub(crate) const fn set_unreachable(&mut self, is_unreachable: bool) {
        self.faults.is_unreachable = is_unreachable;
    }

    /// Has all servers close each connection after their first replies, or not.
    pub(crate) fn set_close_early(&mut self, closes_early: bool) {
        for machine in 0..self.hosts.machines() {
            self.hosts.set_closes_early(machine, closes_early);
        }
    }

    /// Sets how long a member may take to learn of what was agreed on.
    pub(crate) fn set_lag(&mut self, scheduler: &mut Scheduler, member: usize, lag: Duration) {
        self.carry_out(scheduler, vec![Action::SetLag(member, lag)]);
    }

    // ---- requests of the simulation itself ---------------------------------------------------------

    /// Makes a request of the server, or of the majority of an ensemble, past the network.
    pub(crate) fn query(
        &mut self,
        scheduler: &mut Scheduler,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        let result = self.hosts.query(scheduler.now, request);
        self.handle_outputs(scheduler);
        result
    }

    /// As [`query`](Self::query); all members of an ensemble learn of it at once.
    pub(crate) fn query_all(
        &mut self,
        scheduler: &mut Scheduler,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        let result = self.query(scheduler, request);
        for member in 0..self.hosts.machines() {
            self.set_lag(scheduler, member, Duration::ZERO);
        }
        result
    }

    /// Has the next sequential child of the node at `path` get the number `next`.
    pub(crate) fn set_sequence(&mut self, scheduler: &mut Scheduler, path: &str, next: i32) {
        self.hosts.set_sequence(scheduler.now, path, next);
        self.handle_outputs(scheduler);
    }

    /// Ends a session as if it had expired.
    pub(crate) fn end_session(&mut self, scheduler: &mut Scheduler, session: SessionId) {
        self.hosts.end_session(scheduler.now, session);
        self.handle_outputs(scheduler);
    }

    /// How many watches the servers have for connections that are open.
    pub(crate) fn watches(&self) -> usize {
        let open = self.network.open_connections();
        open.into_iter().map(|id| self.hosts.watches_of(ConnectionId(id))).sum()
    }

    /// On how many connections watches were re-armed since the last call.
    pub(crate) fn take_rearmed(&mut self) -> usize {
        self.wire_rules.take_rearmed()
    }
}
