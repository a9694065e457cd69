//! A model of an ensemble: three servers that agree on what happens, and each of which learns of it when it
//! does.
//!
//! There is a list of entries that a majority has agreed on. A member is a server that is fed with them, one
//! by one and after a while, so that reads on it may be stale; what its clients want changed goes through the
//! leader into the list. All copies are fed alike, and the world checks that they come out alike. What does
//! not change anything, as reads, watches and pings, is between a client and its member.
//!
//! How a leader is found is not simulated, but what clients can see of it is: who loses the leader drops
//! its connections, after a while in which it goes on answering, from what it has and to no avail; of what
//! was proposed and not agreed on, the next leader has a part; sessions get another timeout from it; without
//! a majority nothing changes, and some ensembles can be read then.
//!
//! | file | what it is about |
//! |---|---|
//! | this one | what there is, and who can talk to whom |
//! | `clients` | a member and its clients |
//! | `agreement` | what is proposed, agreed on and learned of |
//! | `leadership` | who leads, and what becomes of who has lost the leader |

mod agreement;
mod clients;
mod leadership;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::frame::FrameReader;
use zk_server::{ConnectionId, Server, SessionId, Time};

use crate::{
    executor::Core,
    host::{Machine, PEER, Which, config},
};

/// Something that is agreed on.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Bytes of a client, which `connects` by them or has before. A member may have `done` what they ask for.
    Data { connection: ConnectionId, bytes: Bytes, connects: bool, done: Option<usize> },
    /// A connection is gone.
    Gone(ConnectionId),
    /// A session has ended.
    Expire(SessionId),
    /// There is a new leader.
    Epoch,
    /// The next sequential child of the node at `path` gets the number `next`.
    Count { path: String, next: i32 },
}

impl Entry {
    fn apply(&self, server: &mut Server, at: Time) {
        match self {
            Self::Data { connection, bytes, connects, .. } => {
                if *connects {
                    server.handle_connected(at, *connection, PEER);
                }
                server.handle_data(at, *connection, bytes);
            }
            Self::Gone(connection) => server.handle_disconnected(*connection),
            Self::Expire(session) => {
                server.expire_session(at, *session);
            }
            Self::Epoch => server.restart(at),
            Self::Count { path, next } => {
                server.set_sequence(path, *next);
            }
        }
    }
}

/// What a member does when its time has come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    /// The leader hears of a majority's consent.
    Agree,
    /// A member learns of what was agreed on.
    Learn(usize),
    /// A member notices that it has lost the leader, or that the leader has lost the others.
    Notice(usize),
    /// A member that has no leader looks for one.
    Look(usize),
}

pub(crate) struct Ensemble {
    seed: u64,
    copies: Vec<Copy>,
    links: BTreeMap<ConnectionId, Link>,
    leader: Option<usize>,
    epoch: u64,
    /// What the leader waits for consent to, and until when.
    proposed: VecDeque<(Duration, Entry)>,
    agreed: Vec<Agreed>,
    /// The connection that each session was resumed on last. Others may not write any more.
    owners: BTreeMap<SessionId, ConnectionId>,
    /// Sessions that a member has answered while it could not tell the leader.
    unheard: BTreeSet<SessionId>,
    /// Whether members without a majority can be read.
    is_readable_alone: bool,
    /// The connection of the next request that is agreed on is cut.
    loses_reply: bool,
}

#[derive(Debug, Clone)]
struct Agreed {
    entry: Entry,
    at: Time,
    /// The newest transaction then, if all of the moment are done.
    zxid: Option<i64>,
}

/// A member.
struct Copy {
    server: Server,
    read_only: Option<Server>,
    /// How much of what was agreed on it has learned of.
    learned: usize,
    /// When it learns of each entry.
    due: VecDeque<Duration>,
    /// The longest that this takes.
    lag: Duration,
    /// The leader that it knew last, by number.
    epoch: u64,
    serves: bool,
    /// The others have given it up while it was frozen.
    is_given_up: bool,
    /// What it could not tell the leader.
    held: Vec<Entry>,
}

/// A client's connection.
struct Link {
    server: Which,
    frames: FrameReader,
    queue: VecDeque<Bytes>,
    has_connected: bool,
    /// How much is to be agreed on before its next read.
    awaited: usize,
}

impl Ensemble {
    pub(crate) const MEMBERS: usize = 3;

    /// How long it takes at most until all members serve, once all is well.
    pub(crate) const SETTLES_IN: Duration = Duration::from_secs(5);

    /// Three members, the first of which leads.
    pub(crate) fn new(seed: u64, random: &mut fastrand::Rng) -> Self {
        let copy = || Copy {
            server: Server::new(config(true), seed),
            read_only: None,
            learned: 0,
            due: VecDeque::new(),
            lag: Duration::ZERO,
            epoch: 0,
            serves: true,
            is_given_up: false,
            held: Vec::new(),
        };
        Self {
            seed,
            copies: (0..Self::MEMBERS).map(|_| copy()).collect(),
            links: BTreeMap::new(),
            leader: Some(0),
            epoch: 0,
            proposed: VecDeque::new(),
            agreed: Vec::new(),
            owners: BTreeMap::new(),
            unheard: BTreeSet::new(),
            is_readable_alone: random.bool(),
            loses_reply: false,
        }
    }

    pub(crate) fn server_mut(&mut self, which: Which) -> Option<&mut Server> {
        match which {
            Which::Agreed => None,
            Which::Copy(member) => Some(&mut self.copies[member].server),
            Which::ReadOnly(member) => self.copies[member].read_only.as_mut(),
        }
    }

    /// The server that a client's connection is to.
    pub(crate) fn server_of(&self, id: ConnectionId) -> Option<Which> {
        self.links.get(&id).map(|link| link.server)
    }

    /// How many watches a client's connection has.
    pub(crate) fn watches_of(&self, id: ConnectionId) -> usize {
        let server = match self.server_of(id) {
            Some(Which::Copy(member)) => Some(&self.copies[member].server),
            Some(Which::ReadOnly(member)) => self.copies[member].read_only.as_ref(),
            Some(Which::Agreed) | None => None,
        };
        server.map_or(0, |server| server.watches_of(id))
    }

    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.links.remove(&id);
    }

    /// A member that others can talk to.
    fn is_well(&self, member: usize, machines: &[Machine]) -> bool {
        let machine = &machines[member];
        machine.runs() && !machine.is_cut_off && !self.copies[member].is_given_up
    }

    /// A member that takes part under the present leader.
    fn takes_part(&self, member: usize, machines: &[Machine]) -> bool {
        let copy = &self.copies[member];
        copy.serves && copy.epoch == self.epoch && self.is_well(member, machines)
    }

    /// Whether a member and its leader can talk to each other.
    fn has_contact(&self, member: usize, machines: &[Machine]) -> bool {
        self.takes_part(member, machines)
            && self.leader.is_some_and(|leader| self.takes_part(leader, machines))
    }

    /// Whether there is a leader with a majority behind it.
    pub(crate) fn has_majority(&self, machines: &[Machine]) -> bool {
        let with = (0..Self::MEMBERS).filter(|member| self.has_contact(*member, machines));
        with.count() * 2 > Self::MEMBERS
    }

    fn links_of_session(&self, member: usize, session: SessionId) -> Vec<ConnectionId> {
        let mut links = self.links_of(member);
        links.retain(|id| self.copies[member].server.session_of(*id) == Some(session));
        links
    }

    fn links_of(&self, member: usize) -> Vec<ConnectionId> {
        let on = |which| [Which::Copy(member), Which::ReadOnly(member)].contains(&which);
        self.links.iter().filter(|(_, link)| on(link.server)).map(|(id, _)| *id).collect()
    }
}

impl Core {
    fn has_contact(&self, member: usize) -> bool {
        let machines = &self.host.machines;
        self.host.ensemble.as_ref().is_some_and(|it| it.has_contact(member, machines))
    }

    fn in_millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        self.now + Duration::from_micros(self.random.u64(range.start * 1_000..range.end * 1_000))
    }

    pub(crate) fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Agree => self.consent(),
            Turn::Learn(member) => {
                if self.has_contact(member) {
                    self.learn(member, false);
                }
            }
            Turn::Notice(member) => self.notice(member),
            Turn::Look(member) => self.look_for_a_leader(member),
        }
    }

    fn links_of(&self, member: usize) -> Vec<ConnectionId> {
        self.host.ensemble.as_ref().map_or_else(Vec::new, |it| it.links_of(member))
    }
}
