//! Which host comes next, and when, as the session promises it.

use std::{ops::RangeInclusive, time::Duration};

use zk_proto::session::Backoff;

#[derive(Debug)]
pub(super) struct Route {
    pub(super) hosts: Vec<u16>,
    pub(super) current: Option<u16>,
    preferred: Option<u16>,
    backoff: Backoff,
    attempts: u32,
    /// How many of them are made at once; unknown after a server that made no sense.
    at_once: Option<u32>,
}

impl Route {
    pub(super) fn new(hosts: Vec<u16>, backoff: Backoff) -> Self {
        let mut route =
            Self { hosts, current: None, preferred: None, backoff, attempts: 0, at_once: None };
        route.at_once = Some(route.others());
        route
    }

    fn others(&self) -> u32 {
        self.hosts.iter().filter(|host| Some(**host) != self.current).count() as u32
    }

    /// How long to wait before the next attempt.
    pub(super) fn delay(&self, timeout: Duration) -> RangeInclusive<Duration> {
        let max = self.backoff.max.min(timeout / 3).max(self.backoff.min);
        if self.preferred.is_some() {
            return Duration::ZERO..=Duration::ZERO;
        }
        let Some(at_once) = self.at_once else { return Duration::ZERO..=max };
        match self.attempts.checked_sub(at_once) {
            None => Duration::ZERO..=Duration::ZERO,
            Some(retry) => {
                let ceiling = self.backoff.min.saturating_mul(1 << retry.min(20)).min(max);
                ceiling / 2..=ceiling
            }
        }
    }

    /// An attempt is made.
    pub(super) fn advance(&mut self) -> u16 {
        self.attempts += 1;
        let at = self.hosts.iter().position(|host| Some(*host) == self.current);
        let next = self.hosts[at.map_or(0, |at| at + 1) % self.hosts.len()];
        let next = self.preferred.take().unwrap_or(next);
        self.current = Some(next);
        next
    }

    /// An attempt was made that was not foreseen.
    pub(super) fn took(&mut self, host: u16) {
        self.preferred = None;
        self.current = Some(host);
    }

    pub(super) fn confirmed(&mut self) {
        self.attempts = 0;
        self.at_once = Some(self.others());
    }

    pub(super) fn prefer(&mut self, host: Option<u16>) {
        self.preferred = host;
    }

    /// Whether it is known which attempts are made at once.
    pub(super) const fn is_known(&self) -> bool {
        self.at_once.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.at_once = None;
        self.preferred = None;
    }

    /// Whether the present host is still one of them.
    pub(super) fn replace(&mut self, hosts: Vec<u16>) -> bool {
        self.hosts.clear();
        for host in hosts {
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        self.preferred = None;
        self.at_once = self.at_once.map(|_| self.others());
        self.current.is_none_or(|host| self.hosts.contains(&host))
    }
}
