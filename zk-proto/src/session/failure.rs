//! How a request can fail, and what its caller may conclude.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{error::Error, fmt};

use crate::{Chroot, DecodeError, ErrorCode, HostPort, OpCode, path::PathError};

/// Whether a request that failed has been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It never left this process. Sending it again is safe.
    NotSent,
    /// The server answered that it did not do it.
    NotApplied,
    /// It was sent and no answer came, or none that tells: it was carried out once or not at all.
    Unknown,
    /// The server did it, but its answer was of no use.
    Applied,
}

impl Outcome {
    /// The outcome of a request that gets no answer.
    pub(super) const fn of_unanswered(sent: bool) -> Self {
        if sent { Self::Unknown } else { Self::NotSent }
    }

    /// The outcome of a request whose answer has this error in its header, and a body that cannot be read.
    pub(super) const fn of_unreadable(op: OpCode, err: ErrorCode) -> Self {
        match op {
            _ if !err.is_ok() => Self::NotApplied,
            // Of these, only the body says whether they were carried out.
            OpCode::Multi | OpCode::MultiRead | OpCode::AddWatch => Self::Unknown,
            _ => Self::Applied,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "surely not sent",
            Self::NotApplied => "refused by the server",
            Self::Unknown => "outcome unknown",
            Self::Applied => "applied by the server",
        })
    }
}

/// How a connection, or an attempt at one, ended: a text, and the error that it comes of, if it is one of the
/// system's.
#[derive(Clone)]
pub struct Cause {
    text: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Cause {
    /// An error that the connection ended with.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self { text: error.to_string().into(), source: Some(Arc::new(error)) }
    }

    /// The same in other words.
    pub(super) fn saying(&self, text: String) -> Self {
        Self { text: text.into(), source: self.source.clone() }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self { text: text.into(), source: None }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text: text.into(), source: None }
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The server answered with an error.
    #[error("{0}")]
    Server(ErrorCode),
    /// The connection was lost before the answer came. The text says how.
    #[error("connection loss: {0}")]
    ConnectionLoss(#[source] Cause),
    /// The session expired, with all its ephemeral nodes and watches.
    #[error("session expired")]
    SessionExpired,
    /// The server refused the session's credentials; the session is of no more use.
    #[error("authentication failed: the server refused a credential of scheme {scheme}")]
    AuthFailed {
        /// The credential's scheme.
        scheme: String,
    },
    /// The credential was removed before a server took it.
    #[error("the credential was removed")]
    CredentialRemoved,
    /// The server demands authentication, and no credential was sent of a scheme that it takes for that. It
    /// has closed the session, and would do so again.
    #[error(
        "the server demands authentication (zookeeper.enforce.auth.schemes, or \
         zookeeper.sessionRequireClientSASLAuth, for which it takes SASL alone); {}: add one that it \
         demands, and start again",
        sent_credentials(.sent)
    )]
    AuthRequired {
        /// The schemes of the credentials that were sent.
        sent: Vec<String>,
    },
    /// The session is closed.
    #[error("connection closed")]
    Closed,
    /// The session was not started yet.
    #[error("not started")]
    NotStarted,
    /// The request is larger than the server takes (`jute.maxbuffer`). It was not sent, as the server
    /// would drop the connection.
    #[error("request of {length} bytes is over the limit of {limit}")]
    RequestTooLarge {
        /// The packet's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The reply is larger than this client takes. It was dropped; the session goes on.
    #[error("reply of {length} bytes is over the limit of {limit}")]
    ReplyTooLarge {
        /// The packet's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many requests wait already, or their bytes are too many. This one was not sent.
    #[error("{limit} are waiting already")]
    QueueFull {
        /// The limit that was reached.
        limit: QueueLimit,
    },
    /// The reply's body made no sense. The session goes on.
    #[error("undecodable reply: {0}")]
    InvalidReply(#[source] DecodeError),
    /// An operation that the session does by itself, and no caller.
    #[error("operation is reserved to the session")]
    Reserved,
    /// The path breaks ZooKeeper's rules. Nothing was sent.
    #[error("{0}")]
    InvalidPath(#[source] PathError),
}

/// A limit to what may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueLimit {
    /// So many requests wait for an answer ([`Config::max_in_flight`](super::Config::max_in_flight)).
    Requests(usize),
    /// So many bytes wait to be sent ([`Config::max_queued_bytes`](super::Config::max_queued_bytes)).
    Bytes(usize),
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(limit) => write!(f, "{limit} requests"),
            Self::Bytes(limit) => write!(f, "{limit} bytes of requests"),
        }
    }
}

fn sent_credentials(schemes: &[String]) -> String {
    match schemes {
        [] => "no credential was sent".into(),
        schemes => format!("credentials were sent of no scheme but {}", schemes.join(", ")),
    }
}

/// A request that failed: what happened, to which path, on which host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// Whether the server did it all the same.
    pub outcome: Outcome,
    /// The operation.
    pub op: OpCode,
    /// The path, as the caller gave it; `None` for operations without one.
    pub path: Option<Box<str>>,
    /// What the path is below.
    pub chroot: Chroot,
    /// The version that the request expected the node or its access list to have, if one.
    pub version: Option<i32>,
    /// The server that it was sent to, or was to be.
    pub host: Option<Arc<HostPort>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        write!(f, ": {} ({})", self.reason, self.outcome)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}
