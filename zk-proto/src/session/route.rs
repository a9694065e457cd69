//! Which host comes next, and when.
//!
//! Hosts are shuffled once and then tried in turn. After a loss every *other* host is tried at once;
//! from then on attempts are spaced by a delay that doubles up to a bound, with jitter, and only a
//! confirmed session makes it short again. It is confirmed by an answer on an established connection: a
//! server that accepts, even one that grants a session and then drops it, is no reason to come back at
//! once for ever.

use std::{sync::Arc, time::Duration};

use crate::{HostPort, rng::Rng, time::part};

/// How attempts to connect are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay, before jitter. Default 100 ms.
    pub min: Duration,
    /// The longest delay, before jitter. Default 5 s; a third of the session timeout where that is less,
    /// so that a session is not slept away.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The delay before the `retry`th spaced attempt (from 0), jittered in `[half, full]`.
    fn delay(self, retry: u32, session_timeout: Duration, rng: &mut Rng) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        let max = self.max.min(part(session_timeout, 3)).max(self.min);
        rng.jitter(self.min.saturating_mul(factor).min(max))
    }
}

#[derive(Debug)]
pub(super) struct Route {
    /// Each once, in the order of their turns.
    hosts: Vec<Arc<HostPort>>,
    /// Attempts since a session was last confirmed.
    attempts: u32,
    /// How many of them are made at once: all hosts at first, the others after a loss.
    at_once: u32,
    current: Option<Arc<HostPort>>,
    preferred: Option<Arc<HostPort>>,
    backoff: Backoff,
}

impl Route {
    pub(super) fn new(hosts: &[HostPort], shuffle: bool, backoff: Backoff, rng: &mut Rng) -> Self {
        let mut route = Self {
            hosts: Vec::new(),
            attempts: 0,
            at_once: 0,
            current: None,
            preferred: None,
            backoff,
        };
        route.replace(hosts, shuffle, rng);
        route
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn lists(&self, host: &HostPort) -> bool {
        self.hosts.iter().any(|listed| **listed == *host)
    }

    /// The host of the present or the last attempt.
    pub(super) const fn current(&self) -> Option<&Arc<HostPort>> {
        self.current.as_ref()
    }

    /// How long to wait before the next attempt.
    pub(super) fn delay(&self, session_timeout: Duration, rng: &mut Rng) -> Duration {
        match self.attempts.checked_sub(self.at_once) {
            _ if self.preferred.is_some() => Duration::ZERO,
            None => Duration::ZERO,
            Some(retry) => self.backoff.delay(retry, session_timeout, rng),
        }
    }

    /// The host of the next attempt; `None` when there are no hosts.
    pub(super) fn advance(&mut self) -> Option<Arc<HostPort>> {
        self.attempts = self.attempts.saturating_add(1);
        self.current = self.preferred.take().or_else(|| self.after(self.current.as_ref()));
        self.current.clone()
    }

    /// Whose turn it is after `host`: the first one's after the last, or after one that is not listed.
    fn after(&self, host: Option<&Arc<HostPort>>) -> Option<Arc<HostPort>> {
        let at = self.hosts.iter().position(|listed| Some(listed) == host);
        let next = at.map_or(0, |at| at.saturating_add(1));
        self.hosts.get(next).or_else(|| self.hosts.first()).cloned()
    }

    /// Whose turn it is after `last`, or at first after the present host, which is left out; `None` when
    /// there is no other.
    pub(super) fn other(&self, last: Option<&Arc<HostPort>>) -> Option<Arc<HostPort>> {
        let current = self.current.as_ref();
        let is_other = |host: &Arc<HostPort>| Some(host) != current;
        self.after(last.or(current))
            .filter(is_other)
            .or_else(|| self.after(current).filter(is_other))
    }

    /// A session is confirmed on the present host.
    pub(super) fn confirmed(&mut self) {
        self.attempts = 0;
        self.at_once = self.others();
    }

    /// How many hosts there are besides the present one.
    fn others(&self) -> u32 {
        let others = self.hosts.iter().filter(|host| Some(*host) != self.current.as_ref());
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }

    /// The next attempt goes to `host`, at once.
    pub(super) fn prefer(&mut self, host: Option<Arc<HostPort>>) {
        self.preferred = host;
    }

    /// Another list of hosts; the present connection stays if its host is still listed. Attempts stay
    /// spaced as they were.
    pub(super) fn replace(&mut self, hosts: &[HostPort], shuffle: bool, rng: &mut Rng) -> bool {
        self.hosts.clear();
        for host in hosts {
            if !self.lists(host) {
                self.hosts.push(Arc::new(host.clone()));
            }
        }
        if shuffle {
            rng.shuffle(&mut self.hosts);
        }
        self.preferred = None;
        self.at_once = self.others();
        self.current.as_ref().is_none_or(|current| self.lists(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(60);

    fn route(hosts: u16, rng: &mut Rng) -> Route {
        let hosts: Vec<_> = (1..=hosts).map(|port| HostPort::new("h", port)).collect();
        Route::new(&hosts, true, Backoff::default(), rng)
    }

    #[test]
    fn every_host_is_tried_before_the_first_delay() {
        let rng = &mut Rng::new(1);
        let mut route = route(3, rng);
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert_eq!(route.delay(T, rng), Duration::ZERO);
            seen.push(route.advance().unwrap().port);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        assert!(route.delay(T, rng) >= Duration::from_millis(50));
    }

    #[test]
    fn delays_grow_within_bounds_until_a_session_is_confirmed() {
        let rng = &mut Rng::new(2);
        let mut route = route(1, rng);
        route.advance();
        let mut ceiling = Duration::from_millis(100);
        for _ in 0..200 {
            let delay = route.delay(T, rng);
            assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(Duration::from_secs(5));
            route.advance();
        }
        route.confirmed();
        assert!(route.delay(T, rng) <= Duration::from_millis(100));
    }

    #[test]
    fn after_a_loss_the_other_hosts_come_first_and_at_once() {
        let rng = &mut Rng::new(3);
        let mut route = route(3, rng);
        let lost = route.advance().unwrap();
        route.confirmed();
        for _ in 0..2 {
            assert_eq!(route.delay(T, rng), Duration::ZERO);
            assert_ne!(route.advance().unwrap(), lost);
        }
        assert!(route.delay(T, rng) > Duration::ZERO);
        assert_eq!(route.advance().unwrap(), lost);
    }

    #[test]
    fn a_short_session_is_not_slept_away() {
        let rng = &mut Rng::new(4);
        let mut route = route(1, rng);
        for _ in 0..50 {
            route.advance();
        }
        assert!(route.delay(Duration::from_secs(3), rng) <= Duration::from_secs(1));
    }
}
