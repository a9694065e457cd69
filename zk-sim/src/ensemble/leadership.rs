//! Who leads, who has lost the leader, and what becomes of a member then.

use zk_server::{Server, Time};

use super::{Ensemble, Entry, Turn};
use crate::{
    executor::{Core, Event},
    host::{Which, config},
};

impl Core {
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

    /// A member that has lost its leader, or a leader that has lost its majority, serves no more.
    pub(super) fn notice(&mut self, member: usize) {
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

    pub(super) fn look_for_a_leader(&mut self, member: usize) {
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
}
