//! How connections begin and end, and what ends with them: unanswered requests, and at last the session.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::time::Duration;

use crate::{Chroot, OpCode, Time, time::part};

use super::{
    Caller, Cause, Failure, Identity, Outcome, Output, Phase, Reason, Registered, Reply, Session,
    SessionState, request_queue::WatchChange, watches::Watch,
};

impl<T: Clone> Session<T> {
    /// Connects as soon as the route allows it. Waits for `hold_back` at least, unless a request comes in.
    pub(super) fn connect_when_due(&mut self, now: Time, hold_back: Duration) {
        let delay = self.route.delay(now, self.identity.timeouts.session(), &mut self.rng);
        let until = now.after(delay.max(hold_back));
        if until == now {
            self.connect(now);
        } else {
            self.phase = Phase::Waiting { until, earliest: now.after(delay) };
        }
    }

    pub(super) fn connect(&mut self, now: Time) {
        let timeout = self.identity.timeouts.connect();
        if let Some((host, host_timeout)) = self.route.advance(now, timeout) {
            let deadline = now.after(host_timeout);
            tracing::debug!(%host, "connecting");
            self.phase = Phase::Connecting { deadline };
            self.outputs.push_back(Output::Connect { host, deadline });
        } else {
            let until = now.after(timeout);
            self.phase = Phase::Waiting { until, earliest: until };
        }
    }

    /// Notes that a request was submitted, which ends a delay before connecting.
    pub(super) fn note_request(&mut self, now: Time) {
        self.last_request = Some(now);
        if self.end_hold_back().is_some_and(|until| until <= now) {
            self.connect(now);
        }
    }

    /// Ends a delay before connecting. Returns when to connect now, if there was a delay.
    pub(super) fn end_hold_back(&mut self) -> Option<Time> {
        match &mut self.phase {
            Phase::Waiting { until, earliest } if *earliest < *until => {
                *until = *earliest;
                Some(*until)
            }
            _ => None,
        }
    }

    /// How long to wait before connecting again after the server has closed an established connection.
    ///
    /// If a server fails, all of its clients notice at the same moment. If they all connected at once, the
    /// other servers would have to accept them all in the same second. So an idle client waits for a random
    /// time, which ends with two fifths of the session timeout left at the latest. A client that has just
    /// made requests connects at once.
    fn hold_back(&mut self, now: Time) -> Duration {
        const AT_WORK: Duration = Duration::from_secs(1);

        let at_work = self.last_request.is_some_and(|last| now.since(last) < AT_WORK);
        let waiters = self.credentials.iter().any(|registered| !registered.waiters.is_empty());
        if at_work || waiters || !self.reconnecting.is_empty() || self.queue.len() > 0 {
            return Duration::ZERO;
        }
        let left = self.route.session_time_left(now).unwrap_or_default();
        let window = self.config.reconnect_spread.min(part(left, 5).saturating_mul(3));
        self.rng.up_to(window)
    }

    pub(super) fn disconnect(&mut self) {
        self.queued_disconnects = self.queued_disconnects.saturating_add(1);
        self.outputs.push_back(Output::Disconnect);
    }

    /// Drops the connection, for a reason on this side.
    pub(super) fn drop_connection(&mut self, now: Time, cause: Cause) {
        self.disconnect();
        self.lose_connection(now, cause, false);
    }

    pub(super) fn lose_connection(&mut self, now: Time, cause: Cause, told_by_peer: bool) {
        let handshake_sent =
            matches!(self.phase, Phase::Handshake { .. }) && !self.queue.has_prologue();
        let cause = match &self.phase {
            _ if cause.is_below() => cause,
            _ if handshake_sent && told_by_peer => self.note_closed_handshake(now, &cause),
            Phase::Authenticating(_) if told_by_peer => {
                cause.saying(format!("{cause} during the SASL exchange"))
            }
            _ => cause,
        };
        self.note_cause(&cause);
        let mut hold_back = Duration::ZERO;
        match &self.phase {
            Phase::Established(up) if up.closing.is_some() => return self.end(Reason::Closed),
            Phase::Established(up) => {
                if up.search.is_none() {
                    self.route.set_expiry(Some(up.keepalive.expiry()));
                }
                self.route.lost(now, told_by_peer);
                if told_by_peer {
                    hold_back = self.hold_back(now);
                }
                self.set_state(SessionState::Suspended);
                let reason = Reason::ConnectionLoss(cause);
                self.fail_in_flight(&reason);
                self.drop_removed_credentials(&reason);
            }
            phase => {
                if let Phase::Authenticating(exchange) = phase {
                    self.route.set_expiry(exchange.session_expiry());
                }
                self.route.failed(now);
                self.queue.reset_prologue();
            }
        }
        self.connect_when_due(now, hold_back);
    }

    /// Notes and logs why the connection, or the attempt to connect, has ended.
    pub(super) fn note_cause(&mut self, cause: &Cause) {
        self.last_cause = Some(match self.route.current() {
            Some(host) => cause.saying(format!("{host}: {cause}")),
            None => cause.clone(),
        });
        tracing::debug!(
            host = self.route.current().map(tracing::field::display),
            %cause,
            "connection lost"
        );
    }

    /// Fails all requests in the queue.
    fn fail_in_flight(&mut self, reason: &Reason) {
        self.queue.reset_buffers();
        self.watches.connection_lost();
        let mut removal_sent = false;
        while let Some((mut entry, path, sent)) = self.queue.pop_failed() {
            removal_sent |= sent && matches!(entry.change, Some(WatchChange::Unwanted(_)));
            self.fail(
                entry.take_caller(),
                entry.op,
                path,
                reason.clone(),
                Outcome::of_unanswered(sent),
            );
        }
        self.removals.connection_lost(removal_sent);
    }

    /// Outputs the result of a request. Inline, so that the reply is moved only once.
    #[inline]
    pub(super) fn complete(&mut self, caller: Caller<T>, result: Result<Reply, Box<Failure>>) {
        let Caller { id, token } = caller;
        self.outputs.push_back(Output::Completed { id, token, result });
    }

    pub(super) fn fail(
        &mut self,
        caller: Option<Caller<T>>,
        op: OpCode,
        path: Option<String>,
        reason: Reason,
        outcome: Outcome,
    ) {
        let Some(caller) = caller else { return };
        let failure = self.failure(reason, outcome, op, path.map(String::into_boxed_str));
        self.complete(caller, Err(failure));
    }

    /// Ends the session, with its requests and watches.
    pub(super) fn lose_session(&mut self, reason: &Reason) {
        self.route.set_expiry(None);
        self.set_state(SessionState::Lost);
        self.fail_in_flight(reason);
        for Watch { id, token, .. } in self.watches.clear() {
            self.outputs.push_back(Output::Unwatched { id, token, reason: reason.clone() });
        }
    }

    /// Ends the session; no other session follows.
    pub(super) fn end(&mut self, reason: Reason) {
        self.lose_session(&reason);
        let mut credentials = core::mem::take(&mut self.credentials);
        for registered in &mut credentials {
            self.fail_waiters(registered, &reason);
        }
        self.credentials = credentials;
        self.fail_reconnects(&reason);
        self.identity = Identity::unknown(self.config.session_timeout, self.identity.last_zxid);
        self.phase = Phase::Ended(reason);
    }

    /// Fails the callers that wait for this credential.
    pub(super) fn fail_waiters(&mut self, registered: &mut Registered<T>, reason: &Reason) {
        for caller in registered.waiters.drain(..) {
            let outcome = Outcome::of_unanswered(registered.sent);
            self.fail(Some(caller), OpCode::Auth, None, reason.clone(), outcome);
        }
    }

    /// Drops the removed credentials, which the connection that has ended had counted.
    pub(super) fn drop_removed_credentials(&mut self, reason: &Reason) {
        let (removed, kept): (Vec<_>, _) =
            core::mem::take(&mut self.credentials).into_iter().partition(|other| other.removed);
        self.credentials = kept;
        for mut registered in removed {
            self.fail_waiters(&mut registered, reason);
        }
    }

    pub(super) fn set_state(&mut self, state: SessionState) {
        if self.state != state {
            tracing::debug!(
                from = %self.state,
                to = %state,
                session = self.identity.id,
                host = self.route.current().map(tracing::field::display),
                "session state"
            );
            self.state = state;
            self.outputs.push_back(Output::State(state));
        }
    }

    pub(super) fn failure(
        &self,
        reason: Reason,
        outcome: Outcome,
        op: OpCode,
        path: Option<Box<str>>,
    ) -> Box<Failure> {
        Box::new(Failure {
            reason,
            outcome,
            op,
            path,
            chroot: Chroot::ROOT,
            version: None,
            host: self.route.current().cloned(),
            server_version: self.server_version(),
        })
    }
}
