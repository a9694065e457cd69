//! What a session tells: how it stands, how requests end, and what happens on watched paths.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

use crate::{EventType, HostPort, Response, Time, Ustring};

use super::{Failure, Reason};

/// A request's number, growing from call to call; also the number of the watch that it arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The state of the session.
#[doc(alias = "KazooState")]
#[doc(alias = "State")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// There is no session: not yet, or no more. Ephemeral nodes and watches are gone.
    Lost,
    /// The connection is lost; the session may live on. Held locks must be doubted.
    Suspended,
    /// The session lives.
    Connected,
    /// The session lives on a server without a quorum: reads work, and may be stale.
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
    /// Looking for a server.
    Connecting,
    /// Connected to a server with a quorum.
    Connected,
    /// Connected to a server without a quorum.
    ConnectedReadOnly,
    /// Credentials were refused, or others are demanded.
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

/// What a session asks for or tells, from [`Session::poll_output`](super::Session::poll_output).
///
/// `T` is the type of the tokens that [`Session::submit`](super::Session::submit) and
/// [`Session::add_auth`](super::Session::add_auth) take.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<T> {
    /// Open a connection to this host, then call
    /// [`Session::handle_connected`](super::Session::handle_connected) or
    /// [`Session::handle_disconnected`](super::Session::handle_disconnected).
    Connect {
        /// The host.
        host: Arc<HostPort>,
        /// When [`Session::handle_timeout`](super::Session::handle_timeout) will give it up.
        deadline: Time,
    },
    /// Drop the connection, or the attempt at one. Nothing that was heard of it is taken in any more.
    Disconnect,
    /// Ask this host on a connection of its own, with the four-letter word `isro`, whether it takes
    /// writes, then call [`Session::handle_probed`](super::Session::handle_probed).
    Probe {
        /// The host.
        host: Arc<HostPort>,
        /// When to give up.
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
    /// A persistent watch goes on on a new connection; what happened since `since` may have been missed.
    Gap {
        /// The request that armed it.
        id: RequestId,
        /// The token that was given with that request.
        token: T,
        /// The newest transaction that was seen before.
        since: i64,
    },
    /// A watch is gone with its session.
    Unwatched {
        /// The request that armed it.
        id: RequestId,
        /// The token that was given with that request.
        token: T,
        /// Why the session ended.
        reason: Reason,
    },
}
