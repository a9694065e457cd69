//! The handshake, with which a connection begins.
//!
//! The order on a new connection is: ConnectRequest, the [SASL exchange](super::sasl) if there is one, credentials,
//! watches, then requests.

use alloc::{boxed::Box, format, string::ToString};
use core::time::Duration;

use bytes::Bytes;

use crate::{
    OpCode, Time,
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, xid},
};

use super::{
    Established, Identity, Keepalive, Leaving, Phase, Search, Session, SessionState, Timeouts,
    auth_packet, rebalance::Move,
};

/// What the answer to a handshake has granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    /// When the answer came.
    pub(super) at: Time,
    /// When the handshake was sent.
    pub(super) sent: Time,
    pub(super) read_only: bool,
    pub(super) timeouts: Timeouts,
}

impl<T: Clone> Session<T> {
    pub(super) fn begin_handshake(&mut self, now: Time, deadline: Time) {
        let as_new = self.connects_as_new(now);
        let identity = &self.identity;
        let timeout = i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: if as_new { 0 } else { identity.last_zxid },
            timeout,
            session_id: if identity.confirmed { identity.id } else { 0 },
            password: Secret::new(Some(identity.password.expose())),
            read_only: Some(self.config.read_only.into()),
        };
        self.queue.prologue(|out| request.encode(out));
        self.phase = Phase::Handshake { deadline, sent: now, as_new };
    }

    /// Handles the answer to a handshake that was sent at `sent`. If `as_new`, the handshake said that no
    /// transaction was seen.
    pub(super) fn handle_handshake(&mut self, now: Time, sent: Time, as_new: bool, frame: &Bytes) {
        if self.queue.has_prologue() {
            return self.drop_connection(now, "handshake: an answer to what was not sent".into());
        }
        let response = match ConnectResponse::decode(&mut Reader::new(frame)) {
            Ok(response) => response,
            Err(error) => {
                // A read-only server that must not create sessions says so in a reply header.
                let refusal = ReplyHeader::decode_all(frame).map(|header| header.err.to_string());
                let cause = refusal.unwrap_or_else(|_| error.to_string());
                return self.drop_connection(now, format!("handshake: {cause}").into());
            }
        };
        if !as_new {
            self.closed_handshakes = None;
        }
        let resumed = self.identity.confirmed;
        let has_id = response.session_id != 0 || response.is_read_only();
        let timeout = match u64::try_from(response.timeout) {
            Ok(timeout @ 1..) if has_id => timeout,
            // A server that has the session would return its id and a timeout.
            _ if resumed => return self.handle_expired(now),
            Ok(1..) => return self.drop_connection(now, "handshake: no session id".into()),
            _ => {
                let cause = format!(
                    "handshake: the server refuses a new session (it grants a timeout of {} ms)",
                    response.timeout
                );
                return self.drop_connection(now, cause.into());
            }
        };
        let is_other = response.session_id != self.identity.id;
        if resumed && as_new && !is_other {
            let cause = "handshake: the server has the session, and may be behind what it has seen";
            self.route.prefer(self.route.current().cloned());
            return self.drop_connection(now, cause.into());
        }
        if resumed && is_other && !self.handle_replaced() {
            return;
        }
        let read_only = response.is_read_only();
        let timeouts =
            Timeouts::granted(Duration::from_millis(timeout), self.config.session_timeout);
        self.identity = Identity {
            id: response.session_id,
            password: Secret::new(response.password.expose().clone().unwrap_or_default()),
            last_zxid: if as_new { 0 } else { self.identity.last_zxid },
            confirmed: !read_only || (resumed && !is_other),
            timeouts,
        };
        self.closed_handshakes = None;
        let granted = Granted { at: now, sent, read_only, timeouts };
        if self.config.sasl {
            self.begin_sasl(granted);
        } else {
            self.establish(now, granted);
        }
    }

    /// Begins to use the session that the server has granted, which believes the client by now.
    pub(super) fn establish(&mut self, now: Time, granted: Granted) {
        let Granted { at, sent, read_only, timeouts } = granted;
        self.route.came_up(at);
        self.set_state(if read_only {
            SessionState::ConnectedReadOnly
        } else {
            SessionState::Connected
        });
        let rearming = self.send_prologue();
        self.phase = Phase::Established(Box::new(Established {
            keepalive: Keepalive::new(timeouts, sent, now),
            search: read_only.then(|| Search::new(now, &self.probes)),
            moving: Move::default(),
            credentials_sent: 0,
            credentials_acked: 0,
            rearming,
            closing: None,
            leaving: Leaving::Staying,
        }));
        self.complete_reconnects();
    }

    /// Queues the credentials and watches, which are sent before all requests. Returns the number of setWatches
    /// packets.
    fn send_prologue(&mut self) -> usize {
        for registered in &self.credentials {
            let packet = auth_packet(&registered.credential);
            self.queue.prologue(|out| {
                RequestHeader { xid: xid::AUTH, op: OpCode::Auth }.encode(out);
                packet.encode(out);
            });
        }
        self.rearm_watches(|queue, op, body| {
            queue.prologue(|out| {
                RequestHeader { xid: xid::SET_WATCHES, op }.encode(out);
                out.extend_from_slice(body);
            });
        })
    }
}
