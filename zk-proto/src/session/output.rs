//! The outputs of a session: what to do, its state, the results of requests, and the events of watches.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

use bytes::Bytes;

use crate::{
    EventType, HostPort, Response, Time, Ustring,
    four_letter_word::{Refusal, refusal},
    jute::Secret,
};

use super::{Failure, Reason, SaslStepId};

/// The id of a request, and of the watch that it arms. Ids grow from request to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The state of the session.
#[doc(alias = "KazooState")]
#[doc(alias = "State")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// There is no session, or it has ended. Its ephemeral nodes and watches are gone.
    Lost,
    /// The connection is lost; the session may still exist. A lock may not be held any more.
    Suspended,
    /// Connected to a server, with a session.
    Connected,
    /// Connected to a server without a quorum: reads work and may return stale data, writes fail.
    ConnectedReadOnly,
}

impl SessionState {
    /// Whether there is a connection, read-only or not.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "LOST",
            Self::Suspended => "SUSPENDED",
            Self::Connected => "CONNECTED",
            Self::ConnectedReadOnly => "CONNECTED_RO",
        })
    }
}

/// The state of the connection.
#[doc(alias = "KeeperState")]
#[doc(alias = "ClientState")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not started, or closed.
    Closed,
    /// Trying to connect to a server.
    Connecting,
    /// Connected to a server with a quorum.
    Connected,
    /// Connected to a server without a quorum.
    ConnectedReadOnly,
    /// The server refused a credential or the SASL exchange, or demands another credential.
    AuthFailed,
    /// The session has expired, and is [not renewed](super::Config::renew_expired).
    ExpiredSession,
}

/// An event on a watched path (`org.apache.zookeeper.proto.WatcherEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventType,
    /// The path, without the chroot.
    pub path: Ustring,
    /// The zxid of the transaction that caused the event, if the server sends it (ZooKeeper 3.9 and later).
    pub zxid: Option<i64>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The zxid of the newest transaction that the server had applied.
    pub zxid: i64,
    /// The response; paths in it are without the chroot.
    pub response: Response,
}

/// The answer of a host to [`Output::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probed {
    /// The host serves and takes writes.
    Writable,
    /// The host answers but does not say more, because `isro` is not in its whitelist
    /// (`4lw.commands.whitelist`).
    Undisclosed,
    /// The host does not answer, does not serve, or takes no writes.
    Unusable,
}

impl Probed {
    /// The meaning of an answer to `isro` (`org.apache.zookeeper.server.command.IsroCommand`).
    ///
    /// ```
    /// # use zk_proto::session::Probed;
    /// assert_eq!(Probed::of_answer(b"rw"), Probed::Writable);
    /// assert_eq!(Probed::of_answer(b"ro"), Probed::Unusable);
    /// ```
    #[must_use]
    pub fn of_answer(answer: &[u8]) -> Self {
        match answer {
            b"rw" => Self::Writable,
            answer if refusal(answer) == Some(Refusal::NotWhitelisted) => Self::Undisclosed,
            _ => Self::Unusable,
        }
    }
}

/// An output of a session, from [`Session::poll_output`](super::Session::poll_output).
///
/// `T` is the type of the tokens that [`Session::submit`](super::Session::submit),
/// [`Session::add_auth`](super::Session::add_auth) and [`Session::reconnect`](super::Session::reconnect) take.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<T> {
    /// Open a connection to this host, then call
    /// [`Session::handle_connected`](super::Session::handle_connected) or
    /// [`Session::handle_disconnected`](super::Session::handle_disconnected).
    Connect {
        /// The host.
        host: Arc<HostPort>,
        /// When [`Session::handle_timeout`](super::Session::handle_timeout) will give up the attempt.
        deadline: Time,
    },
    /// Drop the connection, or the attempt to connect. The session ignores whatever it is told about it.
    Disconnect,
    /// Find out whether this host serves and takes writes, with the four-letter word `isro` on a separate connection.
    /// Then call [`Session::handle_probed`](super::Session::handle_probed).
    Probe {
        /// The host.
        host: Arc<HostPort>,
        /// When to give up.
        deadline: Time,
    },
    /// Ask the SASL mechanism of this connection for its next [step](crate::sasl::Mechanism::step). Then call
    /// [`Session::handle_sasl`](super::Session::handle_sasl) with the answer and `step`.
    ///
    /// Nothing else is sent meanwhile, so the mechanism may take its time, up to `deadline`.
    Sasl {
        /// Which step it is.
        step: SaslStepId,
        /// The host of the connection.
        host: Arc<HostPort>,
        /// The server's token. `None` at the beginning of a connection: make a new mechanism, and pass it an empty
        /// token.
        token: Option<Secret<Bytes>>,
        /// When [`Session::handle_timeout`](super::Session::handle_timeout) will give up the connection.
        deadline: Time,
    },
    /// The session's state has changed.
    State(SessionState),
    /// A request has ended.
    Completed {
        /// The request.
        id: RequestId,
        /// The token that the caller gave with it.
        token: T,
        /// How it ended.
        result: Result<Reply, Box<Failure>>,
    },
    /// A watch has fired. A one-shot watch is gone with it.
    Fired {
        /// The request that armed it.
        id: RequestId,
        /// The token that was given with that request.
        token: T,
        /// What happened.
        event: WatchedEvent,
    },
    /// A persistent watch was armed again on a new connection. Events after `since` may have been missed.
    Gap {
        /// The request that armed it.
        id: RequestId,
        /// The token that was given with that request.
        token: T,
        /// The zxid of the newest transaction that the session had seen.
        since: i64,
    },
    /// A watch has ended with its session.
    Unwatched {
        /// The request that armed it.
        id: RequestId,
        /// The token that was given with that request.
        token: T,
        /// Why the session ended.
        reason: Reason,
    },
}
