//! What is proposed, agreed on, and learned of.

use std::{collections::BTreeSet, time::Duration};

use zk_server::{ConnectionId, Time};

use super::{Agreed, Ensemble, Entry, Turn};
use crate::{
    executor::{Core, Event},
    host::{QUESTION, Which},
    network::Cut,
};

impl Core {
    /// A member tells the leader, now or when it can.
    pub(super) fn forward(&mut self, member: usize, entry: Entry) {
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.copies[member].held.push(entry);
            self.tell_leader(member);
        }
    }

    /// A member tells the leader all that it could not tell before, in order.
    pub(super) fn tell_leader(&mut self, member: usize) {
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
    pub(super) fn propose(&mut self, entry: Entry) {
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

    pub(super) fn consent(&mut self) {
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
    pub(super) fn learn(&mut self, member: usize, all: bool) {
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

    /// How late a member may learn of what was agreed on; zero has it learn of all.
    pub(crate) fn set_lag(&mut self, member: usize, lag: Duration) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        ensemble.copies[member].lag = lag;
        if lag.is_zero() && self.has_contact(member) {
            self.learn(member, true);
        }
    }
}
