//! The settings of a session.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, time::Duration};

use bytes::Bytes;

use crate::{HostPort, backoff::Backoff, frame::DEFAULT_MAX_BUFFER, jute::Secret};

/// The settings of a session. Start from [`Config::new`], which has the defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The hosts of the ensemble; at least one.
    pub hosts: Vec<HostPort>,
    /// Whether to try the hosts in random order. Default true.
    pub randomize_hosts: bool,
    /// The session timeout to request. The server may grant another one. Default 10 s.
    pub session_timeout: Duration,
    /// Whether to connect to a server without a quorum, which serves reads only. The session meanwhile
    /// searches for a server that takes writes. Default false.
    pub read_only: bool,
    /// Credentials. Every connection begins with them, in this order.
    pub auth: Vec<Credential>,
    /// Whether every connection begins with a SASL exchange. [`Output::Sasl`](super::Output::Sasl) then asks for
    /// its steps. Default false.
    pub sasl: bool,
    /// The ticket of an existing session to resume.
    pub resume: Option<SessionTicket>,
    /// Whether to begin a new session after one has expired. Default true.
    pub renew_expired: bool,
    /// The largest reply, in bytes. A request with a larger reply fails. Default 4 MiB.
    pub max_reply: usize,
    /// The largest request, in bytes. It should be the `jute.maxbuffer` of the servers. Default 1,048,575.
    pub max_request: usize,
    /// How many requests may be unanswered at a time. Default 1,000,000.
    pub max_in_flight: usize,
    /// How many bytes of requests may be queued: requests that are not sent yet, as during an outage, and the
    /// paths of unanswered ones. The session accepts a request as long as the queue is below this limit, so
    /// the last request may exceed it, and a request is always accepted by an empty queue. Default 64 MiB.
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
    /// The longest random delay before an idle client connects again after its server has closed the
    /// connection. It keeps all clients of a failed server from connecting to the others at the same moment.
    ///
    /// The delay is at most three fifths of the time until the session expires, and a request ends it.
    /// A client that has made a request within the last second connects at once. Default 5 s; zero for no
    /// delay.
    pub reconnect_spread: Duration,
    /// How long to wait for the reply to closeSession. Default 2 s.
    pub close_timeout: Duration,
    /// How long a watch must have been unwanted before the session removes it from the server. `None` leaves
    /// it there until it fires or the connection ends, as servers before ZooKeeper 3.5 do in any case.
    /// Default 5 s.
    pub unwatch_after: Option<Duration>,
}

impl Config {
    /// The default settings for these hosts.
    #[must_use]
    pub const fn new(hosts: Vec<HostPort>) -> Self {
        Self {
            hosts,
            randomize_hosts: true,
            session_timeout: Duration::from_secs(10),
            read_only: false,
            auth: Vec::new(),
            sasl: false,
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

/// A credential, which proves an identity to the server (`org.apache.zookeeper.proto.AuthPacket`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The scheme, such as `digest`.
    pub scheme: String,
    /// The proof that the scheme needs. For `digest` it is `user:password`.
    pub auth: Secret<Bytes>,
}

impl Credential {
    /// Creates a credential of any scheme.
    pub fn new(scheme: impl Into<String>, auth: impl Into<Bytes>) -> Self {
        Self { scheme: scheme.into(), auth: Secret::new(auth.into()) }
    }

    /// Creates a credential of the `digest` scheme.
    #[must_use]
    pub fn digest(user: &str, password: &str) -> Self {
        Self::new("digest", format!("{user}:{password}"))
    }
}

/// The id and the password of a session, with which it can be resumed. Whoever has the ticket can use the
/// session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionTicket {
    /// The session.
    pub id: SessionId,
    /// Its password, 16 bytes.
    pub password: Secret<Bytes>,
    /// The zxid of the newest transaction that the session has seen. A server must have applied it to resume the
    /// session.
    pub last_zxid: i64,
}

impl SessionTicket {
    /// Encodes the ticket as bytes, which can be stored. They are as secret as the ticket.
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

    /// Decodes a ticket from the bytes that [`to_bytes`](Self::to_bytes) has returned. Returns `None` if they are
    /// too short.
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

/// The id of a session. It is the `ephemeral_owner` of the session's ephemeral nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
