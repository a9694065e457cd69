//! What a mechanism is, and how it fails.

use alloc::{borrow::Cow, string::String};

use bytes::Bytes;

use crate::jute::Secret;

/// The client's side of a SASL exchange on one connection.
///
/// An implementation may block, for example to ask a Kerberos server for a ticket: the session does not call it, and
/// its caller runs it where it may block.
///
/// ```
/// use zk_proto::{jute::Secret, sasl::{Mechanism, SaslError, Step}};
///
/// /// Sends one token and expects an empty answer.
/// struct OneToken(Option<Vec<u8>>);
///
/// impl Mechanism for OneToken {
///     fn name(&self) -> &str {
///         "ONE-TOKEN"
///     }
///
///     fn step(&mut self, token: &[u8]) -> Result<Step, SaslError> {
///         match (self.0.take(), token) {
///             (Some(first), _) => Ok(Step::Respond(Secret::new(first.into()))),
///             (None, []) => Ok(Step::Done),
///             (None, _) => Err(SaslError::malformed("the answer is not empty")),
///         }
///     }
/// }
/// ```
pub trait Mechanism: Send {
    /// The name of the mechanism as registered with IANA, such as `DIGEST-MD5`. Errors and logs show it.
    fn name(&self) -> &str;

    /// Takes the server's token and returns what to do next.
    ///
    /// The first call is made before anything was sent; `token` is empty then. Later calls have the server's answer to
    /// the token that was returned last. A server that sends no token and one that sends an empty one look the same.
    ///
    /// # Errors
    /// If the exchange cannot go on. [`SaslError::is_transient`] says whether another connection may help. The
    /// mechanism is not called again after an error.
    fn step(&mut self, token: &[u8]) -> Result<Step, SaslError>;
}

impl<M: Mechanism + ?Sized> Mechanism for alloc::boxed::Box<M> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn step(&mut self, token: &[u8]) -> Result<Step, SaslError> {
        (**self).step(token)
    }
}

/// What a [`Mechanism`] wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Send this token, which may be empty, and call [`Mechanism::step`] with the server's answer.
    Respond(Secret<Bytes>),
    /// The exchange is over, and the server has proved what the mechanism demands. Nothing is sent.
    Done,
}

/// Why a SASL exchange failed.
///
/// No variant contains a token, a password or anything else that the other side sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The server refused the credentials (`org.apache.zookeeper.KeeperException.Code.AUTHFAILED`).
    #[error("the server refused the credentials")]
    Refused,
    /// The server has no SASL: it answered the first token with none
    /// (`org.apache.zookeeper.server.ZooKeeperServer.processSasl`).
    #[error(
        "the server has SASL not configured (it needs zookeeper.authProvider.sasl and a JAAS \
         configuration)"
    )]
    NotConfigured,
    /// The server's proof that it knows the password is wrong. It is not the server that it claims to be, or it has
    /// another password.
    #[error("the server did not prove that it knows the password")]
    WrongProof,
    /// The server ended the exchange without a proof that it knows the password. A server does so that has refused the
    /// credentials and lets refused clients in (`zookeeper.allowSaslFailedClients`).
    #[error(
        "the server sent no proof that it knows the password: it refused the credentials and lets \
         refused clients in (zookeeper.allowSaslFailedClients), or it is not the server that it \
         claims to be"
    )]
    NoProof,
    /// A token of the other side is not valid.
    #[error("invalid token: {0}")]
    Malformed(Cow<'static, str>),
    /// The other side offers only what this mechanism does not do, such as encryption of all later packets.
    #[error("the other side offers no {0} that this side supports")]
    Unsupported(&'static str),
    /// The user name or the password cannot be used with the mechanism.
    #[error("invalid credentials: {0}")]
    InvalidCredentials(Cow<'static, str>),
    /// The credentials cannot be had at the moment: a callback failed, or a server that issues them cannot be reached.
    /// The only error that is [transient](Self::is_transient).
    #[error("no credentials: {0}")]
    Unavailable(String),
    /// The exchange is over a limit of the session: the number of tokens, or the length of one.
    #[error("the exchange has {0}")]
    OverLimit(&'static str),
    /// Another error of the mechanism.
    #[error("{0}")]
    Mechanism(String),
}

impl SaslError {
    /// A [`Malformed`](Self::Malformed) token. `what` must not repeat the token.
    pub const fn malformed(what: &'static str) -> Self {
        Self::Malformed(Cow::Borrowed(what))
    }

    /// Whether the same credentials may be accepted at another time. The session then connects again, with pauses.
    /// After other errors the session ends.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
