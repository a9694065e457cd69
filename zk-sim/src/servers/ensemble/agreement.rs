//! What is proposed, agreed on, and learned.

use std::{collections::BTreeSet, time::Duration};

use zk_server::{ConnectionId, Time};

use super::{
    super::{output::Output, query::QUERY_CONNECTION},
    state::{AgreedEntry, Due, Ensemble, Entry, ServerId},
};

impl Ensemble {
    /// A member tells the leader, now or as soon as it can.
    pub(super) fn forward(&mut self, member: usize, entry: Entry) {
        self.members[member].unsent.push(entry);
        self.tell_leader(member);
    }

    /// A member tells the leader all that it could not tell before, in order.
    pub(super) fn tell_leader(&mut self, member: usize) {
        if !self.has_contact(member) {
            return;
        }
        for entry in std::mem::take(&mut self.members[member].unsent) {
            match entry {
                Entry::Data { connection, connects: false, .. } if self.has_moved(connection) => {
                    self.close(connection);
                }
                // The leader alone decides that a session goes on.
                Entry::Data { connects: true, done: Some(_), .. } => self.agree_on(entry),
                _ => self.propose(entry),
            }
        }
    }

    fn has_session(&self, connection: ConnectionId) -> bool {
        let agreed = self.agreed.server();
        let session = agreed.session_of(connection);
        session.is_some_and(|session| agreed.sessions().any(|alive| alive == session))
    }

    /// Whether a connection's session was resumed on another one.
    fn has_moved(&self, connection: ConnectionId) -> bool {
        let session = self.agreed.server().session_of(connection);
        let owner = session.and_then(|session| self.owners.get(&session));
        owner != Some(&connection)
    }

    /// The leader proposes an entry.
    pub(super) fn propose(&mut self, entry: Entry) {
        let takes = self.random.u64(100..4_000);
        if self.leader.is_none() {
            return;
        }
        let last = self.proposed.back().map_or(Duration::ZERO, |(due, _)| *due);
        let due = (self.now + Duration::from_micros(takes)).max(last);
        self.proposed.push_back((due, entry));
        self.due.push(due, Due::Agree);
    }

    /// Agrees on what the leader has proposed long enough ago, if there is a majority.
    pub(super) fn agree_on_due(&mut self) {
        while self.has_majority()
            && self.proposed.front().is_some_and(|(due, _)| *due <= self.now)
            && let Some((_, entry)) = self.proposed.pop_front()
        {
            self.agree_on(entry);
        }
    }

    /// An entry is agreed on: it takes effect, and members will learn of it.
    pub(super) fn agree_on(&mut self, entry: Entry) {
        if let Entry::Data { connection, connects: false, .. } = entry
            && !self.has_session(connection)
        {
            // The session has ended in the meantime.
            return self.close(connection);
        }
        let at = Time::from_origin(self.now);
        if let Entry::Data { connection, bytes, connects, .. } = &entry
            && *connection != QUERY_CONNECTION
        {
            if *connects {
                self.agreed.log_mut().handle_connected(*connection);
            }
            self.agreed.log_mut().handle_received(*connection, bytes);
        }
        self.act_on_agreed(|server| entry.apply(server, at));
        let zxid = Some(self.agreed.server().last_zxid());
        match entry {
            Entry::Data { connection, connects: true, .. } => {
                let session = self.agreed.server().session_of(connection);
                self.owners.extend(session.map(|session| (session, connection)));
            }
            Entry::Data { connection, .. } if std::mem::take(&mut self.loses_reply) => {
                self.outputs.push_back(Output::Reset(connection));
            }
            _ => {}
        }
        self.publish(AgreedEntry { entry, at, zxid });
    }

    /// Has the members learn of an entry, each after a while.
    fn publish(&mut self, entry: AgreedEntry) {
        for number in 0..Self::MEMBERS {
            let (a, b) = (self.random.u64(50..2_000), self.random.f64());
            let member = &mut self.members[number];
            let lag = Duration::from_micros(a) + member.lag.mul_f64(b);
            let due = (self.now + lag).max(member.learns_at.back().copied().unwrap_or_default());
            member.learns_at.push_back(due);
            self.due.push(due, Due::Learn(number));
        }
        self.entries.push(entry);
    }

    /// A member learns of what is due, or of all that there is.
    pub(super) fn learn(&mut self, number: usize, all: bool) {
        loop {
            let member = &mut self.members[number];
            let is_due = all || member.learns_at.front().is_some_and(|due| *due <= self.now);
            let Some(agreed) = self.entries.get(member.learned).filter(|_| is_due).cloned() else {
                return;
            };
            member.learned += 1;
            member.learns_at.pop_front();
            if let Entry::Expire(session) = agreed.entry {
                // The server knows only the last connection that it has learned of.
                for id in self.connections_of_session(number, session) {
                    self.close(id);
                }
            }
            let is_done =
                matches!(agreed.entry, Entry::Data { done: Some(by), .. } if by == number);
            if !is_done {
                let apply = |server: &mut _, _| agreed.entry.apply(server, agreed.at);
                self.act(ServerId::Member(number), apply);
            }
            let zxid = self.members[number].server.last_zxid();
            if agreed.zxid.is_some_and(|agreed| agreed != zxid) {
                let expected = agreed.zxid;
                return self
                    .violation(format!("member {number} is at {zxid:#x}, not at {expected:x?}"));
            }
            if let Entry::Data { connection: id, .. } = agreed.entry
                && !is_done
                && let Some(connection) = self.connections.get_mut(&id)
                && connection.server == ServerId::Member(number)
            {
                connection.awaited = connection.awaited.saturating_sub(1);
                self.serve(id);
            }
        }
    }

    /// The leader ends sessions that it has not heard from for too long.
    pub(super) fn end_silent_sessions(&mut self) {
        while let Some(at) = self.agreed.server().poll_timeout()
            && at.since_origin() <= self.now
        {
            let before: Vec<_> = self.agreed.server().sessions().collect();
            self.act_on_agreed(|server| server.handle_timeout(at));
            let left: BTreeSet<_> = self.agreed.server().sessions().collect();
            let mut ended: Vec<_> = before.iter().filter(|it| !left.contains(*it)).collect();
            let last = ended.pop();
            let zxid = self.agreed.server().last_zxid();
            let ended = ended.into_iter().map(|session| (session, None));
            for (session, zxid) in ended.chain(last.map(|session| (session, Some(zxid)))) {
                if self.unreported.remove(session) {
                    self.agreed.log_mut().ended_early.insert(*session);
                }
                self.publish(AgreedEntry { entry: Entry::Expire(*session), at, zxid });
            }
        }
    }

    /// Sets how long a member may take to learn of what was agreed on. With zero it learns of all at once.
    pub(in super::super) fn set_lag(&mut self, now: Duration, member: usize, lag: Duration) {
        self.now = now;
        self.members[member].lag = lag;
        if lag.is_zero() && self.has_contact(member) {
            self.learn(member, true);
        }
    }
}
