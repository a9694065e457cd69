//! All servers, whether one or an ensemble, and the machines that they run on.

use std::{collections::VecDeque, time::Duration};

use zk_proto::{ErrorCode, Request, Response};
use zk_server::{ConnectionId, SessionId};

use super::{
    ensemble::{Ensemble, Entry},
    log::Log,
    logged_server::LoggedServer,
    machine::Machine,
    output::Output,
    standalone::Standalone,
};

/// Bytes on a connection, or `None` for its end.
type Received = (ConnectionId, Option<Vec<u8>>);

pub(crate) struct Hosts {
    servers: Servers,
    /// By machine: what has arrived while it was frozen.
    backlogs: Vec<VecDeque<Received>>,
    random: fastrand::Rng,
}

enum Servers {
    Standalone(Box<Standalone>),
    Ensemble(Box<Ensemble>),
}

impl Hosts {
    /// How long it takes at most until all servers serve, once all faults are over.
    pub(crate) const SETTLES_IN: Duration = Ensemble::SETTLES_IN;

    /// One server or an ensemble: the seed decides.
    pub(crate) fn new(mut random: fastrand::Rng) -> Self {
        let seed = random.u64(..);
        let servers = if random.bool() {
            Servers::Ensemble(Box::new(Ensemble::new(seed, random.fork())))
        } else {
            Servers::Standalone(Box::new(Standalone::new(seed)))
        };
        let machines = if matches!(servers, Servers::Ensemble(_)) { Ensemble::MEMBERS } else { 1 };
        Self { servers, backlogs: (0..machines).map(|_| VecDeque::new()).collect(), random }
    }

    pub(crate) const fn is_ensemble(&self) -> bool {
        matches!(self.servers, Servers::Ensemble(_))
    }

    /// How many machines there are.
    pub(crate) fn machines(&self) -> usize {
        self.backlogs.len()
    }

    /// The machine at the address with this number, if it is up. A server on its own has three addresses.
    pub(crate) fn machine_at(&self, number: usize) -> Option<usize> {
        if number >= Ensemble::MEMBERS {
            return None;
        }
        let machine = if self.is_ensemble() { number } else { 0 };
        (!self.machine(machine).is_down).then_some(machine)
    }

    fn machine(&self, machine: usize) -> Machine {
        match &self.servers {
            Servers::Standalone(server) => server.machine,
            Servers::Ensemble(ensemble) => ensemble.machine(machine),
        }
    }

    fn change_machine(&mut self, machine: usize, change: impl FnOnce(&mut Machine)) {
        match &mut self.servers {
            Servers::Standalone(server) => change(&mut server.machine),
            Servers::Ensemble(ensemble) => change(ensemble.machine_mut(machine)),
        }
    }

    const fn decider(&self) -> &LoggedServer {
        match &self.servers {
            Servers::Standalone(server) => &server.server,
            Servers::Ensemble(ensemble) => ensemble.agreed(),
        }
    }

    pub(crate) const fn log(&self) -> &Log {
        self.decider().log()
    }

    /// The sessions that are alive.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.decider().server().sessions().collect()
    }

    /// How many watches a client's connection has.
    pub(crate) fn watches_of(&self, id: ConnectionId) -> usize {
        match &self.servers {
            Servers::Standalone(server) => server.server.server().watches_of(id),
            Servers::Ensemble(ensemble) => ensemble.watches_of(id),
        }
    }

    // ---- connections -------------------------------------------------------------------------------

    pub(crate) fn handle_connected(&mut self, now: Duration, id: ConnectionId, machine: usize) {
        match &mut self.servers {
            Servers::Standalone(server) => server.handle_connected(now, id),
            Servers::Ensemble(ensemble) => ensemble.handle_connected(now, id, machine),
        }
    }

    /// Bytes have arrived, or `None` for the end.
    pub(crate) fn handle_received(
        &mut self,
        now: Duration,
        id: ConnectionId,
        bytes: Option<Vec<u8>>,
    ) {
        let machine = match &self.servers {
            Servers::Standalone(_) => 0,
            Servers::Ensemble(ensemble) => ensemble.member_of(id).unwrap_or(0),
        };
        if self.machine(machine).is_frozen {
            self.backlogs[machine].push_back((id, bytes));
            return;
        }
        match &mut self.servers {
            Servers::Standalone(server) => server.handle_received(now, id, bytes.as_deref()),
            Servers::Ensemble(ensemble) => ensemble.handle_received(now, id, bytes.as_deref()),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match &self.servers {
            Servers::Standalone(server) => server.poll_timeout(),
            Servers::Ensemble(ensemble) => ensemble.poll_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        match &mut self.servers {
            Servers::Standalone(server) => server.handle_timeout(now),
            Servers::Ensemble(ensemble) => ensemble.handle_timeout(now),
        }
    }

    /// What is to be carried out next. To be called until it returns `None` after every call that changes
    /// anything.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match &mut self.servers {
            Servers::Standalone(server) => server.outputs.pop_front(),
            Servers::Ensemble(ensemble) => ensemble.poll_output(),
        }
    }

    // ---- requests of the simulation itself ---------------------------------------------------------

    /// Makes a request of the server, or of the majority of an ensemble, past the network.
    pub(crate) fn query(
        &mut self,
        now: Duration,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        match &mut self.servers {
            Servers::Standalone(server) => server.query(now, request),
            Servers::Ensemble(ensemble) => ensemble.query(now, request),
        }
    }

    /// Has the next sequential child of the node at `path` get the number `next`.
    pub(crate) fn set_sequence(&mut self, now: Duration, path: &str, next: i32) {
        match &mut self.servers {
            Servers::Standalone(server) => server.set_sequence(path, next),
            Servers::Ensemble(ensemble) => {
                ensemble.decide(now, Entry::Sequence { path: path.to_owned(), next });
            }
        }
    }

    /// Ends a session as if it had expired.
    pub(crate) fn end_session(&mut self, now: Duration, session: SessionId) {
        match &mut self.servers {
            Servers::Standalone(server) => {
                server.server.log_mut().ended_early.insert(session);
                server.expire_session(now, session);
            }
            Servers::Ensemble(ensemble) => ensemble.end_session(now, session),
        }
    }

    // ---- faults ------------------------------------------------------------------------------------

    /// Ends a session that is drawn by the seed.
    pub(crate) fn end_any_session(&mut self, now: Duration) {
        let can_decide = match &self.servers {
            Servers::Standalone(server) => server.machine.runs(),
            Servers::Ensemble(ensemble) => ensemble.has_majority(),
        };
        let sessions = self.sessions();
        if let Some(session) = self.random.choice(&sessions).filter(|_| can_decide) {
            self.end_session(now, *session);
        }
    }

    /// Takes a server down together with its connections, or starts it again. Nodes and sessions are kept.
    pub(crate) fn set_down(&mut self, now: Duration, machine: usize, is_down: bool) {
        if self.machine(machine).is_down == is_down {
            return;
        }
        self.change_machine(machine, |it| it.set_down(is_down));
        self.backlogs[machine].clear();
        match &mut self.servers {
            Servers::Standalone(server) => server.restart(now),
            Servers::Ensemble(ensemble) => ensemble.handle_down(now, machine, is_down),
        }
    }

    /// Stops a server, as SIGSTOP does, or lets it go on.
    pub(crate) fn set_frozen(&mut self, now: Duration, machine: usize, is_frozen: bool) {
        let state = self.machine(machine);
        if state.is_frozen == is_frozen || state.is_down {
            return;
        }
        self.change_machine(machine, |it| it.is_frozen = is_frozen);
        if !is_frozen {
            if !self.is_ensemble() && self.random.bool() {
                self.handle_timeout(now);
            }
            for (id, bytes) in std::mem::take(&mut self.backlogs[machine]) {
                self.handle_received(now, id, bytes);
            }
        }
        self.contact_changes(now);
    }

    /// Takes a member's connections to the others away, or gives them back.
    pub(crate) fn set_isolated(&mut self, now: Duration, machine: usize, is_isolated: bool) {
        if self.machine(machine).is_isolated != is_isolated {
            self.change_machine(machine, |it| it.is_isolated = is_isolated);
            self.contact_changes(now);
        }
    }

    fn contact_changes(&mut self, now: Duration) {
        if let Servers::Ensemble(ensemble) = &mut self.servers {
            ensemble.handle_contact_change(now);
        }
    }

    /// Has a server close each connection after its first replies, or not.
    pub(crate) fn set_closes_early(&mut self, machine: usize, closes_early: bool) {
        self.change_machine(machine, |it| it.closes_early = closes_early);
    }

    pub(crate) fn closes_early(&self, machine: usize) -> bool {
        self.machine(machine).closes_early
    }

    /// Sets how long a member may take to learn of what was agreed on; with zero it learns of all at once.
    pub(crate) fn set_lag(&mut self, now: Duration, member: usize, lag: Duration) {
        if let Servers::Ensemble(ensemble) = &mut self.servers {
            ensemble.set_lag(now, member, lag);
        }
    }

    /// Whether the connection of the next request that is agreed on is reset.
    pub(crate) fn set_loses_reply(&mut self, loses_reply: bool) {
        if let Servers::Ensemble(ensemble) = &mut self.servers {
            ensemble.loses_reply = loses_reply;
        }
    }
}
