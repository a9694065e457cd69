//! The next host, when it is tried, and its connect timeout, as the documentation of the session says.

use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use zk_proto::{Time, session::Backoff};

#[derive(Debug)]
pub(super) struct Route {
    pub(super) hosts: Vec<u16>,
    pub(super) current: Option<u16>,
    preferred: Option<u16>,
    backoff: Backoff,
    /// Whether the next host can be predicted. False after a dishonest server, until a session has been established
    /// for a while.
    predictable: bool,
    /// The hosts that were not tried in this round.
    turns: VecDeque<u16>,
    rounds: u32,
    round_began: Time,
    proving_since: Option<Time>,
    /// The host of the last session, and whether it fails fast.
    home: Option<(u16, bool)>,
    /// The start and the timeout of the last attempt.
    attempt: (Time, Duration),
    was_slow: bool,
    all_slow: bool,
    doublings: u32,
    came_up_in: Duration,
    /// The earliest and the latest time at which the session to be resumed expires.
    expiry: Option<(Time, Time)>,
    /// Whether the next attempt may start at once, or after a pause.
    pub(super) may_connect_now: bool,
}

impl Route {
    pub(super) fn new(hosts: Vec<u16>, backoff: Backoff) -> Self {
        Self {
            hosts,
            current: None,
            preferred: None,
            backoff,
            predictable: true,
            turns: VecDeque::new(),
            rounds: 0,
            round_began: Time::ZERO,
            proving_since: None,
            home: None,
            attempt: (Time::ZERO, Duration::ZERO),
            was_slow: false,
            all_slow: false,
            doublings: 0,
            came_up_in: Duration::ZERO,
            expiry: None,
            may_connect_now: false,
        }
    }

    fn longest(&self, timeout: Duration) -> Duration {
        self.backoff.max.min(timeout / 3).max(self.backoff.min)
    }

    /// The delay before the next attempt.
    pub(super) fn delay(&self, now: Time, timeout: Duration) -> RangeInclusive<Duration> {
        if self.preferred.is_some() {
            return Duration::ZERO..=Duration::ZERO;
        }
        if !self.predictable {
            return Duration::ZERO..=self.longest(timeout);
        }
        let retry = match self.rounds.checked_sub(1) {
            Some(retry) if self.turns.is_empty() && self.home_again().is_none() => retry,
            _ => return Duration::ZERO..=Duration::ZERO,
        };
        let full = self.backoff.min.saturating_mul(1 << retry.min(20)).min(self.longest(timeout));
        let [least, most] =
            [full / 2, full].map(|wait| wait.saturating_sub(now.since(self.round_began)));
        let Some(left) = self.left(now) else { return least..=most };
        let cap = |left: Duration| (left / 3).max(self.backoff.min);
        // A session that may have expired sets no limit.
        let bounded = if left.start().is_zero() { most } else { most.min(cap(*left.end())) };
        least.min(cap(*left.start()))..=bounded
    }

    /// The remaining time of the session; `None` if it has expired.
    fn left(&self, now: Time) -> Option<RangeInclusive<Duration>> {
        let (earliest, latest) = self.expiry?;
        Some(earliest.since(now)..=latest.since(now)).filter(|left| !left.end().is_zero())
    }

    /// The connect timeout of the next host.
    pub(super) fn connect_timeout(&self, now: Time, timeout: Duration) -> RangeInclusive<Duration> {
        const SECOND: Duration = Duration::from_secs(1);

        let floor = SECOND.min(timeout / 4);
        let most = timeout.min(30 * SECOND);
        if !self.predictable {
            return floor / 4..=most;
        }
        let second = floor;
        let floor = second.max(self.came_up_in * 2);
        let connect_timeout =
            (timeout / self.hosts.len() as u32).max(floor * (1 << self.doublings));
        let connect_timeout = connect_timeout.min(most);
        let Some(left) = self.left(now) else { return connect_timeout..=connect_timeout };
        let least = match self.home {
            Some((_, true)) => (second / 4).max(self.came_up_in * 2),
            _ => floor,
        };
        let within = |left: &Duration| connect_timeout.min((*left / 3).max(least));
        let bounded = if left.start().is_zero() { connect_timeout } else { within(left.end()) };
        within(left.start())..=bounded
    }

    /// Starts the next attempt, and returns its host.
    pub(super) fn advance(&mut self, now: Time) -> u16 {
        let next = self.preferred.take().unwrap_or_else(|| self.next_turn(now));
        self.connecting_to(next);
        next
    }

    fn next_turn(&mut self, now: Time) -> u16 {
        if let Some(home) = self.home_again() {
            self.turns.retain(|host| *host != home);
            return home;
        }
        if self.turns.is_empty() || self.rounds == 0 {
            self.turns = self.in_turn().into();
            self.begin_round(now);
        }
        self.turns.pop_front().expect("there are hosts")
    }

    fn begin_round(&mut self, now: Time) {
        if self.all_slow {
            self.doublings = (self.doublings + 1).min(2);
        }
        self.all_slow = true;
        self.rounds += 1;
        self.round_began = now;
    }

    fn home_again(&self) -> Option<u16> {
        match self.home {
            Some((host, true)) if self.was_slow && self.current != Some(host) => Some(host),
            _ => None,
        }
    }

    /// All hosts, the current one last.
    fn in_turn(&self) -> Vec<u16> {
        let at = self.hosts.iter().position(|host| Some(*host) == self.current);
        let mut hosts = self.hosts.clone();
        hosts.rotate_left(at.map_or(0, |at| at + 1) % self.hosts.len());
        hosts
    }

    /// An attempt was started, predicted or not.
    pub(super) fn connecting_to(&mut self, host: u16) {
        self.may_connect_now = false;
        self.preferred = None;
        self.current = Some(host);
        self.was_slow = false;
    }

    /// Notes the start and the timeout of the attempt.
    pub(super) const fn attempt_started(&mut self, now: Time, connect_timeout: Duration) {
        self.attempt = (now, connect_timeout);
    }

    pub(super) fn failed(&mut self, now: Time) {
        let (began, connect_timeout) = self.attempt;
        self.was_slow = now.since(began) * 2 >= connect_timeout;
        self.all_slow &= self.was_slow;
        if let Some((home, fails_fast)) = &mut self.home
            && self.current == Some(*home)
        {
            *fails_fast = !self.was_slow;
        }
    }

    pub(super) fn came_up(&mut self, now: Time) {
        self.came_up_in = now.since(self.attempt.0);
        self.doublings = 0;
        self.all_slow = false;
        self.home = self.current.map(|host| (host, true));
        self.proving_since = Some(now);
    }

    pub(super) fn answered(&mut self, now: Time, timeout: Duration) {
        if self.proving_since.is_some_and(|since| now.since(since) >= self.longest(timeout)) {
            self.proving_since = None;
            self.rounds = 0;
            self.predictable = true;
        }
    }

    pub(super) fn lost(&mut self, now: Time, told_by_peer: bool) {
        if let Some((_, fails_fast)) = &mut self.home {
            *fails_fast = told_by_peer;
        }
        if self.predictable && self.rounds == 0 {
            self.turns = self.in_turn().into();
            self.turns.retain(|host| Some(*host) != self.current);
            self.begin_round(now);
        }
    }

    pub(super) const fn set_expiry(&mut self, expiry: Option<(Time, Time)>) {
        self.expiry = expiry;
    }

    pub(super) fn prefer(&mut self, host: Option<u16>) {
        self.preferred = host;
    }

    pub(super) const fn is_predictable(&self) -> bool {
        self.predictable
    }

    pub(super) fn forget(&mut self) {
        self.predictable = false;
        self.preferred = None;
        self.proving_since = None;
    }

    /// Replaces the hosts. Returns whether the current host is still listed, and whether there are new hosts.
    pub(super) fn replace(&mut self, hosts: Vec<u16>) -> (bool, bool) {
        let old = std::mem::take(&mut self.hosts);
        for host in hosts {
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        let new = self.hosts.iter().filter(|host| !old.contains(host)).copied();
        let mut turns: VecDeque<_> = new.collect();
        let has_new = !turns.is_empty();
        turns.extend(self.turns.iter().filter(|host| self.hosts.contains(host)));
        self.turns = turns;
        self.preferred = None;
        self.home.take_if(|(home, _)| !self.hosts.contains(home));
        (self.current.is_none_or(|host| self.hosts.contains(&host)), has_new)
    }
}
