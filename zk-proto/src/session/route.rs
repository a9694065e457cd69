//! The route: which host comes next, when, and how much time it gets.
//!
//! # Rounds
//!
//! The hosts are shuffled once and then tried in *rounds*: each host once, without a pause between the
//! hosts. Between rounds there is a pause; see [`pace`](super::pace). After a session that has proven itself
//! is lost, the first round has all *other* hosts, and the next one begins with the host of the session.
//!
//! That host is the *last host*. It has served the session well, and it may be back in a moment. As long as it
//! fails fast, for example by refusing connections, another attempt costs nothing. So it is tried again after
//! each host that has used up its time, and hosts that never answer do not keep the session from it. A host
//! that was just added to the list comes next, without a pause.
//!
//! # Time for one host
//!
//! With a session timeout of T, a host gets T / hosts to accept a connection and to answer the handshake.
//! With many hosts that would be less than the network needs, so it gets at least
//! - a second, or T / 4 if that is less,
//! - and twice as long as it took to establish the last connection.
//!
//! That minimum doubles, up to four times its value, after each round in which every host has used up its
//! time. It is back at its first value once a connection is established. No host gets more than T or 30 s.
//!
//! # Until the session expires
//!
//! The servers keep a session for T after the last packet that has reached them. Until then, a pause takes at
//! most a third of the time that is left. So does a host, unless that is less than the minimum above; while
//! the last host fails fast, the second in it is a quarter of a second. So there are several rounds before the
//! session expires, and a session that cannot reach its only live server for T / 2 is not lost.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::time::Duration;

use crate::{HostPort, Time, backoff::Backoff, rng::Rng, time::part};

use super::{
    pace::Pace,
    rebalance::{Decision, decide},
};

/// The least time for a host, unless a quarter of the session timeout is less.
const MIN_HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// The most time for a host.
const MAX_HOST_TIMEOUT: Duration = Duration::from_secs(30);

/// How many times the least time for a host is doubled at most.
const MAX_DOUBLINGS: u32 = 2;

#[derive(Debug)]
pub(super) struct Route {
    /// Each host once, in the order in which they are tried.
    hosts: Vec<Arc<HostPort>>,
    /// The hosts that are still to be tried in this round.
    remaining: VecDeque<Arc<HostPort>>,
    pace: Pace,
    current: Option<Arc<HostPort>>,
    preferred: Option<Arc<HostPort>>,
    /// Whether a new list of hosts has said which of them come next.
    is_redirected: bool,
    last_host: Option<LastHost>,
    /// When the present or last attempt began, and how long it may take.
    attempt: (Time, Duration),
    /// Whether the last attempt used up its time.
    was_slow: bool,
    /// Whether all attempts of this round used up their time.
    all_slow: bool,
    /// How many times the least time for a host is doubled now.
    doublings: u32,
    /// How long it took to establish the last connection.
    came_up_in: Duration,
    /// Until when the servers keep the session that is to be resumed.
    expiry: Option<Time>,
}

/// The host of the last session.
#[derive(Debug)]
struct LastHost {
    host: Arc<HostPort>,
    /// Whether it fails at once, if it fails.
    fails_fast: bool,
}

impl Route {
    pub(super) fn new(hosts: &[HostPort], shuffle: bool, backoff: Backoff, rng: &mut Rng) -> Self {
        let mut route = Self {
            hosts: Vec::new(),
            remaining: VecDeque::new(),
            pace: Pace::new(backoff),
            current: None,
            preferred: None,
            is_redirected: false,
            last_host: None,
            attempt: (Time::ZERO, Duration::ZERO),
            was_slow: false,
            all_slow: false,
            doublings: 0,
            came_up_in: Duration::ZERO,
            expiry: None,
        };
        route.replace(hosts, shuffle, None, rng);
        route
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn contains(&self, host: &HostPort) -> bool {
        self.hosts.iter().any(|listed| **listed == *host)
    }

    /// The host of the present or last attempt.
    pub(super) const fn current(&self) -> Option<&Arc<HostPort>> {
        self.current.as_ref()
    }

    /// How long to wait before the next attempt.
    pub(super) fn delay(&self, now: Time, session_timeout: Duration, rng: &mut Rng) -> Duration {
        if self.preferred.is_some()
            || self.retry_last_host().is_some()
            || !self.remaining.is_empty()
        {
            return Duration::ZERO;
        }
        self.pace.wait(now, session_timeout, self.session_time_left(now), rng)
    }

    /// Begins the next attempt: returns its host, and how long it may take. Returns `None` if there are no hosts.
    pub(super) fn advance(
        &mut self,
        now: Time,
        session_timeout: Duration,
    ) -> Option<(Arc<HostPort>, Duration)> {
        let host = match self.preferred.take() {
            Some(host) => host,
            None => self.next_turn(now)?,
        };
        let host_timeout = self.host_timeout(now, session_timeout);
        self.current = Some(host.clone());
        self.attempt = (now, host_timeout);
        self.was_slow = false;
        Some((host, host_timeout))
    }

    fn next_turn(&mut self, now: Time) -> Option<Arc<HostPort>> {
        if let Some(last_host) = self.retry_last_host().cloned() {
            self.remaining.retain(|host| *host != last_host);
            return Some(last_host);
        }
        if self.remaining.is_empty() || self.pace.is_fresh() {
            self.remaining = self.hosts_after(self.current.as_ref()).cloned().collect();
            self.begin_round(now);
        }
        self.remaining.pop_front()
    }

    fn begin_round(&mut self, now: Time) {
        if self.all_slow {
            self.doublings = self.doublings.saturating_add(1).min(MAX_DOUBLINGS);
        }
        self.all_slow = true;
        self.pace.begin_round(now);
    }

    /// The last host, if it fails fast and another host has just used up its time.
    fn retry_last_host(&self) -> Option<&Arc<HostPort>> {
        let last_host =
            self.last_host.as_ref().filter(|last_host| self.was_slow && last_host.fails_fast)?;
        Some(&last_host.host).filter(|host| self.current.as_ref() != Some(host))
    }

    /// All hosts in order, beginning after `host`. If `host` is the last one or not listed, they begin with the
    /// first.
    fn hosts_after(&self, host: Option<&Arc<HostPort>>) -> impl Iterator<Item = &Arc<HostPort>> {
        let at = self.hosts.iter().position(|listed| Some(listed) == host);
        let next = at.map_or(0, |at| at.saturating_add(1)).min(self.hosts.len());
        let (first, last) = self.hosts.split_at(next);
        last.iter().chain(first)
    }

    /// How long the next host may take to accept a connection and to answer the handshake.
    pub(super) fn host_timeout(&self, now: Time, session_timeout: Duration) -> Duration {
        let hosts = u32::try_from(self.hosts.len().max(1)).unwrap_or(u32::MAX);
        let measured = self.came_up_in.saturating_mul(2);
        let second = MIN_HOST_TIMEOUT.min(part(session_timeout, 4));
        let floor = second.max(measured);
        let doubled = Backoff { min: floor, max: Duration::MAX }.pause(self.doublings);
        let mut host_timeout = part(session_timeout, hosts).max(doubled);
        if let Some(left) = self.session_time_left(now) {
            let least = match &self.last_host {
                Some(last_host) if last_host.fails_fast => part(second, 4).max(measured),
                _ => floor,
            };
            host_timeout = host_timeout.min(part(left, 3).max(least));
        }
        host_timeout.min(session_timeout).min(MAX_HOST_TIMEOUT)
    }

    /// The time until the session that is to be resumed expires; `None` if there is no such session, or no time
    /// left.
    pub(super) fn session_time_left(&self, now: Time) -> Option<Duration> {
        self.expiry.map(|expiry| expiry.since(now)).filter(|left| !left.is_zero())
    }

    /// The next host after `last`, or after the present host at first. The present host is left out. Returns
    /// `None` if there is no other host.
    pub(super) fn other_host(&self, last: Option<&Arc<HostPort>>) -> Option<Arc<HostPort>> {
        let current = self.current.as_ref();
        self.hosts_after(last.or(current)).find(|host| Some(*host) != current).cloned()
    }

    /// Makes `host` the next one, without a pause.
    pub(super) fn prefer(&mut self, host: Option<Arc<HostPort>>) {
        self.preferred = host;
    }

    // ---- results of attempts ----------------------------------------------------------------------

    /// Notes that the present attempt has failed.
    pub(super) fn failed(&mut self, now: Time) {
        let (began, host_timeout) = self.attempt;
        self.was_slow = now.since(began).saturating_mul(2) >= host_timeout;
        self.all_slow &= self.was_slow;
        if let Some(last_host) = &mut self.last_host
            && self.current.as_ref() == Some(&last_host.host)
        {
            last_host.fails_fast = !self.was_slow;
        }
    }

    /// Notes that the present host has granted a session.
    pub(super) fn came_up(&mut self, now: Time) {
        self.came_up_in = now.since(self.attempt.0);
        self.doublings = 0;
        self.all_slow = false;
        self.last_host = self.current.clone().map(|host| LastHost { host, fails_fast: true });
        self.pace.came_up(now);
    }

    /// Notes that the present host has answered. Returns whether the session has proven itself with that answer.
    pub(super) fn answered(&mut self, now: Time, session_timeout: Duration) -> bool {
        self.pace.answered(now, session_timeout)
    }

    /// Notes that the connection to the present host is lost, closed by the peer or given up on this side.
    pub(super) fn lost(&mut self, now: Time, told_by_peer: bool) {
        if let Some(last_host) = &mut self.last_host {
            last_host.fails_fast = told_by_peer;
        }
        let is_redirected = core::mem::take(&mut self.is_redirected);
        if self.pace.is_fresh() {
            if !is_redirected {
                let current = self.current.as_ref();
                let others = self.hosts_after(current).filter(|host| Some(*host) != current);
                self.remaining = others.cloned().collect();
            }
            self.begin_round(now);
        }
    }

    /// Sets until when the servers keep the session that is to be resumed, if there is one.
    pub(super) const fn set_expiry(&mut self, expiry: Option<Time>) {
        self.expiry = expiry;
    }

    /// Replaces the list of hosts. Hosts that were not listed before come next, unless
    /// [`rebalance`](super::rebalance) says otherwise. It decides if the hosts are shuffled.
    ///
    /// `destination` is the host that the session is about to move to.
    pub(super) fn replace(
        &mut self,
        hosts: &[HostPort],
        shuffle: bool,
        destination: Option<&HostPort>,
        rng: &mut Rng,
    ) -> Replaced {
        let old = core::mem::take(&mut self.hosts);
        for host in hosts {
            if !self.contains(host) {
                let known = old.iter().find(|known| ***known == *host).cloned();
                self.hosts.push(known.unwrap_or_else(|| Arc::new(host.clone())));
            }
        }
        if shuffle {
            rng.shuffle(&mut self.hosts);
        }
        let (kept, added): (Vec<_>, Vec<_>) =
            self.hosts.iter().cloned().partition(|host| old.contains(host));
        let keeps_current = self.current.as_ref().is_none_or(|current| self.contains(current));
        let has_new = !added.is_empty();
        let mut remaining: VecDeque<_> = added.iter().cloned().collect();
        remaining.extend(self.remaining.drain(..).filter(|host| self.hosts.contains(host)));
        let decision = match destination.or(self.current.as_deref()) {
            Some(host) if shuffle => decide(old.len(), self.contains(host), kept, added, rng),
            _ => Decision::Stay,
        };
        self.is_redirected = false;
        if let Decision::Go(hosts) = &decision
            && !keeps_current
        {
            remaining.clone_from(hosts);
            self.is_redirected = true;
        }
        self.remaining = remaining;
        self.preferred = None;
        self.last_host.take_if(|last_host| !self.hosts.contains(&last_host.host));
        Replaced { keeps_current, has_new, decision }
    }
}

/// The result of replacing the list of hosts.
pub(super) struct Replaced {
    /// Whether the host of the present or last attempt is still listed.
    pub(super) keeps_current: bool,
    /// Whether there are hosts that were not listed before.
    pub(super) has_new: bool,
    /// Whether the session is to move.
    pub(super) decision: Decision,
}
