//! What a session is made with.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, time::Duration};

use bytes::Bytes;

use crate::{HostPort, backoff::Backoff, frame::DEFAULT_MAX_BUFFER, jute::Secret};

/// How a session is to behave. Start from [`Config::new`] and change what should differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers of the ensemble; at least one.
    pub hosts: Vec<HostPort>,
    /// Whether to try the hosts in random order. Default true.
    pub randomize_hosts: bool,
    /// The session timeout to ask for; the server grants what it sees fit. Default 10 s.
    pub session_timeout: Duration,
    /// Whether a server without a quorum will do, for reads. A server that takes writes is looked for
    /// meanwhile. Default false.
    pub read_only: bool,
    /// Credentials, sent in this order first thing on every connection.
    pub auth: Vec<Credential>,
    /// A session of an earlier process to go on with.
    pub resume: Option<SessionTicket>,
    /// Whether a new session begins when one has expired. Default true.
    pub renew_expired: bool,
    /// The largest reply, in bytes. A longer one fails its request. Default 4 MiB.
    pub max_reply: usize,
    /// The largest request, in bytes: the servers' `jute.maxbuffer`. Default 1,048,575.
    pub max_request: usize,
    /// How many requests may wait for an answer. Default 1,000,000.
    pub max_in_flight: usize,
    /// How many bytes of requests may wait: those that are not sent yet, as while there is no connection, and the
    /// paths of those that are not answered. Once there are so many, more requests are refused; so the last one
    /// taken may go beyond it, and one that finds nothing else waiting is always taken. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// The pauses between rounds of attempts to connect. A round tries every host once, without a pause
    /// between the hosts. Default 100 ms, doubling to 5 s. Jitter shortens a pause by up to half.
    ///
    /// A `min` of less than 10 ms counts as 10 ms, so that attempts never spin. A `max` of more than a third
    /// of the session timeout counts as that third, and one of less than `min` counts as `min`.
    ///
    /// The pauses start from `min` again once a session has proven itself: its connection has been up, with
    /// the server answering, for as long as the longest pause. A server that grants a session, answers a few
    /// packets and closes the connection is therefore not returned to at once for ever.
    pub backoff: Backoff,
    /// Over how long clients of a server that dies spread their return. A client without a request in the
    /// last second, which hears that its connection is closed, connects again after a random time of up
    /// to this, or of up to three fifths of what is left of the session where that is less; a request
    /// ends the wait. A client that is at work connects at once. Default 5 s; zero for no spread.
    pub reconnect_spread: Duration,
    /// How long a close waits for the server's word. Default 2 s.
    pub close_timeout: Duration,
    /// For how long a watch must have been unwanted before it is taken off the server, where that can do
    /// so (3.5 and later); `None` leaves it there until it fires or the connection ends. Default 5 s.
    pub unwatch_after: Option<Duration>,
}

impl Config {
    /// The defaults, for the servers `hosts`.
    #[must_use]
    pub const fn new(hosts: Vec<HostPort>) -> Self {
        Self {
            hosts,
            randomize_hosts: true,
            session_timeout: Duration::from_secs(10),
            read_only: false,
            auth: Vec::new(),
            resume: None,
            renew_expired: true,
            max_reply: 4 << 20,
            max_request: DEFAULT_MAX_BUFFER,
            max_in_flight: 1_000_000,
            max_queued_bytes: 64 << 20,
            backoff: Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) },
            reconnect_spread: Duration::from_secs(5),
            close_timeout: Duration::from_secs(2),
            unwatch_after: Some(Duration::from_secs(5)),
        }
    }
}

/// What proves an identity to the server (`org.apache.zookeeper.proto.AuthPacket`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The scheme, such as `digest`.
    pub scheme: String,
    /// The scheme's proof; for `digest` it is `user:password`.
    pub auth: Secret<Bytes>,
}

impl Credential {
    /// A credential of any scheme.
    pub fn new(scheme: impl Into<String>, auth: impl Into<Bytes>) -> Self {
        Self { scheme: scheme.into(), auth: Secret::new(auth.into()) }
    }

    /// A user and password for the `digest` scheme.
    #[must_use]
    pub fn digest(user: &str, password: &str) -> Self {
        Self::new("digest", format!("{user}:{password}"))
    }
}

/// What it takes to go on with a session: its id and password. Whoever has it owns the session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionTicket {
    /// The session.
    pub id: SessionId,
    /// Its password, 16 bytes.
    pub password: Secret<Bytes>,
    /// The newest transaction that the session has seen; the server must have it too.
    pub last_zxid: i64,
}

impl SessionTicket {
    /// The ticket as bytes that can be stored. They are as secret as the ticket.
    ///
    /// ```
    /// use zk_proto::{jute::Secret, session::{SessionId, SessionTicket}};
    ///
    /// let password = Secret::new(vec![7; 16].into());
    /// let ticket = SessionTicket { id: SessionId(1), password, last_zxid: 2 };
    /// assert_eq!(SessionTicket::from_bytes(&ticket.to_bytes()), Some(ticket));
    /// assert_eq!(SessionTicket::from_bytes(b"short"), None);
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (id, zxid) = (self.id.0.to_be_bytes(), self.last_zxid.to_be_bytes());
        [&id[..], &zxid[..], self.password.expose()].concat()
    }

    /// The ticket that [`to_bytes`](Self::to_bytes) has made `bytes` of; `None` if these are too short.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (zxid, password) = rest.split_first_chunk()?;
        Some(Self {
            id: SessionId(i64::from_be_bytes(*id)),
            password: Secret::new(Bytes::copy_from_slice(password)),
            last_zxid: i64::from_be_bytes(*zxid),
        })
    }
}

impl fmt::Debug for SessionTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionTicket({})", self.id)
    }
}

/// A session's number; a node is the session's own exactly when it is the node's `ephemeral_owner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
