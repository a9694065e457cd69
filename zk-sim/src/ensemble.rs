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

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Request,
    frame::{Frame, FrameReader, LENGTH_LEN, write_frame},
    jute::{Decode, Reader},
    records::{ConnectRequest, RequestHeader, xid},
};
use zk_server::{ConnectionId, Server, SessionId, Time};

use crate::{
    executor::{Core, Event},
    host::{Machine, PEER, QUESTION, Which, config},
    network::Cut,
    tap::LIMIT,
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

    // ---- clients -----------------------------------------------------------------------------------

    pub(crate) fn member_connected(&mut self, id: ConnectionId, member: usize) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &ensemble.copies[member];
        let server = match (copy.serves, &copy.read_only) {
            (true, _) => Which::Copy(member),
            (false, Some(_)) => Which::ReadOnly(member),
            (false, None) => return self.forget(id),
        };
        let link = Link {
            server,
            frames: FrameReader::new(LIMIT),
            queue: VecDeque::new(),
            has_connected: false,
            awaited: 0,
        };
        ensemble.links.insert(id, link);
        if server == Which::ReadOnly(member) {
            self.act(server, |server, now| server.handle_connected(now, id, PEER));
        }
    }

    /// Bytes have come from a client, or the end.
    pub(crate) fn member_received(&mut self, id: ConnectionId, bytes: Option<&[u8]>) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let Some(link) = ensemble.links.get_mut(&id) else { return };
        match (link.server, bytes) {
            (_, None) => self.hang_up(id),
            (server @ Which::ReadOnly(_), Some(bytes)) => {
                self.act(server, |server, now| server.handle_data(now, id, bytes));
            }
            (_, Some(bytes)) => {
                link.frames.extend(bytes);
                while let Ok(Some(Frame::Whole(frame))) = link.frames.next_frame() {
                    link.queue.push_back(frame);
                }
                self.go_on(id);
            }
        }
    }

    /// Closes a client's connection.
    fn hang_up(&mut self, id: ConnectionId) {
        match self.host.ensemble.as_ref().and_then(|ensemble| ensemble.server_of(id)) {
            Some(server @ Which::ReadOnly(_)) => {
                self.act(server, |server, _| server.handle_disconnected(id));
            }
            _ => self.propose(Entry::Gone(id)),
        }
        self.forget(id);
    }

    /// Does what a client wants, in order: a read waits for the writes before it.
    fn go_on(&mut self, id: ConnectionId) {
        loop {
            let Some(ensemble) = &mut self.host.ensemble else { return };
            let Some(link) = ensemble.links.get_mut(&id) else { return };
            let Which::Copy(member) = link.server else { return };
            let Some(frame) = link.queue.front().cloned() else { return };
            if !link.has_connected {
                link.has_connected = true;
                link.queue.pop_front();
                self.welcome(id, member, &frame);
                continue;
            }
            let Ok(header) = RequestHeader::decode(&mut Reader::new(&frame)) else {
                return self.hang_up(id);
            };
            let (bytes, connects) = (packet(&frame), false);
            if is_for_the_leader(header.op) {
                link.queue.pop_front();
                link.awaited += 1;
                let done = None;
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
                continue;
            }
            if link.awaited > 0 {
                return;
            }
            link.queue.pop_front();
            self.touch(id, member);
            self.act(Which::Copy(member), |server, now| server.handle_data(now, id, &bytes));
            if header.op == OpCode::Auth {
                // The others have to know for whom they write.
                let done = Some(member);
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
            }
        }
    }

    /// A client's first packet. A session that both the leader and the member know of is resumed at once,
    /// from what the member has; others have to be agreed on.
    fn welcome(&mut self, id: ConnectionId, member: usize, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else {
            return self.hang_up(id);
        };
        let Some(ensemble) = &self.host.ensemble else { return };
        let server = &ensemble.copies[member].server;
        if request.last_zxid_seen > server.last_zxid() {
            return self.hang_up(id);
        }
        let session = SessionId(request.session_id);
        let knows = |server: &Server| server.sessions().any(|known| known == session);
        let is_known = self.has_contact(member) && knows(self.host.agreed()) && knows(server);
        let bytes = packet(frame);
        if is_known {
            self.resume(id, member, session, &bytes);
        } else if let Some(link) = self.link_mut(id) {
            link.awaited += 1;
        }
        let done = is_known.then_some(member);
        self.forward(member, Entry::Data { connection: id, bytes, connects: true, done });
    }

    fn link_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.host.ensemble.as_mut()?.links.get_mut(&id)
    }

    fn resume(&mut self, id: ConnectionId, member: usize, session: SessionId, bytes: &[u8]) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let earlier = ensemble.links_of_session(member, session);
        self.act(Which::Copy(member), |server, now| {
            server.handle_connected(now, id, PEER);
            server.handle_data(now, id, bytes);
        });
        earlier.into_iter().for_each(|other| self.hang_up(other));
    }

    /// A session has been heard of.
    fn touch(&mut self, id: ConnectionId, member: usize) {
        let has_contact = self.has_contact(member);
        let session = self
            .host
            .ensemble
            .as_ref()
            .and_then(|ensemble| ensemble.copies[member].server.session_of(id));
        let Some(session) = session else { return };
        if !self.host.agreed().sessions().any(|live| live == session) {
            // The member has not learned of its end.
            self.host.ended.insert(session);
            return;
        }
        let Some(ensemble) = &mut self.host.ensemble else { return };
        if has_contact {
            ensemble.unheard.remove(&session);
            self.act(Which::Agreed, |server, now| server.handle_data(now, id, &ping()));
        } else {
            ensemble.unheard.insert(session);
        }
    }

    // ---- what is agreed on -------------------------------------------------------------------------

    /// A member tells the leader, now or when it can.
    fn forward(&mut self, member: usize, entry: Entry) {
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.copies[member].held.push(entry);
            self.tell_leader(member);
        }
    }

    /// A member tells the leader all that it could not tell before, in order.
    fn tell_leader(&mut self, member: usize) {
        if !self.has_contact(member) {
            return;
        }
        let Some(ensemble) = &mut self.host.ensemble else { return };
        for entry in std::mem::take(&mut ensemble.copies[member].held) {
            match entry {
                Entry::Data { connection, connects: false, .. } if self.has_moved(connection) => {
                    self.hang_up(connection);
                }
                // That a session goes on is up to the leader alone.
                Entry::Data { connects: true, done: Some(_), .. } => self.agree_on(entry),
                _ => self.propose(entry),
            }
        }
    }

    fn has_session(&self, connection: ConnectionId) -> bool {
        let agreed = self.host.agreed();
        let session = agreed.session_of(connection);
        session.is_some_and(|session| agreed.sessions().any(|live| live == session))
    }

    /// Whether a connection's session has been resumed on another one.
    fn has_moved(&self, connection: ConnectionId) -> bool {
        let session = self.host.agreed().session_of(connection);
        let owners = self.host.ensemble.as_ref().map(|ensemble| &ensemble.owners);
        let owner = session.and_then(|session| owners?.get(&session));
        owner != Some(&connection)
    }

    /// The leader asks for consent.
    fn propose(&mut self, entry: Entry) {
        let takes = self.random.u64(100..4_000);
        let Some(ensemble) = &mut self.host.ensemble else { return };
        if ensemble.leader.is_none() {
            return;
        }
        let last = ensemble.proposed.back().map_or(Duration::ZERO, |(due, _)| *due);
        let due = (self.now + Duration::from_micros(takes)).max(last);
        ensemble.proposed.push_back((due, entry));
        self.schedule(due, Event::Turn(Turn::Agree));
    }

    fn consent(&mut self) {
        while self.host.can_agree()
            && let Some(ensemble) = &mut self.host.ensemble
            && ensemble.proposed.front().is_some_and(|(due, _)| *due <= self.now)
            && let Some((_, entry)) = ensemble.proposed.pop_front()
        {
            self.agree_on(entry);
        }
    }

    /// Something is agreed on: it happens, and members will learn of it.
    pub(crate) fn agree_on(&mut self, entry: Entry) {
        if self.host.ensemble.is_some()
            && let Entry::Data { connection, connects: false, .. } = entry
            && !self.has_session(connection)
        {
            // It has ended meanwhile.
            return self.hang_up(connection);
        }
        let at = Time::from_origin(self.now);
        self.apply(Which::Agreed, &entry, at);
        let zxid = Some(self.host.agreed().last_zxid());
        let resumed = match entry {
            Entry::Data { connection, connects: true, .. } => {
                self.host.agreed().session_of(connection).map(|session| (session, connection))
            }
            _ => None,
        };
        let Some(ensemble) = &mut self.host.ensemble else { return };
        ensemble.owners.extend(resumed);
        if let Entry::Data { connection, connects: false, .. } = entry
            && std::mem::take(&mut ensemble.loses_reply)
        {
            self.cut(connection.0, Cut::Reset);
        }
        self.record(Agreed { entry, at, zxid });
    }

    /// Whether the next request that is agreed on is to go without an answer.
    pub(crate) fn lose_next_reply(&mut self, loses: bool) {
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.loses_reply = loses;
        }
    }

    /// Something has happened that members will learn of.
    fn record(&mut self, agreed: Agreed) {
        for member in 0..Ensemble::MEMBERS {
            let (a, b) = (self.random.u64(50..2_000), self.random.f64());
            let Some(ensemble) = &mut self.host.ensemble else { return };
            let copy = &mut ensemble.copies[member];
            let lag = Duration::from_micros(a) + copy.lag.mul_f64(b);
            let due = (self.now + lag).max(copy.due.back().copied().unwrap_or_default());
            copy.due.push_back(due);
            self.schedule(due, Event::Turn(Turn::Learn(member)));
        }
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.agreed.push(agreed);
        }
    }

    /// A server does what was agreed on; false when it had done so before.
    fn apply(&mut self, which: Which, entry: &Entry, at: Time) -> bool {
        if let (Entry::Data { done: Some(by), .. }, Which::Copy(member)) = (entry, which)
            && *by == member
        {
            return false;
        }
        if which == Which::Agreed
            && let Entry::Data { connection, bytes, connects, .. } = entry
            && *connection != QUESTION
        {
            if *connects {
                self.host.log.connected(*connection);
            }
            self.host.log.received(*connection, bytes);
        }
        self.act(which, |server, _| entry.apply(server, at));
        true
    }

    /// A member learns of what it is time for, or of all that there is.
    fn learn(&mut self, member: usize, all: bool) {
        while let Some(ensemble) = &mut self.host.ensemble {
            let copy = &mut ensemble.copies[member];
            let is_due = all || copy.due.front().is_some_and(|due| *due <= self.now);
            let Some(agreed) = ensemble.agreed.get(copy.learned).filter(|_| is_due).cloned() else {
                return;
            };
            copy.learned += 1;
            copy.due.pop_front();
            if let Entry::Expire(session) = agreed.entry {
                // The server itself knows of the last one only that it has learned of.
                for id in ensemble.links_of_session(member, session) {
                    self.hang_up(id);
                }
            }
            let is_new = self.apply(Which::Copy(member), &agreed.entry, agreed.at);
            let Some(ensemble) = &mut self.host.ensemble else { return };
            let zxid = ensemble.copies[member].server.last_zxid();
            if agreed.zxid.is_some_and(|agreed| agreed != zxid) {
                self.fail(|| format!("member {member} is at {zxid:#x} after {agreed:?}"));
                return;
            }
            if let Entry::Data { connection: id, .. } = agreed.entry
                && is_new
                && let Some(link) = ensemble.links.get_mut(&id)
                && link.server == Which::Copy(member)
            {
                link.awaited = link.awaited.saturating_sub(1);
                self.go_on(id);
            }
        }
    }

    /// The leader ends sessions that it has not heard of for too long.
    pub(crate) fn end_silent_sessions(&mut self) {
        while let Some(at) = self.host.agreed().poll_timeout()
            && at.since_origin() <= self.now
        {
            let before: Vec<_> = self.host.agreed().sessions().collect();
            self.act(Which::Agreed, |server, _| server.handle_timeout(at));
            let left: BTreeSet<_> = self.host.agreed().sessions().collect();
            let mut ended: Vec<_> = before.iter().filter(|it| !left.contains(*it)).collect();
            let last = ended.pop();
            let zxid = self.host.agreed().last_zxid();
            let ended = ended.into_iter().map(|session| (session, None));
            for (session, zxid) in ended.chain(last.map(|session| (session, Some(zxid)))) {
                let Some(ensemble) = &mut self.host.ensemble else { return };
                if ensemble.unheard.remove(session) {
                    self.host.ended.insert(*session);
                }
                self.record(Agreed { entry: Entry::Expire(*session), at, zxid });
            }
        }
    }

    // ---- who leads ---------------------------------------------------------------------------------

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

    /// Members have lost each other, or found each other again: those that have found each other go on.
    pub(crate) fn contact_changes(&mut self) {
        if self.host.ensemble.is_none() {
            return;
        }
        let can_agree = self.host.can_agree();
        for member in 0..Ensemble::MEMBERS {
            let has_contact = self.has_contact(member);
            let at = self.in_millis(50..2_000);
            if has_contact {
                self.tell_leader(member);
                self.learn(member, false);
                // What was answered meanwhile is told now.
                for id in self.links_of(member) {
                    self.touch(id, member);
                }
            }
            if !(has_contact && can_agree) {
                self.schedule(at, Event::Turn(Turn::Notice(member)));
            }
        }
        self.consent();
    }

    fn links_of(&self, member: usize) -> Vec<ConnectionId> {
        self.host.ensemble.as_ref().map_or_else(Vec::new, |it| it.links_of(member))
    }

    /// A member that has lost its leader, or a leader that has lost its majority, serves no more.
    fn notice(&mut self, member: usize) {
        let is_fine = self.has_contact(member) && self.host.can_agree();
        let runs = self.host.machines[member].runs();
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &mut ensemble.copies[member];
        if is_fine || !copy.serves {
            return;
        }
        if runs {
            self.step_down(member);
        } else {
            copy.is_given_up = true;
        }
    }

    fn step_down(&mut self, member: usize) {
        self.trace.step(self.now, "steps down", member as u64, 0);
        for id in self.links_of(member) {
            self.hang_up(id);
        }
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &mut ensemble.copies[member];
        copy.serves = false;
        copy.is_given_up = false;
        copy.held.clear();
        if ensemble.leader == Some(member) {
            ensemble.leader = None;
        }
        let at = self.in_millis(100..1_000);
        self.schedule(at, Event::Turn(Turn::Look(member)));
        self.contact_changes();
    }

    pub(crate) fn member_is_down(&mut self, member: usize, down: bool) {
        if down {
            self.stop_reading(member);
            self.step_down(member);
        } else {
            let at = self.in_millis(100..1_000);
            self.schedule(at, Event::Turn(Turn::Look(member)));
        }
    }

    fn look_for_a_leader(&mut self, member: usize) {
        let machines = &self.host.machines;
        let Some(ensemble) = &self.host.ensemble else { return };
        if ensemble.copies[member].serves || machines[member].is_down {
            return;
        }
        let is_idle =
            |other: &usize| ensemble.is_well(*other, machines) && !ensemble.copies[*other].serves;
        let idle: Vec<_> = (0..Ensemble::MEMBERS).filter(is_idle).collect();
        let leads = ensemble.leader.is_some_and(|leader| ensemble.takes_part(leader, machines));
        if ensemble.is_well(member, machines) {
            if leads {
                return self.join(member);
            }
            if idle.len() * 2 > Ensemble::MEMBERS {
                return self.elect(&idle);
            }
        }
        if machines[member].runs() && ensemble.is_readable_alone {
            self.read_alone(member);
        }
        let again = self.in_millis(100..500);
        self.schedule(again, Event::Turn(Turn::Look(member)));
    }

    fn elect(&mut self, members: &[usize]) {
        let leader = members[self.random.usize(..members.len())];
        let Some(ensemble) = &mut self.host.ensemble else { return };
        ensemble.leader = Some(leader);
        ensemble.epoch += 1;
        ensemble.unheard.clear();
        let mut proposed = std::mem::take(&mut ensemble.proposed);
        self.trace.step(self.now, "leads", leader as u64, proposed.len() as u64);
        proposed.truncate(self.random.usize(..=proposed.len()));
        for (_, entry) in proposed {
            self.agree_on(entry);
        }
        self.agree_on(Entry::Epoch);
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.owners.clear();
        }
        for member in members {
            self.join(*member);
        }
    }

    /// A member follows the leader, from now on, with all that was agreed on.
    fn join(&mut self, member: usize) {
        self.stop_reading(member);
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &mut ensemble.copies[member];
        copy.epoch = ensemble.epoch;
        copy.serves = true;
        self.learn(member, true);
        self.contact_changes();
    }

    /// A member without a leader answers those who only want to read.
    fn read_alone(&mut self, member: usize) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &mut ensemble.copies[member];
        if copy.read_only.is_some() {
            return;
        }
        // What was done to it is done once more: it is another server, with the same nodes.
        let mut server = Server::new(config(true), ensemble.seed);
        for agreed in ensemble.agreed.iter().take(copy.learned) {
            agreed.entry.apply(&mut server, agreed.at);
        }
        server.set_read_only(Time::from_origin(self.now), true);
        copy.read_only = Some(server);
        self.trace.step(self.now, "reads alone", member as u64, 0);
        self.act(Which::ReadOnly(member), |_, _| {});
    }

    fn stop_reading(&mut self, member: usize) {
        for id in self.links_of(member) {
            self.hang_up(id);
        }
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.copies[member].read_only = None;
        }
    }

    /// How late a member may learn of what was agreed on; zero has it learn of all.
    pub(crate) fn set_lag(&mut self, member: usize, lag: Duration) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        ensemble.copies[member].lag = lag;
        if lag.is_zero() && self.has_contact(member) {
            self.learn(member, true);
        }
    }
}

/// Whether the leader has to see a request, so that the members come out alike.
const fn is_for_the_leader(op: OpCode) -> bool {
    op.is_write() || matches!(op, OpCode::Sync | OpCode::CloseSession)
}

fn packet(frame: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(frame.len() + LENGTH_LEN);
    write_frame(&mut packet, |out| out.extend_from_slice(frame));
    packet.freeze()
}

fn ping() -> Bytes {
    let mut packet = BytesMut::new();
    write_frame(&mut packet, |out| Request::Ping.encode(xid::PING, out));
    packet.freeze()
}
