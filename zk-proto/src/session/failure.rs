//! Errors of requests: the reason, and whether the request was carried out.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{error::Error, fmt};

use crate::{Chroot, DecodeError, ErrorCode, HostPort, OpCode, path::PathError, sasl::SaslError};

/// Whether a failed request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The request was not sent. It is safe to send it again.
    NotSent,
    /// The server refused the request, and did not carry it out.
    NotApplied,
    /// The request was sent, and there was no answer that says more. It was carried out once or not at all.
    Unknown,
    /// The server carried out the request, but its reply could not be read.
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
            Self::NotSent => "not sent",
            Self::NotApplied => "not applied",
            Self::Unknown => "outcome unknown",
            Self::Applied => "applied",
        })
    }
}

/// Why a connection, or an attempt to connect, ended: a text, and the error of the operating system, if there was
/// one.
#[derive(Clone)]
pub struct Cause {
    text: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    is_below: bool,
}

impl Cause {
    /// A cause that is an error.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self { text: error.to_string().into(), source: Some(Arc::new(error)), is_below: false }
    }

    /// A cause that is an error below the protocol of ZooKeeper, such as a refusal by TLS. It says nothing of what the
    /// server knows of the session, unlike a connection that a server closes.
    pub fn below(error: impl Error + Send + Sync + 'static) -> Self {
        Self { is_below: true, ..Self::of(error) }
    }

    pub(super) const fn is_below(&self) -> bool {
        self.is_below
    }

    /// The same cause with another text.
    pub(super) fn saying(&self, text: String) -> Self {
        Self { text: text.into(), source: self.source.clone(), is_below: self.is_below }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self { text: text.into(), source: None, is_below: false }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text: text.into(), source: None, is_below: false }
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
    /// The connection was lost before the answer came. The text says why.
    #[error("connection loss: {0}")]
    ConnectionLoss(#[source] Cause),
    /// The session expired, and its ephemeral nodes and watches are gone.
    #[error("session expired")]
    SessionExpired,
    /// The server refused a credential, and the session has ended.
    #[error("authentication failed: the server refused a credential of scheme {scheme}")]
    AuthFailed {
        /// The credential's scheme.
        scheme: String,
    },
    /// The SASL exchange failed for good: the server refused the client, or the client does not believe the server. The
    /// session has ended.
    #[error("SASL authentication on {host} failed: {error}")]
    SaslFailed {
        /// The host.
        host: Arc<HostPort>,
        /// Why it failed.
        #[source]
        error: SaslError,
    },
    /// The credential was removed before a server accepted it.
    #[error("the credential was removed")]
    CredentialRemoved,
    /// The server demands authentication, and no credential of a scheme that it accepts was sent. The session has
    /// ended, as the server would close any further one.
    #[error(
        "the server demands authentication (zookeeper.enforce.auth.schemes, or \
         zookeeper.sessionRequireClientSASLAuth, which accepts only SASL); {}: add a credential of a \
         scheme that it demands, and start again",
        sent_credentials(.sent)
    )]
    AuthRequired {
        /// The schemes of the credentials that were sent.
        sent: Vec<String>,
    },
    /// The session is closed.
    #[error("connection closed")]
    Closed,
    /// The session was not started.
    #[error("not started")]
    NotStarted,
    /// The request is larger than the server accepts (`jute.maxbuffer`). It was not sent, because the server
    /// would drop the connection.
    #[error("request of {length} bytes is over the limit of {limit}")]
    RequestTooLarge {
        /// The packet's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The reply is larger than this client accepts. It was discarded; the session goes on.
    #[error("reply of {length} bytes is over the limit of {limit}")]
    ReplyTooLarge {
        /// The packet's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many requests, or too many bytes of them, are queued. This one was not sent.
    #[error("{limit} are queued already")]
    QueueFull {
        /// The limit that was reached.
        limit: QueueLimit,
    },
    /// The reply is not valid. The session goes on.
    #[error("invalid reply: {0}")]
    InvalidReply(#[source] DecodeError),
    /// The operation is not for callers: only the session itself may send it.
    #[error("the operation is reserved for the session")]
    Reserved,
    /// The path is not valid. Nothing was sent.
    #[error("{0}")]
    InvalidPath(#[source] PathError),
}

/// A limit of the queue of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueLimit {
    /// The number of unanswered requests ([`Config::max_in_flight`](super::Config::max_in_flight)).
    Requests(usize),
    /// The number of queued bytes ([`Config::max_queued_bytes`](super::Config::max_queued_bytes)).
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
        schemes => format!("credentials of these schemes were sent: {}", schemes.join(", ")),
    }
}

/// A request that failed: what happened, to which path, on which host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Why the request failed.
    pub reason: Reason,
    /// Whether the request was carried out.
    pub outcome: Outcome,
    /// The operation.
    pub op: OpCode,
    /// The path, as the caller gave it; `None` for operations without one.
    pub path: Option<Box<str>>,
    /// The chroot of the path.
    pub chroot: Chroot,
    /// The version of the node or of its ACL that the request expected, if any.
    pub version: Option<i32>,
    /// The host that the request was sent to, or would have been sent to.
    pub host: Option<Arc<HostPort>>,
    /// The version of that host, if the caller has [noted](super::Session::note_server_version) it.
    pub server_version: Option<[u32; 3]>,
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
