//! Deadlines: every time span of a session is derived here, from the timeout that the server granted.
//!
//! With the session timeout T (`org.apache.zookeeper.ClientCnxn.onConnected`):
//! - a ping is due when nothing was sent for T/3, and at least every 10 s;
//! - the connection is dead when nothing was received for 2T/3;
//! - the session is *held* until 3T/4 after the moment at which the last packet that the server has
//!   acknowledged was sent. The server counts T from when it received that packet, and a follower tells
//!   the leader of it only at the next half tick; T is two ticks at least, so T/4 covers that, and more
//!   than covers a clock that runs one percent slow.

use std::{collections::VecDeque, time::Duration};

use crate::{Time, time::part};

const MAX_PING_INTERVAL: Duration = Duration::from_secs(10);

/// The spans that follow from a session timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    session: Duration,
}

impl Timeouts {
    pub(super) const fn new(session: Duration) -> Self {
        Self { session }
    }

    pub(super) const fn session(self) -> Duration {
        self.session
    }

    /// How long one host may take to accept a connection and to answer the handshake.
    pub(super) fn connect(self, hosts: usize) -> Duration {
        let hosts = u32::try_from(hosts.max(1)).unwrap_or(u32::MAX);
        part(self.session, hosts)
    }

    pub(super) fn ping(self) -> Duration {
        part(self.session, 3).min(MAX_PING_INTERVAL)
    }

    pub(super) const fn read(self) -> Duration {
        self.session.saturating_sub(part(self.session, 3))
    }

    pub(super) fn lease(self) -> Duration {
        self.session.saturating_sub(part(self.session, 4))
    }
}

/// What has moved on the present connection, and when.
#[derive(Debug)]
pub(super) struct Keepalive {
    timeouts: Timeouts,
    last_received: Time,
    last_sent: Time,
    last_acked_send: Time,
    /// When those that are not answered were made.
    pings: VecDeque<Time>,
    /// How many of them, the youngest, are not handed out yet.
    pings_unsent: usize,
}

impl Keepalive {
    /// For a connection whose handshake was sent at `sent` and answered at `now`.
    pub(super) const fn new(timeouts: Timeouts, sent: Time, now: Time) -> Self {
        Self {
            timeouts,
            last_received: now,
            last_sent: now,
            last_acked_send: sent,
            pings: VecDeque::new(),
            pings_unsent: 0,
        }
    }

    pub(super) const fn received(&mut self, now: Time) {
        self.last_received = now;
    }

    /// All that was queued is handed out.
    pub(super) const fn sent(&mut self, now: Time) {
        self.last_sent = now;
        self.pings_unsent = 0;
    }

    pub(super) fn acked(&mut self, sent: Time) {
        self.last_acked_send = self.last_acked_send.max(sent);
    }

    pub(super) fn ping_queued(&mut self, now: Time) {
        self.pings.push_back(now);
        self.pings_unsent = self.pings_unsent.saturating_add(1);
        self.last_sent = now;
    }

    /// Takes in the reply to a ping; false when none was sent.
    pub(super) fn pong(&mut self) -> bool {
        if self.pings.len() <= self.pings_unsent {
            return false;
        }
        let Some(sent) = self.pings.pop_front() else { return false };
        self.acked(sent);
        true
    }

    pub(super) fn ping_due(&self) -> Time {
        self.last_sent.after(self.timeouts.ping())
    }

    pub(super) fn dead_at(&self) -> Time {
        self.last_received.after(self.timeouts.read())
    }

    pub(super) fn silence(&self, now: Time) -> Duration {
        now.since(self.last_received)
    }

    pub(super) fn held_until(&self) -> Time {
        self.last_acked_send.after(self.timeouts.lease())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(12);

    fn at(seconds: u64) -> Time {
        Time::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn spans_follow_from_the_timeout() {
        let timeouts = Timeouts::new(T);
        assert_eq!(timeouts.connect(3), Duration::from_secs(4));
        assert_eq!(timeouts.connect(0), T);
        assert_eq!(timeouts.ping(), Duration::from_secs(4));
        assert_eq!(timeouts.read(), Duration::from_secs(8));
        assert_eq!(timeouts.lease(), Duration::from_secs(9));
        assert_eq!(Timeouts::new(T * 10).ping(), MAX_PING_INTERVAL);
    }

    #[test]
    fn a_session_is_held_by_what_was_acknowledged_not_by_what_was_sent_or_received() {
        let mut alive = Keepalive::new(Timeouts::new(T), at(0), at(1));
        assert_eq!(alive.held_until(), at(9));
        alive.ping_queued(at(4));
        assert!(!alive.pong(), "a reply to what was not sent");
        alive.sent(at(4));
        alive.received(at(5));
        assert_eq!(alive.held_until(), at(9));
        assert!(alive.pong());
        assert_eq!(alive.held_until(), at(13));
        assert!(!alive.pong());
        alive.acked(at(2));
        assert_eq!(alive.held_until(), at(13));
    }
}
