//! The state of an ensemble, and which members have contact with each other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{ErrorCode, Request, Response, frame::FrameReader};
use zk_server::{ConnectionId, Server, SessionId, Time};

use super::super::{
    logged_server::{LoggedServer, PEER, Sent, config, take_sent},
    machine::Machine,
    output::Output,
    query::{QUERY_CONNECTION, decode_reply, encode_query},
};
use crate::queue::Queue;

/// Something that is agreed on.
#[derive(Debug, Clone)]
pub(in super::super) enum Entry {
    /// Bytes of a client; `connects` if they are its first. The member `done` has applied them already.
    Data { connection: ConnectionId, bytes: Bytes, connects: bool, done: Option<usize> },
    /// A connection is closed.
    Close(ConnectionId),
    /// A session has ended.
    Expire(SessionId),
    /// There is a new leader.
    Epoch,
    /// The next sequential child of the node at `path` gets the number `next`.
    Sequence { path: String, next: i32 },
}

impl Entry {
    pub(super) fn apply(&self, server: &mut Server, at: Time) {
        match self {
            Self::Data { connection, bytes, connects, .. } => {
                if *connects {
                    server.handle_connected(at, *connection, PEER);
                }
                server.handle_data(at, *connection, bytes);
            }
            Self::Close(connection) => server.handle_disconnected(*connection),
            Self::Expire(session) => {
                server.expire_session(at, *session);
            }
            Self::Epoch => server.restart(at),
            Self::Sequence { path, next } => {
                server.set_sequence(path, *next);
            }
        }
    }
}

/// What is due at some time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// The leader hears that a majority has agreed.
    Agree,
    /// A member learns of what was agreed on.
    Learn(usize),
    /// A member notices that it has lost the leader, or the leader notices that it has lost the others.
    NoticeLoss(usize),
    /// A member without a leader looks for one.
    FindLeader(usize),
}

/// A server of the ensemble: what a member has of what was agreed on, or what it serves from while it has no
/// quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerId {
    Member(usize),
    ReadOnly(usize),
}

pub(in super::super) struct Ensemble {
    pub(super) seed: u64,
    pub(super) random: fastrand::Rng,
    /// The time of the last input.
    pub(super) now: Duration,
    /// The result of all that was agreed on.
    pub(super) agreed: LoggedServer,
    pub(super) entries: Vec<AgreedEntry>,
    pub(super) members: Vec<Member>,
    pub(super) connections: BTreeMap<ConnectionId, ClientConnection>,
    pub(super) leader: Option<usize>,
    pub(super) epoch: u64,
    /// What the leader has proposed, and when it hears that a majority has agreed.
    pub(super) proposed: VecDeque<(Duration, Entry)>,
    /// The connection that each session was resumed on last. No other one may write.
    pub(super) owners: BTreeMap<SessionId, ConnectionId>,
    /// Sessions that a member has heard from while it could not tell the leader.
    pub(super) unreported: BTreeSet<SessionId>,
    /// Whether members without a majority can be read.
    pub(super) allows_read_only: bool,
    /// Whether the connection of the next request that is agreed on is reset.
    pub(in super::super) loses_reply: bool,
    pub(super) due: Queue<Due>,
    pub(super) outputs: VecDeque<Output>,
}

#[derive(Debug, Clone)]
pub(super) struct AgreedEntry {
    pub(super) entry: Entry,
    pub(super) at: Time,
    /// The last transaction after this entry, unless another one of the same moment follows.
    pub(super) zxid: Option<i64>,
}

pub(super) struct Member {
    pub(super) machine: Machine,
    pub(super) server: Server,
    pub(super) read_only: Option<Server>,
    /// How many of the agreed entries it has learned.
    pub(super) learned: usize,
    /// When it learns of each of the others.
    pub(super) learns_at: VecDeque<Duration>,
    /// The longest that this takes.
    pub(super) lag: Duration,
    /// The epoch of the leader that it followed last.
    pub(super) epoch: u64,
    pub(super) serves: bool,
    /// Whether the others have given it up while it was frozen.
    pub(super) is_given_up: bool,
    /// What it could not tell the leader.
    pub(super) unsent: Vec<Entry>,
}

pub(super) struct ClientConnection {
    pub(super) server: ServerId,
    pub(super) frames: FrameReader,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) has_connected: bool,
    /// How many of its requests have to be agreed on before its next read.
    pub(super) awaited: usize,
}

impl Ensemble {
    pub(in super::super) const MEMBERS: usize = 3;

    /// How long it takes at most until all members serve, once all faults are over.
    pub(in super::super) const SETTLES_IN: Duration = Duration::from_secs(5);

    /// Three members, the first of which leads.
    pub(in super::super) fn new(seed: u64, mut random: fastrand::Rng) -> Self {
        let member = || Member {
            machine: Machine::default(),
            server: Server::new(config(true, seed), seed),
            read_only: None,
            learned: 0,
            learns_at: VecDeque::new(),
            lag: Duration::ZERO,
            epoch: 0,
            serves: true,
            is_given_up: false,
            unsent: Vec::new(),
        };
        Self {
            seed,
            now: Duration::ZERO,
            agreed: LoggedServer::new(true, seed),
            entries: Vec::new(),
            members: (0..Self::MEMBERS).map(|_| member()).collect(),
            connections: BTreeMap::new(),
            leader: Some(0),
            epoch: 0,
            proposed: VecDeque::new(),
            owners: BTreeMap::new(),
            unreported: BTreeSet::new(),
            allows_read_only: random.bool(),
            loses_reply: false,
            due: Queue::new(),
            outputs: VecDeque::new(),
            random,
        }
    }

    pub(in super::super) const fn agreed(&self) -> &LoggedServer {
        &self.agreed
    }

    pub(in super::super) fn machine(&self, member: usize) -> Machine {
        self.members[member].machine
    }

    pub(in super::super) fn machine_mut(&mut self, member: usize) -> &mut Machine {
        &mut self.members[member].machine
    }

    pub(in super::super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(in super::super) fn poll_timeout(&self) -> Option<Duration> {
        let session = self.agreed.server().poll_timeout().map(Time::since_origin);
        [session.filter(|_| self.has_majority()), self.due.next_due()].into_iter().flatten().min()
    }

    pub(in super::super) fn handle_timeout(&mut self, now: Duration) {
        self.now = now;
        match self.due.pop_due(now) {
            Some(Due::Agree) => self.agree_on_due(),
            Some(Due::Learn(member)) => {
                if self.has_contact(member) {
                    self.learn(member, false);
                }
            }
            Some(Due::NoticeLoss(member)) => self.notice_loss(member),
            Some(Due::FindLeader(member)) => self.find_leader(member),
            None => self.end_silent_sessions(),
        }
    }

    /// Makes a request past the network. It is agreed on at once, even without a majority.
    pub(in super::super) fn query(
        &mut self,
        now: Duration,
        request: &Request<'_>,
    ) -> Result<Response, ErrorCode> {
        let (connection, bytes) = (QUERY_CONNECTION, encode_query(request));
        self.decide(now, Entry::Data { connection, bytes, connects: true, done: None });
        self.decide(now, Entry::Close(connection));
        decode_reply(request, &self.agreed.take_replies())
    }

    /// Has something agreed on at once, even without a majority.
    pub(in super::super) fn decide(&mut self, now: Duration, entry: Entry) {
        self.now = now;
        self.agree_on(entry);
    }

    /// Ends a session as if it had expired.
    pub(in super::super) fn end_session(&mut self, now: Duration, session: SessionId) {
        self.agreed.log_mut().ended_early.insert(session);
        self.decide(now, Entry::Expire(session));
    }

    /// Does something to a server, and sends what follows from it to the server's clients.
    pub(super) fn act(&mut self, id: ServerId, act: impl FnOnce(&mut Server, Time)) {
        let member = match id {
            ServerId::Member(member) => Some(&mut self.members[member].server),
            ServerId::ReadOnly(member) => self.members[member].read_only.as_mut(),
        };
        let Some(server) = member else { return };
        act(server, Time::from_origin(self.now));
        for Sent { connection, bytes, closes } in take_sent(server) {
            // A member also applies the requests of other members' clients.
            if self.server_of(connection) == Some(id) {
                self.outputs.push_back(Output::Transmit(connection, bytes));
                if closes {
                    self.forget(connection);
                }
            }
        }
    }

    /// Does something to the result of what was agreed on. Its replies are the members' to send.
    pub(super) fn act_on_agreed(&mut self, act: impl FnOnce(&mut Server)) {
        drop(self.agreed.act(act));
    }

    pub(super) fn violation(&mut self, what: String) {
        self.outputs.push_back(Output::Violation(what));
    }

    pub(super) fn step(&mut self, kind: &'static str, member: usize) {
        self.outputs.push_back(Output::Step(kind, member as u64));
    }

    // ---- connections -------------------------------------------------------------------------------

    /// The server that a client's connection is to.
    pub(super) fn server_of(&self, id: ConnectionId) -> Option<ServerId> {
        self.connections.get(&id).map(|connection| connection.server)
    }

    /// The member that a client's connection is to.
    pub(in super::super) fn member_of(&self, id: ConnectionId) -> Option<usize> {
        let (ServerId::Member(member) | ServerId::ReadOnly(member)) = self.server_of(id)?;
        Some(member)
    }

    /// How many watches a client's connection has.
    pub(in super::super) fn watches_of(&self, id: ConnectionId) -> usize {
        let server = match self.server_of(id) {
            Some(ServerId::Member(member)) => Some(&self.members[member].server),
            Some(ServerId::ReadOnly(member)) => self.members[member].read_only.as_ref(),
            None => None,
        };
        server.map_or(0, |server| server.watches_of(id))
    }

    pub(super) fn connections_of(&self, member: usize) -> Vec<ConnectionId> {
        self.connections.keys().copied().filter(|id| self.member_of(*id) == Some(member)).collect()
    }

    pub(super) fn connections_of_session(
        &self,
        member: usize,
        session: SessionId,
    ) -> Vec<ConnectionId> {
        let mut connections = self.connections_of(member);
        connections.retain(|id| self.members[member].server.session_of(*id) == Some(session));
        connections
    }

    /// Forgets a client's connection. The leader has to be told separately.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.outputs.push_back(Output::Close(id));
    }

    // ---- contact between members -------------------------------------------------------------------

    /// Whether the others can talk to a member.
    pub(super) fn is_reachable(&self, member: usize) -> bool {
        let member = &self.members[member];
        member.machine.runs() && !member.machine.is_isolated && !member.is_given_up
    }

    /// Whether a member takes part under the present leader.
    pub(super) fn takes_part(&self, member: usize) -> bool {
        let it = &self.members[member];
        it.serves && it.epoch == self.epoch && self.is_reachable(member)
    }

    /// Whether there is a leader that takes part.
    pub(super) fn has_leader(&self) -> bool {
        self.leader.is_some_and(|leader| self.takes_part(leader))
    }

    /// Whether a member and its leader can talk to each other.
    pub(super) fn has_contact(&self, member: usize) -> bool {
        self.takes_part(member) && self.has_leader()
    }

    /// Whether there is a leader that a majority follows.
    pub(in super::super) fn has_majority(&self) -> bool {
        let followers = (0..Self::MEMBERS).filter(|member| self.has_contact(*member));
        followers.count() * 2 > Self::MEMBERS
    }

    /// A random time in this range of milliseconds from now.
    pub(super) fn in_millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        self.now + Duration::from_micros(self.random.u64(range.start * 1_000..range.end * 1_000))
    }
}
