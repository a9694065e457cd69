//! Keep-alive: when a ping is sent, when a connection is dead, and until when the session is surely held.
//!
//! All of it follows from the session timeout T that the server has granted
//! (`org.apache.zookeeper.ClientCnxn.onConnected`):
//! - A ping is sent if nothing was sent for T/3, or for 10 s if that is less, no matter what is received.
//! - The connection is dead if no answer has come for 2T/3. A ping has been unanswered for at least half of
//!   that time then.
//! - The session is *held* until 3T/4 after the last acknowledged packet was sent. The server counts T from
//!   when it received that packet, and a follower tells the leader of it only at the next half tick. As T is
//!   at least two ticks, T/4 covers that, and a clock that is slow by one percent.
//!
//! # Signs of life
//!
//! An answer is a complete frame that answers a packet of this connection: a request, a ping, a credential,
//! or setWatches. Servers answer in order, so a server that works through a long queue is alive. So is a server
//! that answers pings and leaves a request unanswered: the caller may give up, but the connection is not dead.
//!
//! These are not signs of life:
//! - events: a server that sends them may not receive anything from this client;
//! - bytes: a frame that never becomes complete begins like any other.
//!
//! A large answer, or many events before it, may take longer than 2T/3 over a slow network. So the connection
//! also lives while there is progress: within each 2T/3, at least [`PROGRESS`] bytes come in, and one part in
//! [`SHARE`] of the bytes that the current packet lacks. Progress replaces an answer for at most
//! [`LONGEST_ANSWER`] times T. That is enough for 4 MiB at 100 kB/s with a timeout of 4 s.
//!
//! # Unexpected grants
//!
//! A server may grant a longer session timeout than was requested, such as 24 days. A dead connection is
//! detected by the granted timeout, but no later than by the requested one or [`LONGEST_UNREQUESTED`], whichever
//! is longer. The same holds for when this side considers a session over. Connecting takes no longer than the
//! requested timeout. Only the time until which the session is held follows from the granted timeout alone.

use alloc::{collections::VecDeque, format, string::String};
use core::time::Duration;

use crate::{
    ErrorCode, OpCode, Time,
    records::{ReplyHeader, xid},
    time::part,
};

use super::{Phase, Session, request_queue::InFlight};

const MAX_PING_INTERVAL: Duration = Duration::from_secs(10);

/// The number of bytes within 2T/3 that counts as progress.
const PROGRESS: u64 = 16 << 10;

/// The share of the bytes that a packet lacks that counts as progress: one in this many.
const SHARE: u64 = 16;

/// For how many session timeouts progress replaces an answer at most.
const LONGEST_ANSWER: u32 = 16;

/// The session timeout up to which a server may raise the requested one.
const LONGEST_UNREQUESTED: Duration = Duration::from_secs(60);

/// The times that follow from a session timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    session: Duration,
    requested: Duration,
}

impl Timeouts {
    /// The times before a server has granted a session timeout.
    pub(super) const fn requested(requested: Duration) -> Self {
        Self::granted(requested, requested)
    }

    pub(super) const fn granted(session: Duration, requested: Duration) -> Self {
        Self { session, requested }
    }

    pub(super) const fn session(self) -> Duration {
        self.session
    }

    /// The timeout from which the time for one host follows. A server may grant far more than was requested.
    pub(super) fn connect(self) -> Duration {
        self.session.min(self.requested)
    }

    pub(super) fn ping(self) -> Duration {
        part(self.session, 3).min(MAX_PING_INTERVAL)
    }

    /// How long there may be no answer and no progress.
    pub(super) fn read(self) -> Duration {
        let session = self.bounded();
        session.saturating_sub(part(session, 3))
    }

    /// How long there may be no answer while there is progress.
    pub(super) fn longest_answer(self) -> Duration {
        self.bounded().saturating_mul(LONGEST_ANSWER)
    }

    pub(super) fn lease(self) -> Duration {
        self.session.saturating_sub(part(self.session, 4))
    }

    /// The session timeout, if it is not much longer than the requested one.
    pub(super) fn bounded(self) -> Duration {
        self.session.min(self.requested.max(LONGEST_UNREQUESTED))
    }
}

/// What was sent and received on the present connection, and when.
#[derive(Debug)]
pub(super) struct Keepalive {
    timeouts: Timeouts,
    last_answer: Time,
    /// When there was progress last: an answer, or enough bytes.
    progress_at: Time,
    /// The number of bytes that had been received by then.
    progress_bytes: u64,
    /// The number of bytes that were received altogether.
    received: u64,
    /// The number of bytes that the current frame lacks.
    missing: usize,
    last_sent: Time,
    last_acknowledged_send: Time,
    /// When the unanswered pings were queued.
    pings: VecDeque<Time>,
    /// The number of newest pings that are not sent.
    pings_unsent: usize,
}

impl Keepalive {
    /// The state of a connection whose handshake was sent at `sent` and answered at `now`.
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

    /// Notes that this number of bytes was received altogether.
    pub(super) fn received(&mut self, now: Time, bytes: u64) {
        self.received = bytes;
        let share = u64::try_from(self.missing).unwrap_or(u64::MAX) / SHARE;
        if bytes.saturating_sub(self.progress_bytes) >= PROGRESS.max(share) {
            self.progress(now);
        }
    }

    /// Notes that the current frame lacks this number of bytes; 0 between frames.
    pub(super) const fn missing(&mut self, bytes: usize) {
        self.missing = bytes;
    }

    /// Notes that a complete frame has answered a packet.
    pub(super) const fn answered(&mut self, now: Time) {
        self.last_answer = now;
        self.progress(now);
    }

    const fn progress(&mut self, now: Time) {
        self.progress_at = now;
        self.progress_bytes = self.received;
    }

    /// Notes that everything that was queued is sent.
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

    /// Notes the reply to a ping, and returns when the ping was queued. Returns `None` if no ping was sent.
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

    /// Until when the servers keep the session if nothing more reaches them, as far as this side can tell.
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

    /// Notes that an answer has come in, which is a sign of life.
    pub(super) const fn answered(&mut self, now: Time) {
        if let Phase::Established(up) = &mut self.phase {
            up.keepalive.answered(now);
        }
    }

    /// Notes that the server has received this request. It keeps the session for a session timeout from when
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
    fn times_follow_from_the_session_timeout() {
        let timeouts = Timeouts::requested(T);
        assert_eq!(timeouts.connect(), T);
        assert_eq!(timeouts.ping(), Duration::from_secs(4));
        assert_eq!(timeouts.read(), Duration::from_secs(8));
        assert_eq!(timeouts.lease(), Duration::from_secs(9));
        assert_eq!(Timeouts::requested(T * 10).ping(), MAX_PING_INTERVAL);
    }

    #[test]
    fn only_acknowledged_packets_hold_the_session() {
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
