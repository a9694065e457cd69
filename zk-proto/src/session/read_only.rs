//! On a read-only server: the search for one that takes writes.
//!
//! The other hosts are asked in turn, one at a time, with a pause that doubles from 100 ms to 60 s
//! (`org.apache.zookeeper.ClientCnxn.pingRwServer`). The pause goes on growing over connections, until
//! a session on a server that takes writes has proven itself: a server that says "rw", and grants a
//! read-only session then, is not returned to ever again without a pause.

use alloc::{format, sync::Arc};
use core::time::Duration;

use crate::{HostPort, Time, backoff::Backoff};

use super::{Output, Phase, Session};

/// The pauses between two questions.
const PAUSES: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(60) };

#[derive(Debug)]
pub(super) struct Search {
    /// `None` while an answer is awaited.
    next: Option<Time>,
    /// The host that was asked last.
    asked: Option<Arc<HostPort>>,
}

/// How many questions were asked since a session on a server that takes writes has proven itself.
#[derive(Debug, Default)]
pub(super) struct Probes(u32);

impl Probes {
    /// The pause before the next question.
    fn pause(&self) -> Duration {
        PAUSES.pause(self.0)
    }

    const fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
    }
}

impl Search {
    pub(super) fn new(now: Time, probes: &Probes) -> Self {
        Self { next: Some(now.after(probes.pause())), asked: None }
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
        search.asked = self.route.other_host(search.asked.as_ref());
        match search.asked.clone() {
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

    /// The answer to [`Output::Probe`]: whether `host` takes writes. False also when it could not be
    /// asked. The session moves to a host that does.
    pub fn handle_probed(&mut self, now: Time, host: &Arc<HostPort>, writable: bool) {
        let Phase::Established(up) = &mut self.phase else { return };
        let Some(search) = &mut up.search else { return };
        self.probes.count();
        if writable && up.closing.is_none() && self.route.contains(host) {
            self.route.prefer(Some(host.clone()));
            self.drop_connection(now, format!("moving to {host}, which takes writes").into());
        } else {
            search.pause(now, &self.probes);
        }
    }
}
