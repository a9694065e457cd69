//! The client's session as a state machine.
//!
//! The caller tells a [`Session`] what has happened and when, and polls it for what to do:
//!
//! | in | out |
//! |---|---|
//! | [`start`](Session::start), [`submit`](Session::submit), [`add_auth`](Session::add_auth), [`reconnect`](Session::reconnect), [`close`](Session::close) | [`poll_output`](Session::poll_output): connect, disconnect, probe, a step of SASL, state changes, results, events |
//! | [`handle_connected`](Session::handle_connected), [`handle_data`](Session::handle_data), [`handle_disconnected`](Session::handle_disconnected), [`handle_probed`](Session::handle_probed), [`handle_sasl`](Session::handle_sasl) | [`poll_transmit`](Session::poll_transmit): bytes for the socket |
//! | [`handle_timeout`](Session::handle_timeout) | [`poll_timeout`](Session::poll_timeout): when the next timeout is due |
//!
//! The first picture shows the phases of the connection (`Phase` in the source), the second one the states of
//! the session ([`SessionState`]):
//!
//! ```text
//!            start                connect, handshake              reply: session
//!  Idle ───────────▶ Connecting ───────────────────▶ Handshake ─────────────▶ Established
//!                     ▲     ▲                         │  │                     ▲ │  │ closeSession
//!             backoff │     └────── refused, timed out ──┘     silence, reset, │ │  │ auth refused
//!                     │                               │        bad packet      │ │  ▼
//!                  Waiting ◀───────────────────────────────────────────────────┼─┘ Ended
//!                     ▲                 if SASL is on ▼                        │    ▲
//!                     └── closed, timed out ── Authenticating ── accepted ─────┘    │
//!                                                     └───────── refused ───────────┘
//!
//!  LOST ──────────────────────────────────────────────────────────────────────▶ CONNECTED
//!   ▲  ▲                                                                        │ │    ▲
//!   │  └──────── expired: the server says so at the next handshake ── SUSPENDED◀┘ │    │
//!   │                                                                     └──same session
//!   └───────────────────── closed, auth refused ──────────────────────────────────┘
//! ```
//!
//! The session guarantees that
//! - each request ends exactly once, and requests end in the order in which they were submitted; credentials
//!   have an order of their own, as servers answer them out of turn;
//! - nothing is sent twice except for credentials and watches, which each new connection needs;
//! - the event of a watch is output before any reply that the server sent after it;
//! - a change of state is output before the requests and watches that it ends, and before any result of the
//!   new state;
//! - the same inputs give the same outputs.
//!
//! In the source, this file has the public methods and the state. Each of the other files has one concern:
//!
//! | | |
//! |---|---|
//! | `config`, `output`, `failure` | what a session is made with, its outputs, how requests fail and with which outcome |
//! | `route`, `pace` | which host comes next, when, and how much time it gets |
//! | `connection`, `handshake` | how connections begin and end |
//! | `sasl` | the SASL exchange that a connection begins with |
//! | `expiry` | when a session has expired |
//! | `keepalive` | when a ping is sent, when a connection is dead, until when the session is held |
//! | `rebalance` | which clients move when the list of hosts changes |
//! | `read_only` | the search for a server that takes writes |
//! | `requests`, `request_queue`, `replies` | which requests are accepted, the queue of requests, and what the server sends |
//! | `watches`, `rearm` | which watches are armed, whom an event is for, and how watches are armed again |
//! | `reconnect` | how a session moves to a new connection, so that a server forgets a credential |
//! | `removals` | the removal of unwanted watches from the server |
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod config;
mod connection;
mod expiry;
mod failure;
mod handshake;
mod keepalive;
mod output;
mod pace;
mod persistent;
mod read_only;
mod rearm;
mod rebalance;
mod reconnect;
mod removals;
mod replies;
mod request_queue;
mod requests;
mod route;
mod sasl;
#[cfg(test)]
mod tests;
mod watches;

use alloc::{boxed::Box, collections::VecDeque, format, string::String, sync::Arc, vec::Vec};
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::{
    Chroot, HostPort, OpCode, Time,
    frame::{Frame, FrameError, FrameReader},
    jute::Secret,
    rng::Rng,
};

pub use crate::backoff::Backoff;
pub use config::{Config, Credential, SessionId, SessionTicket};
pub use failure::{Cause, Failure, Outcome, QueueLimit, Reason};
pub use output::{ConnectionState, Output, Probed, Reply, RequestId, SessionState, WatchedEvent};
pub use sasl::SaslStepId;

use expiry::ClosedHandshakes;
use keepalive::{Keepalive, Timeouts};
use read_only::{Probes, Search};
use rebalance::Move;
use reconnect::Leaving;
use removals::Removals;
use request_queue::{RequestQueue, Submission};
use requests::auth_packet;
use route::Route;
use sasl::Exchange;
use watches::{WatchKind, WatchTable};

/// Says what a host may be whose first answer is not a ZooKeeper packet.
const fn not_zookeeper_hint(error: FrameError) -> &'static str {
    let FrameError::BadLength(length) = error;
    match length.to_be_bytes() {
        [b'H', b'T', b'T', b'P'] => ": it is HTTP; is this a ZooKeeper port?",
        // The records of TLS: an alert, a handshake.
        [0x15 | 0x16, 3, ..] => ": it is TLS; is this a ZooKeeper port without TLS?",
        _ => ": is this a ZooKeeper port?",
    }
}

/// The phase of the connection.
#[derive(Debug)]
enum Phase {
    Idle,
    /// The next attempt to connect begins at `until`, or at `earliest` if a request comes in before.
    Waiting {
        until: Time,
        earliest: Time,
    },
    Connecting {
        deadline: Time,
    },
    /// The handshake was sent at `sent`; if `as_new`, it said that no transaction was seen.
    Handshake {
        deadline: Time,
        sent: Time,
        as_new: bool,
    },
    /// A session is granted, and the SASL exchange goes on.
    Authenticating(Box<Exchange>),
    Established(Box<Established>),
    Ended(Reason),
}

/// A connection with a session on it.
#[derive(Debug)]
struct Established {
    keepalive: Keepalive,
    /// On a read-only server: the search for one that takes writes.
    search: Option<Search>,
    /// The hosts that the session may move to, because the list of hosts has changed.
    moving: Move,
    /// The number of credentials that were sent on this connection.
    credentials_sent: usize,
    /// The number of credentials that the server has acknowledged.
    credentials_acked: usize,
    /// The number of setWatches packets that are not acknowledged yet.
    rearming: usize,
    /// If closeSession was sent: until when to wait for its reply.
    closing: Option<Time>,
    /// Whether the session is about to move to another connection.
    leaving: Leaving,
}

impl Established {
    /// Whether the server has acknowledged all credentials and watches that the connection began with.
    const fn is_settled(&self, credentials: usize) -> bool {
        self.rearming == 0 && self.credentials_acked >= credentials
    }
}

/// What identifies the session to the servers.
#[derive(Debug)]
struct Identity {
    /// 0 until a server has assigned one.
    id: i64,
    password: Secret<Bytes>,
    last_zxid: i64,
    /// Whether a server with a quorum knows the session. A session that has only been on read-only servers
    /// is not resumed on another server.
    confirmed: bool,
    timeouts: Timeouts,
}

impl Identity {
    fn unknown(session_timeout: Duration, last_zxid: i64) -> Self {
        Self {
            id: 0,
            password: Secret::new(Bytes::from_static(&[0; 16])),
            last_zxid,
            confirmed: false,
            timeouts: Timeouts::requested(session_timeout),
        }
    }
}

/// The caller of a request: the id that the request got, and the token that came with it.
#[derive(Debug)]
struct Caller<T> {
    id: RequestId,
    token: T,
}

/// A credential, and the callers that wait for the server to accept it.
#[derive(Debug)]
struct Registered<T> {
    credential: Credential,
    waiters: Vec<Caller<T>>,
    /// Whether it was ever sent.
    sent: bool,
    /// Whether it was removed: the present connection still counts it, later ones do not send it.
    removed: bool,
}

impl<T> Registered<T> {
    const fn new(credential: Credential) -> Self {
        Self { credential, waiters: Vec::new(), sent: false, removed: false }
    }
}

/// A client's session. See the [module](self) for the contract.
///
/// Each request comes with a token of type `T`. The session returns the token with the result, and a clone of
/// it with every event of the watch that the request arms. The token is for whatever the caller needs to
/// deliver the result. A caller that needs only the [`RequestId`] uses `()`.
#[derive(Debug)]
pub struct Session<T> {
    config: Config,
    rng: Rng,
    state: SessionState,
    phase: Phase,
    identity: Identity,
    route: Route,
    queue: RequestQueue<T>,
    watches: WatchTable<T>,
    removals: Removals,
    credentials: Vec<Registered<T>>,
    /// Those who wait for a new connection.
    reconnecting: Vec<Caller<T>>,
    last_id: u64,
    outputs: VecDeque<Output<T>>,
    /// When the last request was submitted.
    last_request: Option<Time>,
    probes: Probes,
    /// The number of [`Output::Disconnect`] among `outputs`. Until they are polled, what is heard of a
    /// connection is about the one that the session has left.
    queued_disconnects: usize,
    /// A buffer for the absolute path of a request, which saves an allocation per request.
    scratch: String,
    /// A host, and the version that it has.
    server_version: Option<(HostPort, [u32; 3])>,
    /// How the last connection, or the last attempt at one, ended.
    last_cause: Option<Cause>,
    /// The handshakes since the last one that was answered.
    closed_handshakes: Option<ClosedHandshakes>,
    /// The number of steps that SASL mechanisms were asked for.
    sasl_steps: u64,
}

impl<T: Clone> Session<T> {
    /// Creates a session, which does nothing until [`start`](Self::start) is called.
    ///
    /// `seed` determines the order of hosts and the jitter of pauses. It should differ from client to client.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let route = Route::new(&config.hosts, config.randomize_hosts, config.backoff, &mut rng);
        let mut identity = Identity::unknown(config.session_timeout, 0);
        if let Some(ticket) = &config.resume {
            identity.id = ticket.id.0;
            identity.password = ticket.password.clone();
            identity.last_zxid = ticket.last_zxid;
            identity.confirmed = true;
        }
        let mut credentials: Vec<Registered<T>> = Vec::new();
        for credential in &config.auth {
            if credentials.iter().all(|other| other.credential != *credential) {
                credentials.push(Registered::new(credential.clone()));
            }
        }
        Self {
            config,
            rng,
            state: SessionState::Lost,
            phase: Phase::Idle,
            identity,
            route,
            queue: RequestQueue::new(),
            watches: WatchTable::default(),
            removals: Removals::default(),
            credentials,
            reconnecting: Vec::new(),
            last_id: 0,
            outputs: VecDeque::new(),
            last_request: None,
            probes: Probes::default(),
            queued_disconnects: 0,
            scratch: String::new(),
            server_version: None,
            last_cause: None,
            closed_handshakes: None,
            sasl_steps: 0,
        }
    }

    // ---- calls of the user ------------------------------------------------------------------------

    /// Starts to connect. Later calls have no effect.
    pub fn start(&mut self, now: Time) {
        if matches!(self.phase, Phase::Idle) {
            self.connect_when_due(now, Duration::ZERO);
        }
    }

    /// Forgets a watch: there are no more outputs for it. If the request that arms it is not answered yet, the
    /// request goes on, and arms nothing.
    ///
    /// The watch is removed from the server once no other watch needs it there: see
    /// [`Config::unwatch_after`].
    ///
    /// Returns the token of the watch if it was armed.
    pub fn unwatch(&mut self, now: Time, id: RequestId) -> Option<T> {
        let due = self.removal_due(now);
        let token = self.watches.disarm(id, due);
        if token.is_none() {
            self.queue.forget_watch(id);
        }
        token
    }

    /// Closes the session.
    ///
    /// Requests that were submitted before are carried out first. Then the session sends closeSession and
    /// waits for the reply for at most [`Config::close_timeout`], and the state becomes
    /// [`SessionState::Lost`]. Without a connection the session ends at once, and the servers let it expire.
    ///
    /// If the session has already ended for another reason, such as a refused credential, the reason is
    /// [`Closed`](Reason::Closed) from now on.
    pub fn close(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Established(up) if up.closing.is_none() => {
                up.closing = Some(now.after(self.config.close_timeout));
                // What waits for the next connection is carried out on this one.
                up.leaving = Leaving::Staying;
                let submission = Submission {
                    op: OpCode::CloseSession,
                    change: None,
                    version: None,
                    path: None,
                    chroot: &Chroot::default(),
                };
                // A header is within any limit.
                let _ = self.queue.submit(now, usize::MAX, None, &submission, |_| {});
            }
            Phase::Established(_) => {}
            Phase::Ended(reason) => *reason = Reason::Closed,
            Phase::Idle | Phase::Waiting { .. } => self.end(Reason::Closed),
            Phase::Connecting { .. } | Phase::Handshake { .. } | Phase::Authenticating(_) => {
                self.disconnect();
                self.end(Reason::Closed);
            }
        }
    }

    // ---- events of the connection and the clock ---------------------------------------------------

    /// Tells the session that the connection which [`Output::Connect`] asked for is open.
    pub fn handle_connected(&mut self, now: Time) {
        match self.phase {
            Phase::Connecting { deadline } if self.queued_disconnects == 0 => {
                self.begin_handshake(now, deadline);
            }
            _ => {}
        }
    }

    /// Tells the session that bytes have come in. It takes all complete frames out of `input`.
    pub fn handle_data(&mut self, now: Time, input: &mut FrameReader) {
        if let Phase::Established(up) = &mut self.phase {
            up.keepalive.received(now, input.received());
        }
        while matches!(
            self.phase,
            Phase::Handshake { .. } | Phase::Authenticating(_) | Phase::Established(_)
        ) && self.queued_disconnects == 0
        {
            match input.next_frame() {
                Ok(Some(Frame::Whole(frame))) => match self.phase {
                    Phase::Handshake { sent, as_new, .. } => {
                        self.handle_handshake(now, sent, as_new, &frame);
                    }
                    Phase::Authenticating(_) => self.handle_sasl_packet(now, &frame),
                    _ => self.handle_packet(now, &frame),
                },
                Ok(Some(Frame::Oversize { head, length })) => {
                    self.handle_oversize(now, &head, length);
                }
                Ok(None) => {
                    if let Phase::Established(up) = &mut self.phase {
                        up.keepalive.missing(input.missing());
                    }
                    return;
                }
                Err(error) => {
                    let is_first = matches!(self.phase, Phase::Handshake { .. });
                    let hint = if is_first { not_zookeeper_hint(error) } else { "" };
                    self.drop_connection(now, format!("{error}{hint}").into());
                }
            }
        }
    }

    /// Tells the session that the connection, or the attempt to connect, has ended. `cause` says why, for
    /// errors and logs.
    pub fn handle_disconnected(&mut self, now: Time, cause: impl Into<Cause>) {
        let connected = matches!(
            self.phase,
            Phase::Connecting { .. }
                | Phase::Handshake { .. }
                | Phase::Authenticating(_)
                | Phase::Established(_)
        );
        if connected && self.queued_disconnects == 0 {
            self.lose_connection(now, cause.into(), true);
        }
    }

    /// Tells the session that the clock has reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Idle | Phase::Ended(_) => {}
            Phase::Waiting { until, .. } if *until <= now => self.connect(now),
            Phase::Connecting { deadline } if *deadline <= now => {
                self.drop_connection(now, "timed out connecting".into());
            }
            Phase::Handshake { deadline, .. } if *deadline <= now => {
                self.drop_connection(now, "no answer to the handshake".into());
            }
            Phase::Authenticating(exchange) if exchange.deadline() <= now => {
                let cause = exchange.overdue();
                self.drop_connection(now, cause.into());
            }
            Phase::Waiting { .. }
            | Phase::Connecting { .. }
            | Phase::Handshake { .. }
            | Phase::Authenticating(_) => {}
            Phase::Established(up) => {
                if up.closing.is_some_and(|until| until <= now) {
                    self.drop_connection(now, "no answer to closeSession".into());
                } else if !self.drop_if_dead(now) && !self.is_draining() {
                    self.ping_if_due(now);
                    self.search_writable(now);
                    self.remove_unwanted(now);
                }
            }
        }
    }

    /// Appends the bytes that are to be sent to `out`; they count as sent from now on. Returns whether there
    /// were any.
    pub fn poll_transmit(&mut self, now: Time, out: &mut BytesMut) -> bool {
        match &mut self.phase {
            Phase::Established(up) if up.leaving == Leaving::Draining => false,
            Phase::Established(up) => {
                if up.leaving == Leaving::SendingLast {
                    up.leaving = Leaving::Draining;
                }
                let sent = self.queue.transmit(true, out);
                if sent {
                    up.keepalive.sent(now);
                    for registered in self.credentials.iter_mut().skip(up.credentials_sent) {
                        registered.sent = true;
                    }
                    up.credentials_sent = self.credentials.len();
                }
                sent
            }
            _ => self.queue.transmit(false, out),
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has bytes to send.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        let sends = matches!(self.phase, Phase::Established(_)) && !self.is_draining();
        self.queue.has_output(sends)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next; `None` if it need not be.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Idle | Phase::Ended(_) => None,
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Connecting { deadline } | Phase::Handshake { deadline, .. } => Some(*deadline),
            Phase::Established(up) if up.leaving == Leaving::Draining => {
                Some(up.keepalive.dead_at())
            }
            Phase::Authenticating(exchange) => Some(exchange.deadline()),
            Phase::Established(up) => {
                let due = up.keepalive.dead_at().min(up.keepalive.ping_due());
                let search = up.search.as_ref().and_then(Search::due);
                let removal = self.next_removal_due();
                [search, removal, up.closing].into_iter().flatten().fold(due, Time::min).into()
            }
        }
    }

    /// Returns the next output. After every input, poll until this returns `None`.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Disconnect)) {
            self.queued_disconnects = self.queued_disconnects.saturating_sub(1);
        }
        output
    }

    // ---- queries ----------------------------------------------------------------------------------

    /// The state of the session.
    #[must_use]
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// The state of the connection.
    #[must_use]
    pub const fn connection_state(&self) -> ConnectionState {
        match &self.phase {
            Phase::Idle => ConnectionState::Closed,
            Phase::Waiting { .. }
            | Phase::Connecting { .. }
            | Phase::Handshake { .. }
            | Phase::Authenticating(_) => ConnectionState::Connecting,
            Phase::Established(up) if up.search.is_some() => ConnectionState::ConnectedReadOnly,
            Phase::Established(_) => ConnectionState::Connected,
            Phase::Ended(
                Reason::AuthFailed { .. } | Reason::AuthRequired { .. } | Reason::SaslFailed { .. },
            ) => ConnectionState::AuthFailed,
            Phase::Ended(Reason::SessionExpired) => ConnectionState::ExpiredSession,
            Phase::Ended(_) => ConnectionState::Closed,
        }
    }

    /// The ticket with which another process can resume this session. Returns `None` before a server with a
    /// quorum has granted a session, and after the session has ended.
    #[must_use]
    pub fn ticket(&self) -> Option<SessionTicket> {
        let id = self.session_id().filter(|_| self.identity.confirmed)?;
        Some(SessionTicket {
            id,
            password: self.identity.password.clone(),
            last_zxid: self.identity.last_zxid,
        })
    }

    /// The session's id. Returns `None` before a server has granted a session, and after it has ended.
    #[must_use]
    pub const fn session_id(&self) -> Option<SessionId> {
        match self.identity.id {
            0 => None,
            id => Some(SessionId(id)),
        }
    }

    /// The session timeout that the server has granted; before that, the one that will be requested.
    #[must_use]
    pub const fn session_timeout(&self) -> Duration {
        self.identity.timeouts.session()
    }

    /// The zxid of the newest transaction that the session has seen.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.identity.last_zxid
    }

    /// The host of the present connection, or of the last attempt to connect.
    #[must_use]
    pub const fn host(&self) -> Option<&Arc<HostPort>> {
        self.route.current()
    }

    /// Notes the version of a host, for the failures of later requests on it. The protocol does not tell it.
    pub fn note_server_version(&mut self, host: &HostPort, version: [u32; 3]) {
        self.server_version = Some((host.clone(), version));
    }

    /// The version of the present host, if it was noted.
    fn server_version(&self) -> Option<[u32; 3]> {
        let (host, version) = self.server_version.as_ref()?;
        (self.route.current().is_some_and(|current| **current == *host)).then_some(*version)
    }

    /// Why the last connection, or the last attempt to connect, ended, and on which host.
    #[must_use]
    pub fn last_cause(&self) -> Option<&str> {
        self.last_cause.as_ref().map(Cause::as_str)
    }

    /// Like [`last_cause`](Self::last_cause), with the underlying error as its source.
    #[must_use]
    pub const fn last_failure(&self) -> Option<&Cause> {
        self.last_cause.as_ref()
    }

    /// Whether the session has ended or is being closed. It accepts no more requests then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed_reason().is_some()
    }

    /// Why the session has ended; `None` if it has not.
    #[must_use]
    pub fn end_reason(&self) -> Option<Reason> {
        match &self.phase {
            Phase::Ended(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// The settings of the session.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The number of requests that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.len().saturating_sub(self.removals.in_flight())
    }

    /// The number of requests of the session's own that wait for an answer: removals of
    /// [unwanted](Config::unwatch_after) watches, and persistent watches that are added again.
    #[must_use]
    pub const fn removing(&self) -> usize {
        self.removals.in_flight()
    }

    /// The number of armed watches.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.watches.len()
    }
}
