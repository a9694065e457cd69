//! Expiry: a session has expired if a server says so, and never by this side's clock.
//!
//! A server says so in its answer to a handshake that resumes a session. Either the answer grants no
//! session ([`Session::handle_expired`]), or it grants another one ([`Session::handle_replaced`]). All
//! watches and requests of the session end with [`Reason::SessionExpired`] then.
//!
//! # Servers that close the connection instead of answering
//!
//! A server does so while it has no quorum, and if it is behind the newest transaction that the client
//! says it has seen (`ZooKeeperServer.processConnectRequest`): the client is to find one that has caught
//! up. If the servers have lost their data there is none, and the Java client tries for ever.
//!
//! This client puts the possible reasons into the error. Once the session timeout is over by this side's
//! clock, and every host has closed the connection for that long, the session *connects as new*
//! ([`Session::connects_as_new`]): it says that it has seen nothing, so that a server tells whether it
//! has the session.
//! - If the server does not know the session, the session has expired.
//! - If the server knows the session but is behind, the connection is dropped, so that no read returns
//!   older data than an earlier one.
//! - A new session that gets no answer either forgets what an earlier one had seen, after [`CATCH_UP`] at
//!   least: no member of an ensemble lags by so much.

use alloc::format;
use core::time::Duration;

use crate::Time;

use super::{Cause, Identity, Reason, Session};

/// How long a member of an ensemble may take to catch up, which is syncLimit ticks in the servers' sample
/// configuration.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Since when and how often servers have closed the connection instead of answering the handshake.
#[derive(Debug)]
pub(super) struct ClosedHandshakes {
    since: Time,
    times: usize,
}

impl<T: Clone> Session<T> {
    /// Handles the answer of a server that does not have the session which is to be resumed.
    pub(super) fn handle_expired(&mut self, now: Time) {
        self.note_cause(&"the session has expired".into());
        self.disconnect();
        if !self.config.renew_expired {
            return self.end(Reason::SessionExpired);
        }
        self.queue.reset_prologue();
        self.lose_session(&Reason::SessionExpired);
        // This server answers, so the new session is requested from it at once.
        let host = self.route.current().cloned();
        self.route.prefer(host);
        self.identity = Identity::unknown(self.config.session_timeout, self.identity.last_zxid);
        self.connect_when_due(now, Duration::ZERO);
    }

    /// Handles the answer of a server that grants another session than the one that is to be resumed, as some
    /// do if that one has expired. Returns whether the client goes on with the other session.
    pub(super) fn handle_replaced(&mut self) -> bool {
        if !self.config.renew_expired {
            self.disconnect();
            self.end(Reason::SessionExpired);
            return false;
        }
        self.lose_session(&Reason::SessionExpired);
        true
    }

    /// Notes that the server has closed the connection instead of answering the handshake. Returns the cause
    /// with the possible reasons.
    pub(super) fn note_closed_handshake(&mut self, now: Time, cause: &Cause) -> Cause {
        let closed_handshakes =
            self.closed_handshakes.get_or_insert(ClosedHandshakes { since: now, times: 0 });
        closed_handshakes.times = closed_handshakes.times.saturating_add(1);
        cause.saying(match self.identity.last_zxid {
            0 => format!("{cause} during the handshake"),
            zxid => format!(
                "{cause} during the handshake; the server may have no quorum, or be behind the newest \
                 transaction that this client has seen (zxid {zxid:#x})"
            ),
        })
    }

    /// Whether the next handshake says that no transaction was seen.
    pub(super) fn connects_as_new(&mut self, now: Time) -> bool {
        let timeout = self.identity.timeouts.bounded();
        let confirmed = self.identity.confirmed;
        let host_timeout = if confirmed { timeout } else { timeout.max(CATCH_UP) };
        let zxid = self.identity.last_zxid;
        let hosts = self.route.len();
        let over = zxid > 0 && self.route.session_time_left(now).is_none();
        let Some(closed_handshakes) = self.closed_handshakes.as_mut().filter(|_| over) else {
            return false;
        };
        if closed_handshakes.times < hosts || now.since(closed_handshakes.since) < host_timeout {
            return false;
        }
        closed_handshakes.times = 0;
        tracing::warn!(
            zxid = format_args!("{zxid:#x}"),
            "no server answers a client that has seen this transaction; asking as one that has not: \
             the servers may have lost data"
        );
        true
    }
}
