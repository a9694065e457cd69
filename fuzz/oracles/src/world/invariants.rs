//! The invariants that hold at any time, and those that hold at the end.

use zk_proto::{
    Chroot, Request, WatcherType,
    session::{ConnectionState, SessionState},
};

use super::{
    UNWATCH_AFTER, World,
    connection::{Established, Phase},
    ledger::{self, Ledger},
};

impl World {
    /// Checks the invariants that hold at any time.
    pub(super) fn check(&mut self) {
        let session = &self.session;
        assert_eq!(session.state(), self.ledger.state);
        assert_eq!(session.armed(), self.ledger.watches.len(), "watches");
        let closing =
            matches!(&self.phase, Phase::Established(established) if established.closing.is_some());
        assert_eq!(session.in_flight(), self.ledger.waiting() + usize::from(closing));
        assert!(self.ever_tainted || session.last_zxid() >= self.last_zxid, "zxid falls");
        self.last_zxid = session.last_zxid();
        assert!(self.ever_tainted || self.last_zxid <= self.server.zxid());
        let client = session.connection_state();
        let connected =
            matches!(client, ConnectionState::Connected | ConnectionState::ConnectedReadOnly);
        assert_eq!(connected, self.ledger.state.is_connected(), "{client:?}");
        let due = session.poll_timeout();
        match &self.phase {
            Phase::Idle | Phase::Down | Phase::Ended => assert_eq!(due, None),
            Phase::Waiting { until } => assert_eq!(due, Some(*until)),
            Phase::Connecting { deadline, .. } => assert_eq!(due, Some(*deadline)),
            Phase::Established(established) => self.check_up(established),
        }
        if self.is_idle() {
            for watch in &self.ledger.watches {
                assert!(self.server.has_watch(watch.kind, &watch.path), "lost: {watch:?}");
            }
        }
    }

    pub(super) fn check_up(&self, established: &Established) {
        let internal = [self.dead_at(established), established.ping_due(self.timeout)];
        let due = internal.into_iter().chain(established.closing).min();
        let found = self.session.poll_timeout();
        // The session also wakes to search for a read-write server, and to remove unwanted watches.
        let earlier =
            established.read_only || !self.ledger.unwanted_since.is_empty() || self.tainted;
        assert!(if earlier { found <= due } else { found == due }, "{found:?}, not {due:?}");
        let held = self.session.held_until();
        assert_eq!(held.is_none(), established.read_only);
        if let Some(held) = held {
            let lease = self.timeout - self.timeout / 4;
            let at_most = if self.tainted {
                established.acked.max(established.sent)
            } else {
                established.acked
            };
            assert!(held <= at_most.after(lease), "held for longer than was acknowledged");
            assert!(held >= established.acked_submitted.after(lease), "acknowledged, and not held");
        }
    }

    /// Returns true if nothing is in flight, so that the session and the server must agree.
    pub(super) fn is_idle(&self) -> bool {
        let Phase::Established(established) = &self.phase else { return false };
        !self.ever_tainted
            && established.rearming == 0
            && self.ledger.calls.is_empty()
            && !self.session.wants_transmit()
            && self.received.is_done()
            && self.outbox.is_empty()
            && self.in_transit.is_empty()
    }

    /// Checks that the session recovers, and completes all open requests, once the server has a quorum again.
    pub(super) fn recover(&mut self) {
        if !std::mem::replace(&mut self.server.quorum, true) {
            self.cut();
        }
        for _ in 0..64 {
            self.settle();
            let done = self.ledger.calls.is_empty() && self.ledger.auths.is_empty();
            if self.is_over() {
                return;
            }
            if done && self.ledger.state == SessionState::Connected {
                return self.check_unwanted();
            }
            let due = self.session.poll_timeout().expect("the session goes on");
            self.tick(due.since(self.now).as_millis() as u64 + 1);
        }
        assert!(self.ever_tainted, "the session does not come back");
    }

    /// Checks that unwanted watches are removed from the server in time.
    pub(super) fn check_unwanted(&mut self) {
        let lost = self.ledger.removals_lost.unwrap_or_default();
        if self.ever_tainted || lost > 4 {
            return;
        }
        // Twice the time: a watch that becomes unwanted while its path is in the queue waits again.
        for _ in 0..=(2 * (UNWATCH_AFTER.as_millis() << lost) / 50) {
            self.tick(50);
            self.settle();
            if self.is_over() || self.ledger.state != SessionState::Connected {
                return;
            }
        }
        for (kind, path) in self.server.watches() {
            let wants = |watch: &ledger::Watch| {
                watch.path == path
                    && (kind == WatcherType::Any || ledger::group(watch.kind) == kind)
            };
            assert!(self.ledger.watches.iter().any(wants), "left on the server: {kind:?} {path}");
        }
    }

    /// Checks that a close ends the session and all its requests, whatever happened before.
    pub(super) fn finish(&mut self) {
        self.close();
        self.tick(3_000);
        let Ledger { calls, auths, watches, state, .. } = &self.ledger;
        assert_eq!((calls.len(), auths.len(), watches.len()), (0, 0, 0), "not ended");
        assert_eq!(*state, SessionState::Lost);
        assert!(self.session.end_reason().is_some() && !self.session.wants_transmit());
        self.submit(&Chroot::ROOT, &Request::Ping, None);
    }
}
