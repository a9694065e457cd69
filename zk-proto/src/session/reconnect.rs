//! Reconnecting at the caller's wish, so that a server forgets what the connection has authenticated.
//!
//! A server keeps the identities of a connection until it ends: added credentials, the certificate of TLS, the user of
//! SASL. To withdraw one, the session moves to a new connection, and loses no request by it:
//!
//! ```text
//!  Staying ── reconnect ──▶ SendingLast ── all that was queued is sent ──▶ Draining ── all is answered ──▶ leave
//! ```
//!
//! While it drains, nothing is sent. Requests that are submitted meanwhile wait for the next connection. If the server
//! does not answer, the connection is dead after the usual time, and its requests fail as with any lost connection.

use alloc::{boxed::Box, format};

use crate::{OpCode, Response, Time};

use super::{Caller, Failure, Outcome, Phase, Reason, Reply, RequestId, Session, SessionState};

/// How far a connection is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It stays.
    Staying,
    /// What is queued is still sent.
    SendingLast,
    /// Nothing more is sent. The session leaves when everything that was sent is answered.
    Draining,
}

impl<T: Clone> Session<T> {
    /// Moves the session to a new connection, with the credentials that it has then.
    ///
    /// Requests that were submitted before are sent and answered first; later ones are sent on the new connection. The
    /// session goes on: it is [`Suspended`](SessionState::Suspended) in between, as after a lost connection, and its
    /// watches are armed again. An attempt to connect that is in progress begins again.
    ///
    /// The result comes as [`Output::Completed`](super::Output::Completed) with `token`, once the server has
    /// acknowledged all credentials and watches of the new connection. If the session expires meanwhile, that is the
    /// connection of the next one.
    ///
    /// # Errors
    /// If the session was not started, has ended, or is being closed.
    pub fn reconnect(&mut self, now: Time, token: T) -> Result<RequestId, Box<Failure>> {
        let refused = match self.phase {
            Phase::Idle => Some(Reason::NotStarted),
            _ => self.closed_reason(),
        };
        if let Some(reason) = refused {
            return Err(self.failure(reason, Outcome::NotSent, OpCode::CreateSession, None));
        }
        let id = RequestId(self.last_id.saturating_add(1));
        self.last_id = id.0;
        self.reconnecting.push(Caller { id, token });
        match &self.phase {
            Phase::Established(_) => self.begin_leaving(now),
            Phase::Waiting { .. } => self.note_request(now),
            _ => {
                self.route.prefer(self.route.current().cloned());
                self.drop_connection(now, "the client reconnects".into());
            }
        }
        Ok(id)
    }

    /// Leaves the connection once everything that was submitted is answered.
    pub(super) fn begin_leaving(&mut self, now: Time) {
        let Phase::Established(up) = &mut self.phase else { return };
        up.leaving =
            if self.queue.has_output(true) { Leaving::SendingLast } else { Leaving::Draining };
        self.leave_if_drained(now);
    }

    /// Whether the connection is about to be left, and nothing more is sent on it.
    pub(super) fn is_draining(&self) -> bool {
        matches!(&self.phase, Phase::Established(up) if up.leaving == Leaving::Draining)
    }

    /// Leaves the connection, if that was asked for and everything that was sent is answered.
    pub(super) fn leave_if_drained(&mut self, now: Time) {
        let Phase::Established(up) = &self.phase else { return };
        if up.leaving != Leaving::Draining
            || self.queue.has_unanswered()
            || !up.is_settled(up.credentials_sent)
        {
            return;
        }
        if up.search.is_none() {
            self.route.set_expiry(Some(up.keepalive.expiry()));
        }
        let (next, cause) = match up.moving.accepted() {
            Some(host) => {
                let cause = format!("moving to {host}, so that the load is even");
                (Some(host.clone()), cause.into())
            }
            None => (self.route.current().cloned(), "the client reconnects".into()),
        };
        self.disconnect();
        self.note_cause(&cause);
        self.route.lost(now, false);
        self.route.prefer(next);
        self.set_state(SessionState::Suspended);
        self.watches.forget_unwanted();
        self.removals.connection_lost(false);
        self.drop_removed_credentials(&Reason::CredentialRemoved);
        self.connect_when_due(now, core::time::Duration::ZERO);
    }

    /// Completes the callers that wait for a new connection, if this is one and the server has acknowledged all that
    /// it began with.
    pub(super) fn complete_reconnects(&mut self) {
        match &self.phase {
            Phase::Established(up)
                if up.closing.is_none()
                    && up.leaving == Leaving::Staying
                    && up.is_settled(self.credentials.len()) => {}
            _ => return,
        }
        for caller in core::mem::take(&mut self.reconnecting) {
            let reply = Reply { zxid: self.identity.last_zxid, response: Response::Empty };
            self.complete(caller, Ok(reply));
        }
    }

    /// Fails the callers that wait for a new connection: there will be none.
    pub(super) fn fail_reconnects(&mut self, reason: &Reason) {
        for caller in core::mem::take(&mut self.reconnecting) {
            let op = OpCode::CreateSession;
            self.fail(Some(caller), op, None, reason.clone(), Outcome::NotSent);
        }
    }
}
