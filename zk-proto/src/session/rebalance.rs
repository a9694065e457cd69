//! The new list of hosts: which clients move to another host, and to which, so that the load stays even.
//!
//! Each client throws a die of its own (`org.apache.zookeeper.client.StaticHostProvider.updateServerList`,
//! ZOOKEEPER-1355). The old list has `old` hosts, the new one `new`, and `kept` are in both:
//!
//! | the client's host | the new list | what the client does |
//! |---|---|---|
//! | is kept | is not longer | stays |
//! | is kept | is longer | moves to an added host with the probability 1 - `old` / `new`, or else stays |
//! | is removed | is longer | goes to an added host |
//! | is removed | is not longer | goes to a kept host with the probability `kept` · (`old` - `new`) / (`new` · (`old` - `kept`)), or else to an added one |
//!
//! If the load was even before, the expected load is even afterwards.
//!
//! A client whose host is kept has a good connection. It leaves it only for a host that answers: it asks the hosts
//! that it may move to with `isro`, one after another. If none of them answers, it stays. Its requests lose nothing by
//! the move: see [`reconnect`](super::reconnect).

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use crate::{HostPort, Time, rng::Rng};

use super::{Output, Phase, Probed, Session};

/// The hosts that the session may move to, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Move {
    candidates: VecDeque<Arc<HostPort>>,
    /// Whether the first of them has answered.
    is_accepted: bool,
}

impl Move {
    /// The host that is being asked.
    pub(super) fn destination(&self) -> Option<&Arc<HostPort>> {
        self.candidates.front()
    }

    /// The host that the session moves to, if it has answered.
    pub(super) fn accepted(&self) -> Option<&Arc<HostPort>> {
        self.destination().filter(|_| self.is_accepted)
    }
}

/// What a change of the list means for one client.
pub(super) enum Decision {
    /// The client stays at its host, or goes on moving to the host that it was about to move to.
    Stay,
    /// The client goes to the first of these hosts that serves. They are all hosts of the new list.
    Go(VecDeque<Arc<HostPort>>),
}

/// Decides for one client. `old` is the length of the old list, `is_kept` whether the client's host is in the new
/// one. The hosts of the new list are `kept` and `added`, both in a random order.
pub(super) fn decide(
    old: usize,
    is_kept: bool,
    kept: Vec<Arc<HostPort>>,
    added: Vec<Arc<HostPort>>,
    rng: &mut Rng,
) -> Decision {
    let new = kept.len().saturating_add(added.len());
    let is_longer = new > old;
    if is_kept && !(is_longer && rng.below(new) >= old) {
        return Decision::Stay;
    }
    // The probability of a kept host is `chances / of`.
    let (chances, of) = if is_longer {
        (0, 1)
    } else {
        (
            kept.len().saturating_mul(old.saturating_sub(new)),
            new.saturating_mul(old.saturating_sub(kept.len())),
        )
    };
    let (mut kept, mut added) = (VecDeque::from(kept), VecDeque::from(added));
    let mut order = VecDeque::with_capacity(new);
    loop {
        let (first, second) = match rng.below(of) < chances {
            true => (&mut kept, &mut added),
            false => (&mut added, &mut kept),
        };
        match first.pop_front().or_else(|| second.pop_front()) {
            Some(host) => order.push_back(host),
            None => return Decision::Go(order),
        }
    }
}

impl<T: Clone> Session<T> {
    /// Replaces the list of hosts. An empty list has no effect.
    ///
    /// The connection is dropped at once if its host is not in the new list. If the list has become longer and
    /// the hosts are [shuffled](super::Config::randomize_hosts), the session moves to an added host with the probability
    /// that keeps the load of all hosts even, as the Java client does. Before, it finds out by [`Output::Probe`]
    /// whether that host answers, and it waits for the answers to what was submitted.
    ///
    /// Without a connection, hosts that were not in the old list are tried at once.
    pub fn set_hosts(&mut self, now: Time, hosts: Vec<HostPort>) {
        if hosts.is_empty() {
            return;
        }
        self.config.hosts = hosts;
        let destination = match &self.phase {
            Phase::Established(up) => up.moving.destination(),
            _ => None,
        };
        let replaced = self.route.replace(
            &self.config.hosts,
            self.config.randomize_hosts,
            destination.map(|host| &**host),
            &mut self.rng,
        );
        let connected = match &self.phase {
            Phase::Waiting { .. } if replaced.has_new => return self.connect(now),
            Phase::Idle | Phase::Waiting { .. } | Phase::Ended(_) => false,
            Phase::Connecting { .. } | Phase::Handshake { .. } | Phase::Authenticating(_) => true,
            Phase::Established(up) => up.closing.is_none(),
        };
        if connected && !replaced.keeps_current {
            self.drop_connection(now, "its host left the list".into());
        } else if connected {
            self.begin_move(now, replaced.decision);
        }
    }

    /// Follows a change of the list of hosts while connected to a host that is still listed.
    pub(super) fn begin_move(&mut self, now: Time, decision: Decision) {
        let Phase::Established(up) = &mut self.phase else { return };
        // On a read-only server, the search for one that takes writes comes first.
        if up.search.is_some() {
            return;
        }
        let asked = up.moving.destination().cloned();
        match decision {
            // It stays on its way, if it was about to move.
            Decision::Stay => up.moving.candidates.retain(|host| self.route.contains(host)),
            Decision::Go(hosts) => {
                let current = self.route.current();
                up.moving.candidates =
                    hosts.into_iter().take_while(|host| Some(host) != current).collect();
            }
        }
        if up.moving.destination() != asked.as_ref() {
            up.moving.is_accepted = false;
            self.ask_destination(now);
        }
    }

    fn ask_destination(&mut self, now: Time) {
        let Phase::Established(up) = &self.phase else { return };
        let Some(host) = up.moving.destination().cloned() else { return };
        let timeout = self.identity.timeouts.connect();
        let deadline = now.after(self.route.host_timeout(now, timeout));
        self.outputs.push_back(Output::Probe { host, deadline });
    }

    /// Handles the answer of a host that the session may move to. Returns whether `host` is that.
    pub(super) fn handle_destination(
        &mut self,
        now: Time,
        host: &Arc<HostPort>,
        answer: Probed,
    ) -> bool {
        let Phase::Established(up) = &mut self.phase else { return false };
        if up.moving.destination() != Some(host) {
            return false;
        }
        if up.closing.is_none() && matches!(answer, Probed::Writable | Probed::Undisclosed) {
            up.moving.is_accepted = true;
            self.begin_leaving(now);
        } else {
            up.moving.candidates.pop_front();
            self.ask_destination(now);
        }
        true
    }
}
