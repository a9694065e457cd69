//! Which host comes next, when, and for how long it is waited for.
//!
//! # Rounds
//!
//! Hosts are shuffled once and then tried in *rounds*: every host once, one after the other without a
//! pause. Between rounds there is a pause, see [`Backoff`]. After the loss of a session that has proven
//! itself the first round is of the *other* hosts, and the next one begins with the host that was lost.
//!
//! That host is *last_host*: the session was well there, and it may be back in a moment. While it fails fast,
//! as by a refused connection, asking it costs nothing: it is tried again after every host that used up
//! its time, so that hosts which never answer do not keep the session from it. A host that was never
//! tried, because it has just been listed, comes next, without a pause.
//!
//! # Time for one host
//!
//! A host may take its share of the session timeout T, T / hosts, to accept a connection and to answer the
//! handshake. With many hosts that would be less than the network needs, so it is at least
//! - a second, or T / 4 where that is less,
//! - and twice what the last connection took to come up.
//!
//! That floor doubles after each round in which every host used up its time, up to four times, and counts
//! from the beginning again when a connection comes up. No host gets more than T, or 30 s.
//!
//! # What is left of the session
//!
//! The servers keep a session for T after the last packet that has reached them. Until then, a pause takes
//! at most a third of what is left, and a host too, but for the floor, of which a second is a quarter of
//! one while last_host fails fast. So there are several rounds before the session expires, and one that was cut
//! off from its only live host for half of T is not lost.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::time::Duration;

use crate::{HostPort, Time, backoff::Backoff, rng::Rng, time::part};

use super::pace::Pace;

/// How long a host may take at least, unless a quarter of the session timeout is less.
const MIN_HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a host may take at most.
const MAX_HOST_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the least time for a host is doubled at most.
const MAX_DOUBLINGS: u32 = 2;

#[derive(Debug)]
pub(super) struct Route {
    /// Each once, in the order of their remaining.
    hosts: Vec<Arc<HostPort>>,
    /// Whose turn is still to come in this round.
    remaining: VecDeque<Arc<HostPort>>,
    pace: Pace,
    current: Option<Arc<HostPort>>,
    preferred: Option<Arc<HostPort>>,
    last_host: Option<LastHost>,
    /// When the present or the last attempt began, and how long it may take.
    attempt: (Time, Duration),
    /// Whether the last attempt failed by using up its time.
    was_slow: bool,
    /// Whether all attempts of this round did.
    all_slow: bool,
    /// How often the least time for a host is doubled.
    doublings: u32,
    /// How long the last connection took to come up.
    came_up_in: Duration,
    /// Until when the servers keep the session that is to be resumed.
    expiry: Option<Time>,
}

/// The host of the last session.
#[derive(Debug)]
struct LastHost {
    host: Arc<HostPort>,
    /// Whether it fails at once, if it does.
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
            last_host: None,
            attempt: (Time::ZERO, Duration::ZERO),
            was_slow: false,
            all_slow: false,
            doublings: 0,
            came_up_in: Duration::ZERO,
            expiry: None,
        };
        route.replace(hosts, shuffle, rng);
        route
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn contains(&self, host: &HostPort) -> bool {
        self.hosts.iter().any(|listed| **listed == *host)
    }

    /// The host of the present or the last attempt.
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

    /// The host of the next attempt, and how long it may take; `None` when there are no hosts.
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

    /// LastHost, if another host has just used up its time and last_host would not.
    fn retry_last_host(&self) -> Option<&Arc<HostPort>> {
        let last_host =
            self.last_host.as_ref().filter(|last_host| self.was_slow && last_host.fails_fast)?;
        Some(&last_host.host).filter(|host| self.current.as_ref() != Some(host))
    }

    /// All hosts, from the one whose turn it is after `host`: the first one after the last, or after one
    /// that is not listed.
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

    /// What is left of the session that is to be resumed; `None` if there is none, or nothing is left.
    pub(super) fn session_time_left(&self, now: Time) -> Option<Duration> {
        self.expiry.map(|expiry| expiry.since(now)).filter(|left| !left.is_zero())
    }

    /// Whose turn it is after `last`, or at first after the present host, which is left out; `None` when
    /// there is no other.
    pub(super) fn other_host(&self, last: Option<&Arc<HostPort>>) -> Option<Arc<HostPort>> {
        let current = self.current.as_ref();
        self.hosts_after(last.or(current)).find(|host| Some(*host) != current).cloned()
    }

    /// The next attempt goes to `host`, at once.
    pub(super) fn prefer(&mut self, host: Option<Arc<HostPort>>) {
        self.preferred = host;
    }

    // ---- what came of it --------------------------------------------------------------------------

    /// The present attempt has failed.
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

    /// The present host has granted a session.
    pub(super) fn came_up(&mut self, now: Time) {
        self.came_up_in = now.since(self.attempt.0);
        self.doublings = 0;
        self.all_slow = false;
        self.last_host = self.current.clone().map(|host| LastHost { host, fails_fast: true });
        self.pace.came_up(now);
    }

    /// The present host has answered. True if the session has proven itself by that, just now.
    pub(super) fn answered(&mut self, now: Time, session_timeout: Duration) -> bool {
        self.pace.answered(now, session_timeout)
    }

    /// The connection to the present host is lost, as its peer says or else for its silence.
    pub(super) fn lost(&mut self, now: Time, told_by_peer: bool) {
        if let Some(last_host) = &mut self.last_host {
            last_host.fails_fast = told_by_peer;
        }
        if self.pace.is_fresh() {
            let current = self.current.as_ref();
            let others = self.hosts_after(current).filter(|host| Some(*host) != current);
            self.remaining = others.cloned().collect();
            self.begin_round(now);
        }
    }

    /// Until when the servers keep the session that is to be resumed, if there is one.
    pub(super) const fn set_expiry(&mut self, expiry: Option<Time>) {
        self.expiry = expiry;
    }

    /// Another list of hosts. Those that were not listed before come next.
    pub(super) fn replace(&mut self, hosts: &[HostPort], shuffle: bool, rng: &mut Rng) -> Replaced {
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
        let mut remaining: VecDeque<_> =
            self.hosts.iter().filter(|host| !old.contains(host)).cloned().collect();
        let has_new = !remaining.is_empty();
        remaining.extend(self.remaining.drain(..).filter(|host| self.hosts.contains(host)));
        self.remaining = remaining;
        self.preferred = None;
        self.last_host.take_if(|last_host| !self.hosts.contains(&last_host.host));
        let keeps_current = self.current.as_ref().is_none_or(|current| self.contains(current));
        Replaced { keeps_current, has_new }
    }
}

/// What has come of another list of hosts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replaced {
    /// Whether the host of the present or the last attempt is still listed.
    pub(super) keeps_current: bool,
    /// Whether there are hosts that were not listed before.
    pub(super) has_new: bool,
}
