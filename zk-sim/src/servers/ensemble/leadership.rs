//! Which member leads, which members have lost the leader, and what they do then.

use std::time::Duration;

use zk_server::{Server, Time};

use super::{
    super::logged_server::config,
    state::{Due, Ensemble, Entry, ServerId},
};

impl Ensemble {
    /// Members have lost each other, or have found each other again. Those in contact with the leader continue.
    pub(in super::super) fn handle_contact_change(&mut self, now: Duration) {
        self.now = now;
        let has_majority = self.has_majority();
        for member in 0..Self::MEMBERS {
            let has_contact = self.has_contact(member);
            let at = self.in_millis(50..2_000);
            if has_contact {
                self.tell_leader(member);
                self.learn(member, false);
                // Sessions that the member has heard from in the meantime are reported now.
                for id in self.connections_of(member) {
                    self.touch_session(id, member);
                }
            }
            if !(has_contact && has_majority) {
                self.due.push(at, Due::NoticeLoss(member));
            }
        }
        self.agree_on_due();
    }

    /// A member that has lost its leader, or a leader that has lost its majority, stops serving.
    pub(super) fn notice_loss(&mut self, number: usize) {
        let is_fine = self.has_contact(number) && self.has_majority();
        let member = &mut self.members[number];
        if is_fine || !member.serves {
            return;
        }
        if member.machine.runs() {
            self.step_down(number);
        } else {
            member.is_given_up = true;
        }
    }

    fn step_down(&mut self, number: usize) {
        self.step("steps down", number);
        for id in self.connections_of(number) {
            self.close(id);
        }
        let member = &mut self.members[number];
        member.serves = false;
        member.is_given_up = false;
        member.unsent.clear();
        if self.leader == Some(number) {
            self.leader = None;
        }
        self.find_leader_later(number, 100..1_000);
        self.handle_contact_change(self.now);
    }

    fn find_leader_later(&mut self, member: usize, millis: std::ops::Range<u64>) {
        let at = self.in_millis(millis);
        self.due.push(at, Due::FindLeader(member));
    }

    /// The machine of a member goes down or comes up.
    pub(in super::super) fn handle_down(&mut self, now: Duration, member: usize, is_down: bool) {
        self.now = now;
        if is_down {
            self.stop_read_only(member);
            self.step_down(member);
        } else {
            self.find_leader_later(member, 100..1_000);
        }
    }

    pub(super) fn find_leader(&mut self, member: usize) {
        if self.members[member].serves || self.members[member].machine.is_down {
            return;
        }
        if self.is_reachable(member) {
            if self.has_leader() {
                return self.join(member);
            }
            let is_idle = |it: &usize| self.is_reachable(*it) && !self.members[*it].serves;
            let idle: Vec<_> = (0..Self::MEMBERS).filter(is_idle).collect();
            if idle.len() * 2 > Self::MEMBERS {
                return self.elect(&idle);
            }
        }
        if self.members[member].machine.runs() && self.allows_read_only {
            self.start_read_only(member);
        }
        self.find_leader_later(member, 100..500);
    }

    fn elect(&mut self, members: &[usize]) {
        let leader = members[self.random.usize(..members.len())];
        self.leader = Some(leader);
        self.epoch += 1;
        self.unreported.clear();
        self.step("leads", leader);
        let mut proposed = std::mem::take(&mut self.proposed);
        proposed.truncate(self.random.usize(..=proposed.len()));
        for (_, entry) in proposed {
            self.agree_on(entry);
        }
        self.agree_on(Entry::Epoch);
        self.owners.clear();
        for member in members {
            self.join(*member);
        }
    }

    /// A member follows the leader from now on, and learns all that was agreed on.
    fn join(&mut self, number: usize) {
        self.stop_read_only(number);
        let member = &mut self.members[number];
        member.epoch = self.epoch;
        member.serves = true;
        self.learn(number, true);
        self.handle_contact_change(self.now);
    }

    /// A member without a leader serves reads only.
    fn start_read_only(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.read_only.is_some() {
            return;
        }
        // Another server with the same nodes: it applies all that the member has learned.
        let mut server = Server::new(config(true, self.seed), self.seed);
        for agreed in self.entries.iter().take(member.learned) {
            agreed.entry.apply(&mut server, agreed.at);
        }
        server.set_read_only(Time::from_origin(self.now), true);
        member.read_only = Some(server);
        self.step("serves reads only", number);
        self.act(ServerId::ReadOnly(number), |_, _| {});
    }

    fn stop_read_only(&mut self, number: usize) {
        for id in self.connections_of(number) {
            self.close(id);
        }
        self.members[number].read_only = None;
    }
}
