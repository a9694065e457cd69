//! The SASL exchange, with which a connection begins if [`Config::sasl`](super::Config::sasl) says so.
//!
//! It follows the handshake and precedes everything else: credentials, watches, requests, also pings
//! (`org.apache.zookeeper.ClientCnxn.SendThread`, `ZooKeeperSaslClient`). A server that demands SASL closes the
//! session if anything but SASL comes before, a ping too. The state is Connected only after the exchange.
//!
//! The session moves tokens and knows no mechanism. [`Output::Sasl`] asks for a step and
//! [`Session::handle_sasl`] takes the answer. Tokens have ordinary xids. An answer belongs to one step; the answer
//! to a step of an earlier connection is ignored.
//!
//! # What a server answers (`org.apache.zookeeper.server.ZooKeeperServer.processSasl`)
//!
//! | answer | meaning | then |
//! |---|---|---|
//! | no error, a token | the mechanism goes on | the next step |
//! | no error, no token, first answer | SASL is not configured on the server | the session ends |
//! | no error, no token, later | the mechanism decides: GSSAPI ends so. A server that lets refused clients in also answers so | the next step |
//! | AuthFailed, SessionClosedRequireSaslAuth | the server refuses the client, and closes | the session ends |
//! | another error, a close, silence | | the next host |
//!
//! # Limits
//!
//! An exchange has at most [`MAX_ROUNDS`] tokens of at most [`MAX_TOKEN`] bytes each way. It takes no longer than
//! a connection may be silent, two thirds of the session timeout: the server does not keep the session for longer.

use alloc::{boxed::Box, format, string::String, sync::Arc};

use bytes::Bytes;

use crate::{
    ErrorCode, HostPort, OpCode, Time,
    jute::{Decode, Encode, Reader, Secret},
    records::{ReplyHeader, SaslRequest, SaslResponse},
    sasl::{SaslError, Step},
};

use super::{Output, Phase, Reason, Session, handshake::Granted};

/// The most tokens that are sent. GSSAPI, which has the longest exchange, needs three or four.
const MAX_ROUNDS: u32 = 16;

/// The longest token, in bytes. Tokens of Kerberos may have some 64 KiB.
const MAX_TOKEN: usize = 128 << 10;

/// Names a step of a mechanism. No two steps of a session have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SaslStepId(u64);

/// An exchange on the present connection.
#[derive(Debug)]
pub(super) struct Exchange {
    granted: Granted,
    deadline: Time,
    due: Due,
    /// The number of tokens that were sent.
    rounds: u32,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Mechanism(SaslStepId),
    /// The server's, which answers the packet with this xid.
    Server(i32),
}

impl Exchange {
    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Why the exchange is over at its deadline.
    pub(super) fn overdue(&self) -> String {
        let who = match self.due {
            Due::Mechanism(_) => "the mechanism, or the callback for the credentials,",
            Due::Server(_) => "the server",
        };
        format!("SASL: {who} has not answered in time")
    }

    /// Until when the servers keep the session, as far as this side can tell; `None` if the session is of a
    /// read-only server. Tokens do not count as signs of life on the server.
    pub(super) fn session_expiry(&self) -> Option<Time> {
        let Granted { sent, read_only, timeouts, .. } = self.granted;
        (!read_only).then(|| sent.after(timeouts.bounded()))
    }
}

impl<T: Clone> Session<T> {
    /// Sets whether later connections begin with a SASL exchange; see
    /// [`Config::sasl`](super::Config::sasl). The present connection is not affected.
    pub const fn set_sasl(&mut self, sasl: bool) {
        self.config.sasl = sasl;
    }

    pub(super) fn begin_sasl(&mut self, granted: Granted) {
        let deadline = granted.at.after(granted.timeouts.read());
        let step = self.next_sasl_step();
        let due = Due::Mechanism(step);
        self.phase =
            Phase::Authenticating(Box::new(Exchange { granted, deadline, due, rounds: 0 }));
        self.ask_mechanism(step, deadline, None);
    }

    const fn next_sasl_step(&mut self) -> SaslStepId {
        self.sasl_steps = self.sasl_steps.saturating_add(1);
        SaslStepId(self.sasl_steps)
    }

    fn ask_mechanism(&mut self, step: SaslStepId, deadline: Time, token: Option<Bytes>) {
        let host = self.sasl_host();
        let token = token.map(Secret::new);
        self.outputs.push_back(Output::Sasl { step, host, token, deadline });
    }

    fn sasl_host(&self) -> Arc<HostPort> {
        // There is a connection, so there is a host.
        self.route.current().cloned().unwrap_or_else(|| Arc::new(HostPort::new("", 0)))
    }

    /// Tells the session what the mechanism answered to a step that [`Output::Sasl`] asked for. The session
    /// ignores the answer if it has left the connection meanwhile.
    ///
    /// After a [transient](SaslError::is_transient) error the session tries the next host, after pauses as for
    /// other failures to connect. After another error it ends with [`Reason::SaslFailed`].
    pub fn handle_sasl(&mut self, now: Time, step: SaslStepId, answer: Result<Step, SaslError>) {
        let Phase::Authenticating(exchange) = &mut self.phase else { return };
        if exchange.due != Due::Mechanism(step) || self.queued_disconnects > 0 {
            return;
        }
        match answer {
            Ok(Step::Respond(token)) if token.expose().len() > MAX_TOKEN => {
                self.fail_sasl(SaslError::OverLimit("a token that is too long"));
            }
            Ok(Step::Respond(_)) if exchange.rounds >= MAX_ROUNDS => {
                self.fail_sasl(SaslError::OverLimit("too many tokens"));
            }
            Ok(Step::Respond(token)) => {
                let packet = SaslRequest { token: Secret::new(Some(token.expose())) };
                let xid = self.queue.numbered_prologue(OpCode::Sasl, |out| packet.encode(out));
                exchange.rounds = exchange.rounds.saturating_add(1);
                exchange.due = Due::Server(xid);
            }
            Ok(Step::Done) => {
                let granted = exchange.granted;
                tracing::debug!(
                    host = self.route.current().map(tracing::field::display),
                    "authenticated with SASL"
                );
                self.establish(now, granted);
            }
            Err(error) if error.is_transient() => {
                self.drop_connection(now, format!("SASL: {error}").into());
            }
            Err(error) => self.fail_sasl(error),
        }
    }

    /// Handles a packet that comes in during an exchange: the answer to a token.
    pub(super) fn handle_sasl_packet(&mut self, now: Time, frame: &Bytes) {
        match self.read_sasl_packet(frame) {
            Ok(Answer::Token(token)) => {
                let step = self.next_sasl_step();
                let Phase::Authenticating(exchange) = &mut self.phase else { return };
                exchange.due = Due::Mechanism(step);
                let deadline = exchange.deadline;
                self.ask_mechanism(step, deadline, Some(token));
            }
            Ok(Answer::End(error)) => self.fail_sasl(error),
            Err(cause) => self.drop_connection(now, format!("SASL: {cause}").into()),
        }
    }

    /// Reads the answer to a token. An error is a reason to drop the connection.
    fn read_sasl_packet(&self, frame: &Bytes) -> Result<Answer, String> {
        let Phase::Authenticating(exchange) = &self.phase else { return Err(String::new()) };
        let mut input = Reader::new(frame);
        let header = ReplyHeader::decode(&mut input).map_err(|error| format!("{error}"))?;
        if self.queue.has_prologue() || exchange.due != Due::Server(header.xid) {
            return Err(format!("a packet with xid {} out of turn", header.xid));
        }
        match header.err {
            ErrorCode::Ok => {}
            ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireSaslAuth => {
                return Ok(Answer::End(SaslError::Refused));
            }
            error => return Err(format!("{error}")),
        }
        let response = SaslResponse::decode(&mut input).map_err(|error| format!("{error}"))?;
        Ok(match response.token.expose() {
            None if exchange.rounds == 1 => Answer::End(SaslError::NotConfigured),
            Some(token) if token.len() > MAX_TOKEN => {
                Answer::End(SaslError::OverLimit("a token that is too long"))
            }
            token => Answer::Token(token.clone().unwrap_or_default()),
        })
    }

    /// Ends the session: the same would happen on the next connection.
    fn fail_sasl(&mut self, error: SaslError) {
        let reason = Reason::SaslFailed { host: self.sasl_host(), error };
        self.last_cause = Some(format!("{reason}").into());
        tracing::debug!(%reason, "connection lost");
        self.disconnect();
        self.end(reason);
    }
}

/// What a server answered to a token.
enum Answer {
    Token(Bytes),
    End(SaslError),
}
