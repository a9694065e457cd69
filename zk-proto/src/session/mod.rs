//! The client's session as a state machine.
//!
//! [`Session`] is driven by calls that say what happened and when, and polled for what to do:
//!
//! | in | out |
//! |---|---|
//! | [`start`](Session::start), [`submit`](Session::submit), [`add_auth`](Session::add_auth), [`close`](Session::close) | [`poll_output`](Session::poll_output): connect, disconnect, probe, state changes, results, events |
//! | [`handle_connected`](Session::handle_connected), [`handle_data`](Session::handle_data), [`handle_disconnected`](Session::handle_disconnected), [`handle_probed`](Session::handle_probed) | [`poll_transmit`](Session::poll_transmit): bytes for the socket |
//! | [`handle_timeout`](Session::handle_timeout) | [`poll_timeout`](Session::poll_timeout): when that is due |
//!
//! The states that a user sees ([`State`]), on the left the connection's (`Link` in the source):
//!
//! ```text
//!            start                connect, handshake              reply: session
//!  Idle ───────────▶ Connecting ───────────────────▶ Handshake ─────────────────▶ Up
//!                     ▲     ▲                            │                      │  │ closeSession
//!             backoff │     └────── refused, timed out ──┘     silence, reset,  │  │ auth refused
//!                     │                                        bad packet       │  ▼
//!                  Waiting ◀────────────────────────────────────────────────────┘ Ended
//!
//!  LOST ──────────────────────────────────────────────────────────────────────▶ CONNECTED
//!   ▲  ▲                                                                        │ │    ▲
//!   │  └──────── expired: the server says so at the next handshake ── SUSPENDED◀┘ │    │
//!   │                                                                     └──same session
//!   └───────────────────── closed, auth refused ──────────────────────────────────┘
//! ```
//!
//! What holds here:
//! - a request ends exactly once, in the order of requests (credentials, which servers answer out of
//!   turn, in an order of their own); nothing is ever sent twice, but for credentials and watches, which
//!   each connection needs anew;
//! - a watch's event comes out before any reply that the server sent after it;
//! - a state change comes out before whatever it ends, and before any result of the new state;
//! - the same inputs give the same outputs.
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
mod failure;
mod handshake;
mod keepalive;
mod outgoing;
mod read_only;
mod replies;
mod route;
#[cfg(test)]
mod tests;
mod watches;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use crate::{
    AddWatchMode, Chroot, EventType, HostPort, OpCode, Request, Response, Time, Ustring,
    frame::{Frame, FrameReader},
    jute::{Encode, Secret},
    records::{AuthPacket, xid},
    rng::Rng,
};

pub use config::{Config, Credential, SessionId, SessionTicket};
pub use failure::{Failure, Outcome, Reason};
pub use route::Backoff;
pub use watches::WatchKind;

use keepalive::{Keepalive, Timeouts};
use outgoing::{Outgoing, Submission, WatchChange};
use read_only::Search;
use route::Route;
use watches::WatchTable;

/// A request's number, growing from call to call; also the number of the watch that it arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How the session stands, as kazoo's `KazooState` with read-only told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// There is no session: not yet, or no more. Ephemeral nodes and watches are gone.
    Lost,
    /// The connection is lost; the session may live on. Held locks must be doubted.
    Suspended,
    /// The session lives.
    Connected,
    /// The session lives on a server without a quorum: reads work, and may be stale.
    ConnectedReadOnly,
}

impl State {
    /// Whether there is a connection, read-only or not.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "LOST",
            Self::Suspended => "SUSPENDED",
            Self::Connected => "CONNECTED",
            Self::ConnectedReadOnly => "CONNECTED_RO",
        })
    }
}

/// How the connection stands, as kazoo's `KeeperState` (`client_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientState {
    /// Not started, or closed.
    Closed,
    /// Looking for a server.
    Connecting,
    /// Connected to a server with a quorum.
    Connected,
    /// Connected to a server without a quorum.
    ConnectedReadOnly,
    /// Credentials were refused.
    AuthFailed,
    /// The session expired, and no new one was asked for.
    ExpiredSession,
}

/// What has happened on a watched path (`org.apache.zookeeper.proto.WatcherEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchedEvent {
    /// What.
    pub kind: EventType,
    /// Where, without the chroot.
    pub path: Ustring,
    /// The transaction that did it, where the server tells it (3.9 and later).
    pub zxid: Option<i64>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The newest transaction that the server had applied.
    pub zxid: i64,
    /// The answer itself; paths in it are without the chroot.
    pub response: Response,
}

/// What a session asks for or tells, from [`Session::poll_output`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Open a connection to this host, then call [`Session::handle_connected`] or
    /// [`Session::handle_disconnected`].
    Connect {
        /// The host.
        host: Arc<HostPort>,
        /// When [`Session::handle_timeout`] will give it up.
        deadline: Time,
    },
    /// Drop the connection, or the attempt at one. Nothing that was heard of it is taken in any more.
    Disconnect,
    /// Ask this host on a connection of its own, with the four-letter word `isro`, whether it takes
    /// writes, then call [`Session::handle_probed`].
    Probe {
        /// The host.
        host: Arc<HostPort>,
        /// When to give up.
        deadline: Time,
    },
    /// The session's state has changed.
    State(State),
    /// A request has ended.
    Completed {
        /// Which.
        id: RequestId,
        /// How.
        result: Result<Reply, Box<Failure>>,
    },
    /// A watch has fired. A one-shot watch is gone with it.
    Fired {
        /// The request that armed it.
        id: RequestId,
        /// What happened.
        event: WatchedEvent,
    },
    /// A lasting watch goes on on a new connection; what happened since `since` may have been missed.
    Gap {
        /// The request that armed it.
        id: RequestId,
        /// The newest transaction that was seen before.
        since: i64,
    },
    /// A watch is gone with its session.
    Unwatched {
        /// The request that armed it.
        id: RequestId,
        /// Why the session ended.
        reason: Reason,
    },
}

/// Where the connection stands; each variant holds just what it needs.
#[derive(Debug)]
enum Link {
    Idle,
    Waiting { until: Time },
    Connecting { deadline: Time },
    Handshake { deadline: Time, sent: Time },
    Up(Box<Up>),
    Ended(Reason),
}

/// A connection with a session on it.
#[derive(Debug)]
struct Up {
    alive: Keepalive,
    /// On a read-only server: the search for a better one.
    search: Option<Search>,
    /// How many of the credentials were handed out on this connection.
    credentials_sent: usize,
    /// How many of them the server has acknowledged.
    credentials_acked: usize,
    /// How many packets of watches are not acknowledged yet.
    rearming: usize,
    /// closeSession is sent; when to stop waiting for its reply.
    closing: Option<Time>,
}

impl Up {
    /// Whether the server has taken all that a connection begins with.
    const fn is_settled(&self, credentials: usize) -> bool {
        self.rearming == 0 && self.credentials_acked >= credentials
    }
}

/// Who the session is to the servers.
#[derive(Debug)]
struct Identity {
    /// 0 until a server has given one.
    id: i64,
    password: Secret<Bytes>,
    last_zxid: i64,
    /// Whether a server with a quorum knows the session: one that was only ever on a read-only server
    /// is not resumed elsewhere.
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
            timeouts: Timeouts::new(session_timeout),
        }
    }
}

/// A credential, and who waits to hear that it was taken.
#[derive(Debug)]
struct Registered {
    credential: Credential,
    waiter: Option<RequestId>,
    /// Whether it was ever handed out.
    sent: bool,
}

/// A client's session. See the [module](self) for the contract.
#[derive(Debug)]
pub struct Session {
    config: Config,
    rng: Rng,
    state: State,
    link: Link,
    identity: Identity,
    route: Route,
    outgoing: Outgoing,
    watches: WatchTable,
    credentials: Vec<Registered>,
    last_id: u64,
    outputs: VecDeque<Output>,
    /// How many times [`Output::Disconnect`] is among them: what is heard of a connection until then is
    /// about the one that the session has left.
    leaving: usize,
    /// The absolute path of the request at hand, to spare an allocation per request.
    scratch: String,
    /// How the last connection, or the last attempt at one, ended.
    last_cause: Option<Arc<str>>,
}

impl Session {
    /// A session that does nothing until [`start`](Self::start). `seed` decides the order of hosts and
    /// the jitter of delays; give each client another.
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
        let credentials = config
            .auth
            .iter()
            .cloned()
            .map(|credential| Registered { credential, waiter: None, sent: false })
            .collect();
        Self {
            config,
            rng,
            state: State::Lost,
            link: Link::Idle,
            identity,
            route,
            outgoing: Outgoing::new(),
            watches: WatchTable::default(),
            credentials,
            last_id: 0,
            outputs: VecDeque::new(),
            leaving: 0,
            scratch: String::new(),
            last_cause: None,
        }
    }

    // ---- what a user does -------------------------------------------------------------------------

    /// Starts to connect. Without effect when that was done before.
    pub fn start(&mut self, now: Time) {
        if matches!(self.link, Link::Idle) {
            self.connect_when_due(now);
        }
    }

    /// Queues a request. `request` has paths below `chroot`; the answer's are below it again.
    ///
    /// While the session is suspended the request waits for the next connection. Its end comes as
    /// [`Output::Completed`], in the order of requests.
    ///
    /// # Errors
    /// When it cannot be queued, so that there will be no such output: a bad path, a packet over the
    /// server's limit, too many requests in flight, a session that has ended, or an operation that
    /// the session does by itself ([`OpCode::Auth`]: see [`add_auth`](Self::add_auth);
    /// [`OpCode::CloseSession`]: see [`close`](Self::close); pings, setWatches, SASL), or that the
    /// server answers only inside a multi ([`OpCode::Check`]).
    pub fn submit(
        &mut self,
        now: Time,
        chroot: &Chroot,
        request: &Request<'_>,
    ) -> Result<RequestId, Box<Failure>> {
        self.check_silence(now);
        if let Err(reason) = self.admit(request) {
            return Err(self.failure(
                reason,
                Outcome::NotSent,
                request.op(),
                request.path().map(Into::into),
            ));
        }
        let id = RequestId(self.last_id.saturating_add(1));
        let submission = Submission {
            id: Some(id),
            op: request.op(),
            change: watch_change(request),
            path: request.path(),
            chroot,
        };
        let limit = self.config.max_request;
        let submitted = if chroot.is_root() {
            self.outgoing.submit(now, limit, &submission, |out| request.encode_body(out))
        } else {
            let scratch = &mut self.scratch;
            self.outgoing.submit(now, limit, &submission, |out| {
                request.encode_body_below(chroot, scratch, out);
            })
        };
        match submitted {
            Ok(()) => {
                self.last_id = id.0;
                Ok(id)
            }
            Err(length) => Err(self.failure(
                Reason::RequestTooLarge { length, limit },
                Outcome::NotSent,
                request.op(),
                request.path().map(Into::into),
            )),
        }
    }

    /// Adds a credential, for this connection and all later ones. The reply comes as
    /// [`Output::Completed`]; a refusal ends the session.
    ///
    /// # Errors
    /// When the session has ended, or is being closed.
    pub fn add_auth(&mut self, credential: Credential) -> Result<RequestId, Box<Failure>> {
        if let Some(reason) = self.over() {
            return Err(self.failure(reason, Outcome::NotSent, OpCode::Auth, None));
        }
        let id = RequestId(self.last_id.saturating_add(1));
        self.last_id = id.0;
        if matches!(self.link, Link::Up(_)) {
            let body = |out: &mut BytesMut| auth_packet(&credential).encode(out);
            self.outgoing.special(xid::AUTH, OpCode::Auth, body);
        }
        self.credentials.push(Registered { credential, waiter: Some(id), sent: false });
        Ok(id)
    }

    /// Forgets a watch, armed or about to be: nothing more will be heard of it. The request that arms it
    /// goes on.
    pub fn unwatch(&mut self, id: RequestId) {
        if !self.watches.disarm(id) {
            self.outgoing.disarm(id);
        }
    }

    /// Closes the session: what was submitted before is done first, then the server is told, its word
    /// awaited for [`Config::close_timeout`], and the state becomes [`State::Lost`]. Without a
    /// connection it ends at once, and the server's side is left to expire.
    pub fn close(&mut self, now: Time) {
        match &mut self.link {
            Link::Up(up) if up.closing.is_none() => {
                up.closing = Some(now.after(self.config.close_timeout));
                let submission = Submission {
                    id: None,
                    op: OpCode::CloseSession,
                    change: None,
                    path: None,
                    chroot: &Chroot::default(),
                };
                // A header is within any limit.
                let _ = self.outgoing.submit(now, usize::MAX, &submission, |_| {});
            }
            Link::Up(_) | Link::Ended(_) => {}
            Link::Idle | Link::Waiting { .. } => self.end(Reason::Closed),
            Link::Connecting { .. } | Link::Handshake { .. } => {
                self.disconnect();
                self.end(Reason::Closed);
            }
        }
    }

    /// Another list of hosts. The connection is left only if its host is not in it. An empty list
    /// changes nothing: there would be nowhere to go.
    pub fn set_hosts(&mut self, now: Time, hosts: Vec<HostPort>) {
        if hosts.is_empty() {
            return;
        }
        self.config.hosts = hosts;
        let keep =
            self.route.replace(&self.config.hosts, self.config.randomize_hosts, &mut self.rng);
        let connected = match &self.link {
            Link::Idle | Link::Waiting { .. } | Link::Ended(_) => false,
            Link::Connecting { .. } | Link::Handshake { .. } => true,
            Link::Up(up) => up.closing.is_none(),
        };
        if connected && !keep {
            self.drop_connection(now, "its host left the list".into());
        }
    }

    // ---- what a connection does -------------------------------------------------------------------

    /// The connection that [`Output::Connect`] asked for is open.
    pub fn handle_connected(&mut self, now: Time) {
        match self.link {
            Link::Connecting { deadline } if self.leaving == 0 => {
                self.begin_handshake(now, deadline);
            }
            _ => {}
        }
    }

    /// Bytes have come in; all whole frames are taken out of `input`.
    pub fn handle_data(&mut self, now: Time, input: &mut FrameReader) {
        if let Link::Up(up) = &mut self.link {
            up.alive.received(now);
        }
        while matches!(self.link, Link::Handshake { .. } | Link::Up(_)) && self.leaving == 0 {
            match input.next_frame() {
                Ok(Some(Frame::Whole(frame))) => match self.link {
                    Link::Handshake { sent, .. } => self.handle_handshake(now, sent, &frame),
                    _ => self.handle_packet(now, &frame),
                },
                Ok(Some(Frame::Oversize { head, length })) => {
                    self.handle_oversize(now, &head, length);
                }
                Ok(None) => return,
                Err(error) => self.drop_connection(now, error.to_string().into()),
            }
        }
    }

    /// The connection, or the attempt at one, is gone. `cause` says how, for errors and logs.
    pub fn handle_disconnected(&mut self, now: Time, cause: &str) {
        let connected =
            matches!(self.link, Link::Connecting { .. } | Link::Handshake { .. } | Link::Up(_));
        if connected && self.leaving == 0 {
            self.lose_connection(now, cause.into());
        }
    }

    /// The clock has reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.link {
            Link::Idle | Link::Ended(_) => {}
            Link::Waiting { until } if *until <= now => self.connect(now),
            Link::Connecting { deadline } if *deadline <= now => {
                self.drop_connection(now, "timed out connecting".into());
            }
            Link::Handshake { deadline, .. } if *deadline <= now => {
                self.drop_connection(now, "no answer to the handshake".into());
            }
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Handshake { .. } => {}
            Link::Up(up) => {
                if up.closing.is_some_and(|until| until <= now) {
                    self.drop_connection(now, "no answer to closeSession".into());
                } else if !self.check_silence(now) {
                    self.keep_alive(now);
                }
            }
        }
    }

    /// Bytes for the socket: appended to `out`. From here on they count as sent. True if there were any.
    pub fn poll_transmit(&mut self, now: Time, out: &mut BytesMut) -> bool {
        match &mut self.link {
            Link::Up(up) => {
                let sent = self.outgoing.transmit(true, out);
                if sent {
                    up.alive.sent(now);
                    for registered in self.credentials.iter_mut().skip(up.credentials_sent) {
                        registered.sent = true;
                    }
                    up.credentials_sent = self.credentials.len();
                }
                sent
            }
            _ => self.outgoing.transmit(false, out),
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has bytes to give.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.outgoing.has_output(matches!(self.link, Link::Up(_)))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next; `None` for never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.link {
            Link::Idle | Link::Ended(_) => None,
            Link::Waiting { until } => Some(*until),
            Link::Connecting { deadline } | Link::Handshake { deadline, .. } => Some(*deadline),
            Link::Up(up) => {
                let due = up.alive.dead_at().min(up.alive.ping_due());
                let search = up.search.as_ref().and_then(Search::due);
                [search, up.closing].into_iter().flatten().fold(due, Time::min).into()
            }
        }
    }

    /// What to do or to tell next; poll until `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Disconnect)) {
            self.leaving = self.leaving.saturating_sub(1);
        }
        output
    }

    // ---- what there is to know --------------------------------------------------------------------

    /// How the session stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// How the connection stands.
    #[must_use]
    pub const fn client_state(&self) -> ClientState {
        match &self.link {
            Link::Idle => ClientState::Closed,
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Handshake { .. } => {
                ClientState::Connecting
            }
            Link::Up(up) if up.search.is_some() => ClientState::ConnectedReadOnly,
            Link::Up(_) => ClientState::Connected,
            Link::Ended(Reason::AuthFailed) => ClientState::AuthFailed,
            Link::Ended(Reason::SessionExpired) => ClientState::ExpiredSession,
            Link::Ended(_) => ClientState::Closed,
        }
    }

    /// What it takes to go on with this session elsewhere; `None` before a server with a quorum has given
    /// one.
    #[must_use]
    pub fn ticket(&self) -> Option<SessionTicket> {
        let id = self.session_id().filter(|_| self.identity.confirmed)?;
        Some(SessionTicket {
            id,
            password: self.identity.password.clone(),
            last_zxid: self.identity.last_zxid,
        })
    }

    /// The session's number; `None` before a server has given one.
    #[must_use]
    pub const fn session_id(&self) -> Option<SessionId> {
        match self.identity.id {
            0 => None,
            id => Some(SessionId(id)),
        }
    }

    /// The session timeout that the server granted; before that, the one to ask for.
    #[must_use]
    pub const fn session_timeout(&self) -> Duration {
        self.identity.timeouts.session()
    }

    /// The newest transaction that the session has seen.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.identity.last_zxid
    }

    /// Until when the servers surely keep the session: judged from when the last packet was sent that
    /// they have acknowledged. `None` without a connection to a server that has a quorum: then it was so
    /// until the time that was last told, and a holder of a lock must not rely on more.
    #[must_use]
    pub fn held_until(&self) -> Option<Time> {
        match &self.link {
            Link::Up(up) if up.search.is_none() => Some(up.alive.held_until()),
            _ => None,
        }
    }

    /// The server of the present connection, or of the last attempt at one.
    #[must_use]
    pub const fn host(&self) -> Option<&Arc<HostPort>> {
        self.route.current()
    }

    /// How the last connection, or the last attempt at one, ended, and on which host.
    #[must_use]
    pub fn last_cause(&self) -> Option<&str> {
        self.last_cause.as_deref()
    }

    /// Why the session has ended, once it has.
    #[must_use]
    pub fn end_reason(&self) -> Option<Reason> {
        match &self.link {
            Link::Ended(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// What the session was made with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// How many requests wait for an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.outgoing.len()
    }

    /// How many watches are armed.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.watches.len()
    }

    // ---- the inner works --------------------------------------------------------------------------

    /// Why nothing more is taken from a user.
    fn over(&self) -> Option<Reason> {
        match &self.link {
            Link::Ended(reason) => Some(reason.clone()),
            Link::Up(up) if up.closing.is_some() => Some(Reason::Closed),
            _ => None,
        }
    }

    fn admit(&self, request: &Request<'_>) -> Result<(), Reason> {
        if let Some(reason) = self.over() {
            return Err(reason);
        }
        if matches!(self.link, Link::Idle) {
            return Err(Reason::Closed);
        }
        if self.outgoing.len() >= self.config.max_in_flight {
            return Err(Reason::QueueFull { limit: self.config.max_in_flight });
        }
        // A check that holds gets no answer outside of a multi.
        if matches!(
            request.op(),
            OpCode::Auth
                | OpCode::Check
                | OpCode::Ping
                | OpCode::SetWatches
                | OpCode::SetWatches2
                | OpCode::CloseSession
                | OpCode::CreateSession
                | OpCode::Sasl
        ) {
            return Err(Reason::Reserved);
        }
        request.validate_paths().map_err(Reason::InvalidPath)
    }

    fn failure(
        &self,
        reason: Reason,
        outcome: Outcome,
        op: OpCode,
        path: Option<Box<str>>,
    ) -> Box<Failure> {
        Box::new(Failure { reason, outcome, op, path, host: self.route.current().cloned() })
    }

    fn set_state(&mut self, state: State) {
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

    fn connect_when_due(&mut self, now: Time) {
        let delay = self.route.delay(self.identity.timeouts.session(), &mut self.rng);
        if delay.is_zero() {
            self.connect(now);
        } else {
            self.link = Link::Waiting { until: now.after(delay) };
        }
    }

    fn connect(&mut self, now: Time) {
        let deadline = now.after(self.identity.timeouts.connect(self.route.len()));
        if let Some(host) = self.route.advance() {
            tracing::debug!(%host, "connecting");
            self.link = Link::Connecting { deadline };
            self.outputs.push_back(Output::Connect { host, deadline });
        } else {
            self.link = Link::Waiting { until: deadline };
        }
    }

    fn disconnect(&mut self) {
        self.leaving = self.leaving.saturating_add(1);
        self.outputs.push_back(Output::Disconnect);
    }

    /// Leaves the connection on this side's account.
    fn drop_connection(&mut self, now: Time, cause: Arc<str>) {
        self.disconnect();
        self.lose_connection(now, cause);
    }

    fn lose_connection(&mut self, now: Time, cause: Arc<str>) {
        self.last_cause = Some(match self.route.current() {
            Some(host) => format!("{host}: {cause}").into(),
            None => cause.clone(),
        });
        tracing::debug!(
            host = self.route.current().map(tracing::field::display),
            %cause,
            "connection lost"
        );
        match &self.link {
            Link::Up(up) if up.closing.is_some() => return self.end(Reason::Closed),
            Link::Up(_) => {
                self.set_state(State::Suspended);
                self.fail_in_flight(&Reason::ConnectionLoss(cause));
            }
            _ => self.outgoing.reset_prologue(),
        }
        self.connect_when_due(now);
    }

    /// Fails all requests, sent or not.
    fn fail_in_flight(&mut self, reason: &Reason) {
        self.outgoing.reset_buffers();
        while let Some((entry, path, sent)) = self.outgoing.pop_failed() {
            self.fail(entry.id, entry.op, path, reason.clone(), unanswered(sent));
        }
    }

    fn fail(
        &mut self,
        id: Option<RequestId>,
        op: OpCode,
        path: Option<String>,
        reason: Reason,
        outcome: Outcome,
    ) {
        let Some(id) = id else { return };
        let failure = self.failure(reason, outcome, op, path.map(String::into_boxed_str));
        self.outputs.push_back(Output::Completed { id, result: Err(failure) });
    }

    /// The session is gone: its requests and watches go with it.
    fn lose_session(&mut self, reason: &Reason) {
        self.set_state(State::Lost);
        self.fail_in_flight(reason);
        for id in self.watches.clear() {
            self.outputs.push_back(Output::Unwatched { id, reason: reason.clone() });
        }
    }

    /// The session is gone and no other follows.
    fn end(&mut self, reason: Reason) {
        self.lose_session(&reason);
        let waiters: Vec<_> = self
            .credentials
            .iter_mut()
            .filter_map(|registered| Some((registered.waiter.take()?, registered.sent)))
            .collect();
        for (id, sent) in waiters {
            self.fail(Some(id), OpCode::Auth, None, reason.clone(), unanswered(sent));
        }
        self.link = Link::Ended(reason);
    }

    /// Drops a connection on which nothing was received for too long. True if that was so.
    fn check_silence(&mut self, now: Time) -> bool {
        match &self.link {
            Link::Up(up) if up.alive.dead_at() <= now => {
                let silence = up.alive.silence(now);
                self.drop_connection(now, format!("nothing received for {silence:.1?}").into());
                true
            }
            _ => false,
        }
    }

    fn keep_alive(&mut self, now: Time) {
        let Link::Up(up) = &mut self.link else { return };
        if up.alive.ping_due() <= now {
            up.alive.ping_queued(now);
            self.outgoing.special(xid::PING, OpCode::Ping, |_| {});
        }
        self.search_writable(now);
    }
}

fn auth_packet(credential: &Credential) -> AuthPacket<'_> {
    AuthPacket {
        auth_type: 0,
        scheme: &credential.scheme,
        auth: Secret::new(Some(credential.auth.expose())),
    }
}

/// Whether a request without an answer was carried out.
const fn unanswered(sent: bool) -> Outcome {
    if sent { Outcome::Unknown } else { Outcome::NotSent }
}

/// What a request, if it succeeds, means for the watches of its path.
fn watch_change(request: &Request<'_>) -> Option<WatchChange> {
    Some(match request {
        Request::Exists(exists) if exists.watch => WatchChange::ArmedByExists,
        Request::GetData(get) if get.watch => WatchChange::Armed(WatchKind::Data),
        Request::GetChildren(get) | Request::GetChildren2(get) if get.watch => {
            WatchChange::Armed(WatchKind::Child)
        }
        Request::AddWatch(add) => WatchChange::Armed(match add.mode {
            AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
            _ => WatchKind::Persistent,
        }),
        Request::RemoveWatches(remove) => WatchChange::Removed(remove.watcher_type),
        _ => return None,
    })
}
