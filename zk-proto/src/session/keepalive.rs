//! Deadlines: every time span of a session is derived here, from the timeout that the server granted.
//!
//! With the session timeout T (`org.apache.zookeeper.ClientCnxn.onConnected`):
//! - a ping is due when nothing was sent for T/3, and at least every 10 s, whatever is being received;
//! - the connection is dead when no answer has come for 2T/3: that of a ping, at least, has been owed for
//!   half of that time by then;
//! - the session is *held* until 3T/4 after the moment at which the last packet that the server has
//!   acknowledged was sent. The server counts T from when it received that packet, and a follower tells
//!   the leader of it only at the next half tick; T is two ticks at least, so T/4 covers that, and more
//!   than covers a clock that runs one percent slow.
//!
//! # What counts as life
//!
//! An answer is a whole frame that answers a packet of this connection: a request, a ping, a credential,
//! setWatches. Servers answer in order, so each answer brings all others nearer: a server that works
//! through a long queue is alive. So is one that answers pings and leaves a request waiting: its callers
//! may give up, but the connection is not dead.
//!
//! No answer, and so no sign of life by themselves, are:
//! - events: a server that sends them may have stopped to hear this client;
//! - bytes: those of a frame that promises more than will ever come look like any other.
//!
//! A large answer, or many events ahead of it, may take longer than 2T/3 on a slow link. While within
//! each 2T/3 at least [`PROGRESS`] bytes come in, and a [`SHARE`]th of what a packet lacks, the connection
//! lives without an answer, for at most [`LONGEST_ANSWER`] times T: enough for 4 MiB at 100 kB/s with a
//! timeout of 4 s.
//!
//! # Strange grants
//!
//! The reads wait for as long as the server granted, but no longer than was asked for, or
//! [`LONGEST_UNASKED`] if that is more: a grant of 24 days is no reason to wait so long for a dead
//! server; the same goes for when this side takes a session for over. A connect waits no longer than was
//! asked for. The lease alone is the server's to give.

use alloc::{collections::VecDeque, format, string::String};
use core::time::Duration;

use crate::{
    ErrorCode, OpCode, Time,
    records::{ReplyHeader, xid},
    time::part,
};

use super::{Phase, Session, request_queue::InFlight};

const MAX_PING_INTERVAL: Duration = Duration::from_secs(10);

/// As many bytes within 2T/3 are progress, though they are no answer.
const PROGRESS: u64 = 16 << 10;

/// Of what a packet lacks, at least so small a part is progress.
const SHARE: u64 = 16;

/// For how many session timeouts at most progress stands in for an answer.
const LONGEST_ANSWER: u32 = 16;

/// A session timeout that the server may raise the one that was asked for to.
const LONGEST_UNASKED: Duration = Duration::from_secs(60);

/// The spans that follow from a session timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    session: Duration,
    requested: Duration,
}

impl Timeouts {
    /// Before a server has granted one.
    pub(super) const fn requested(requested: Duration) -> Self {
        Self::granted(requested, requested)
    }

    pub(super) const fn granted(session: Duration, requested: Duration) -> Self {
        Self { session, requested }
    }

    pub(super) const fn session(self) -> Duration {
        self.session
    }

    /// What the time for one host follows from: a server may grant far more than was asked for.
    pub(super) fn connect(self) -> Duration {
        self.session.min(self.requested)
    }

    pub(super) fn ping(self) -> Duration {
        part(self.session, 3).min(MAX_PING_INTERVAL)
    }

    /// How long there may be no answer.
    pub(super) fn read(self) -> Duration {
        let session = self.bounded();
        session.saturating_sub(part(session, 3))
    }

    /// How long there may be none while there is progress.
    pub(super) fn longest_answer(self) -> Duration {
        self.bounded().saturating_mul(LONGEST_ANSWER)
    }

    pub(super) fn lease(self) -> Duration {
        self.session.saturating_sub(part(self.session, 4))
    }

    /// The session timeout, unless it is far from what was asked for.
    pub(super) fn bounded(self) -> Duration {
        self.session.min(self.requested.max(LONGEST_UNASKED))
    }
}

/// What has moved on the present connection, and when.
#[derive(Debug)]
pub(super) struct Keepalive {
    timeouts: Timeouts,
    last_answer: Time,
    /// When there was progress last: an answer, or many bytes.
    progress_at: Time,
    /// How many bytes had been received by then.
    progress_bytes: u64,
    /// How many bytes were received altogether.
    received: u64,
    /// How many bytes the frame that comes in lacks.
    missing: usize,
    last_sent: Time,
    last_acknowledged_send: Time,
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
            last_answer: now,
            progress_at: now,
            progress_bytes: 0,
            received: 0,
            missing: 0,
            last_sent: now,
            last_acknowledged_send: sent,
            pings: VecDeque::new(),
            pings_unsent: 0,
        }
    }

    /// So many bytes were received altogether.
    pub(super) fn received(&mut self, now: Time, bytes: u64) {
        self.received = bytes;
        let share = u64::try_from(self.missing).unwrap_or(u64::MAX) / SHARE;
        if bytes.saturating_sub(self.progress_bytes) >= PROGRESS.max(share) {
            self.progress(now);
        }
    }

    /// The frame that comes in lacks so many bytes; 0 between frames.
    pub(super) const fn missing(&mut self, bytes: usize) {
        self.missing = bytes;
    }

    /// A whole frame has answered a packet.
    pub(super) const fn answered(&mut self, now: Time) {
        self.last_answer = now;
        self.progress(now);
    }

    const fn progress(&mut self, now: Time) {
        self.progress_at = now;
        self.progress_bytes = self.received;
    }

    /// All that was queued is handed out.
    pub(super) const fn sent(&mut self, now: Time) {
        self.last_sent = now;
        self.pings_unsent = 0;
    }

    pub(super) fn acknowledged(&mut self, sent: Time) {
        self.last_acknowledged_send = self.last_acknowledged_send.max(sent);
    }

    pub(super) fn ping_queued(&mut self, now: Time) {
        self.pings.push_back(now);
        self.pings_unsent = self.pings_unsent.saturating_add(1);
        self.last_sent = now;
    }

    /// Takes in the reply to a ping: when that was made, `None` when none was sent.
    pub(super) fn pong(&mut self) -> Option<Time> {
        if self.pings.len() > self.pings_unsent { self.pings.pop_front() } else { None }
    }

    pub(super) fn ping_due(&self) -> Time {
        self.last_sent.after(self.timeouts.ping())
    }

    pub(super) fn dead_at(&self) -> Time {
        let longest = self.last_answer.after(self.timeouts.longest_answer());
        self.progress_at.after(self.timeouts.read()).min(longest)
    }

    /// Why the connection is dead.
    pub(super) fn silence(&self, now: Time) -> String {
        let silence = now.since(self.last_answer);
        match self.missing {
            0 => format!("no answer for {silence:.1?}"),
            bytes => format!("no answer for {silence:.1?}: {bytes} bytes of a packet are missing"),
        }
    }

    /// Until when the servers keep the session at least, if nothing more reaches them.
    pub(super) fn expiry(&self) -> Time {
        self.last_acknowledged_send.after(self.timeouts.bounded())
    }

    pub(super) fn held_until(&self) -> Time {
        self.last_acknowledged_send.after(self.timeouts.lease())
    }
}

impl<T: Clone> Session<T> {
    /// Drops a connection that is dead. Returns whether it was.
    pub(super) fn drop_if_dead(&mut self, now: Time) -> bool {
        match &self.phase {
            Phase::Established(up) if up.keepalive.dead_at() <= now => {
                let cause = up.keepalive.silence(now);
                self.drop_connection(now, cause.into());
                true
            }
            _ => false,
        }
    }

    /// Sends a ping if one is due.
    pub(super) fn ping_if_due(&mut self, now: Time) {
        let Phase::Established(up) = &mut self.phase else { return };
        if up.keepalive.ping_due() <= now {
            up.keepalive.ping_queued(now);
            self.queue.special(xid::PING, OpCode::Ping, |_| {});
        }
    }

    /// An answer has come in: a sign of life.
    pub(super) const fn answered(&mut self, now: Time) {
        if let Phase::Established(up) = &mut self.phase {
            up.keepalive.answered(now);
        }
    }

    /// The server has received this request: it keeps the session for another session timeout from when
    /// the request was sent, unless it says that it does not have the session.
    pub(super) fn acknowledge(&mut self, header: ReplyHeader, entry: &InFlight<T>) {
        self.identity.last_zxid = self.identity.last_zxid.max(header.zxid);
        let is_kept = !matches!(header.err, ErrorCode::SessionExpired | ErrorCode::SessionMoved);
        if let (Phase::Established(up), true) = (&mut self.phase, is_kept) {
            up.keepalive.acknowledged(entry.queued_at);
        }
    }

    /// Until when the servers surely keep the session, counted from when the last packet was sent that they
    /// have acknowledged.
    ///
    /// Returns `None` without a connection to a server that has a quorum. The time that was returned last
    /// still counts then: the holder of a lock must not rely on more.
    #[must_use]
    pub fn held_until(&self) -> Option<Time> {
        match &self.phase {
            Phase::Established(up) if up.search.is_none() => Some(up.keepalive.held_until()),
            _ => None,
        }
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
        let timeouts = Timeouts::requested(T);
        assert_eq!(timeouts.connect(), T);
        assert_eq!(timeouts.ping(), Duration::from_secs(4));
        assert_eq!(timeouts.read(), Duration::from_secs(8));
        assert_eq!(timeouts.lease(), Duration::from_secs(9));
        assert_eq!(Timeouts::requested(T * 10).ping(), MAX_PING_INTERVAL);
    }

    #[test]
    fn a_session_is_held_by_what_was_acknowledged_not_by_what_was_sent_or_received() {
        let mut alive = Keepalive::new(Timeouts::requested(T), at(0), at(1));
        assert_eq!(alive.held_until(), at(9));
        alive.ping_queued(at(4));
        assert_eq!(alive.pong(), None, "a reply to what was not sent");
        alive.sent(at(4));
        alive.received(at(5), 20);
        assert_eq!(alive.held_until(), at(9));
        assert_eq!(alive.pong(), Some(at(4)));
        alive.acknowledged(at(4));
        assert_eq!(alive.held_until(), at(13));
        assert_eq!(alive.pong(), None);
        alive.acknowledged(at(2));
        assert_eq!(alive.held_until(), at(13));
    }
}
