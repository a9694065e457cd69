//! The search for a server that takes writes, while connected to a read-only server.
//!
//! The session probes the other hosts in turn, one at a time, with pauses that double from 100 ms to 60 s
//! (`org.apache.zookeeper.ClientCnxn.pingRwServer`). The pauses go on growing on later connections, until a
//! session on a server that takes writes has proven itself. So a server that answers "rw" and then grants a
//! read-only session is not tried over and over without a pause.

use alloc::{format, sync::Arc};
use core::time::Duration;

use crate::{HostPort, Time, backoff::Backoff};

use super::{Output, Phase, Probed, Session};

/// The pauses between two probes.
const PAUSES: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(60) };

#[derive(Debug)]
pub(super) struct Search {
    /// When to send the next probe; `None` while one is unanswered.
    next: Option<Time>,
    /// The host that was probed last.
    last_probed: Option<Arc<HostPort>>,
}

/// The number of probes since a session on a server that takes writes has last proven itself.
#[derive(Debug, Default)]
pub(super) struct Probes(u32);

impl Probes {
    /// The pause before the next probe.
    fn pause(&self) -> Duration {
        PAUSES.pause(self.0)
    }

    const fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
    }
}

impl Search {
    pub(super) fn new(now: Time, probes: &Probes) -> Self {
        Self { next: Some(now.after(probes.pause())), last_probed: None }
    }

    fn pause(&mut self, now: Time, probes: &Probes) {
        self.next = Some(now.after(probes.pause()));
    }

    pub(super) const fn due(&self) -> Option<Time> {
        self.next
    }
}

impl<T: Clone> Session<T> {
    pub(super) fn search_writable(&mut self, now: Time) {
        let Phase::Established(up) = &mut self.phase else { return };
        let Some(search) = &mut up.search else { return };
        if search.next.is_none_or(|due| due > now) {
            return;
        }
        search.last_probed = self.route.other_host(search.last_probed.as_ref());
        match search.last_probed.clone() {
            Some(host) => {
                search.next = None;
                let timeout = self.identity.timeouts.connect();
                let deadline = now.after(self.route.host_timeout(now, timeout));
                self.outputs.push_back(Output::Probe { host, deadline });
            }
            None => {
                self.probes.count();
                search.pause(now, &self.probes);
            }
        }
    }

    /// Tells the session the result of [`Output::Probe`]. A session on a read-only server moves to a host that
    /// takes writes. One that is to move because the list of hosts has changed moves to a host that serves.
    pub fn handle_probed(&mut self, now: Time, host: &Arc<HostPort>, answer: Probed) {
        if self.handle_destination(now, host, answer) {
            return;
        }
        let Phase::Established(up) = &mut self.phase else { return };
        let Some(search) = &mut up.search else { return };
        self.probes.count();
        if answer == Probed::Writable && up.closing.is_none() && self.route.contains(host) {
            self.route.prefer(Some(host.clone()));
            self.drop_connection(now, format!("moving to {host}, which takes writes").into());
        } else {
            search.pause(now, &self.probes);
        }
    }
}
