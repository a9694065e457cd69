//! SASL: a client that logs in, with a user name and a password or by a mechanism of your own.
//!
//! [`ClientBuilder::sasl`](crate::ClientBuilder::sasl) turns it on. Every connection then begins with a SASL exchange,
//! before credentials, watches and calls. The client is [connected](crate::SessionState::Connected) once the exchange is
//! over. [`Client::who_am_i`](crate::Client::who_am_i) shows who the server believes it to be, and ACLs of the scheme
//! `sasl` name that user.
//!
//! | feature | mechanism | needs |
//! |---|---|---|
//! | `sasl-digest-md5` | DIGEST-MD5: `SaslOptions::digest_md5` | nothing |
//! | `sasl-gssapi` | GSSAPI, which is Kerberos: `SaslOptions::gssapi` | the system's Kerberos library; to build, its headers, `pkg-config` and `libclang` (Debian: `libkrb5-dev pkg-config libclang-dev`); not on Windows |
//!
//! # When it fails
//!
//! | what happens | what the client does |
//! |---|---|
//! | the connection is lost during the exchange, or the exchange takes longer than two thirds of the session timeout | connects again, with the usual pauses |
//! | a callback or a mechanism fails with [`SaslError::Unavailable`] | the same; the error of a start that times out says so |
//! | the server refuses the client, or has no SASL; the client does not believe the server | ends: the state is [`Lost`](crate::SessionState::Lost), the connection's state [`AuthFailed`](crate::ConnectionState::AuthFailed), and all calls fail with [`AuthFailed`](crate::ErrorKind::AuthFailed), an error that says why and on which host |
//!
//! A client that was refused starts again with other options after [`Client::set_sasl`](crate::Client::set_sasl).

#[cfg(feature = "sasl-digest-md5")]
mod digest_md5;
#[cfg(feature = "sasl-gssapi")]
mod gssapi;
mod run;
mod steps;

use std::{fmt, sync::Arc};

use zk_proto::HostPort;
pub use zk_proto::{
    jute::Secret,
    sasl::{Mechanism, SaslError, Step},
};

#[cfg(feature = "sasl-digest-md5")]
pub use digest_md5::UserPassword;
#[cfg(feature = "sasl-gssapi")]
pub use gssapi::GssapiOptions;
pub(crate) use steps::{StepRequest, Steps};

/// How a client logs in with SASL. Options are cheap to clone.
///
#[cfg_attr(
    feature = "sasl-digest-md5",
    doc = "```no_run
# async fn example() -> Result<(), zk_client::Error> {
use zk_client::{Client, sasl::SaslOptions};

let options = SaslOptions::digest_md5(\"bob\", \"his password\");
let zk = Client::builder().hosts(\"zk1,zk2\").sasl(options).connect().await?;
# Ok(())
# }
```"
)]
#[derive(Clone)]
#[non_exhaustive]
pub struct SaslOptions {
    maker: Maker,
}

/// Makes the mechanism of a connection. The number is random.
type Make = dyn Fn(&HostPort, u128) -> Result<Box<dyn Mechanism>, SaslError> + Send + Sync;

#[derive(Clone)]
struct Maker {
    make: Arc<Make>,
    /// Whether it, or the mechanism, may block.
    may_block: bool,
    /// Names it in `Debug` output.
    name: Arc<str>,
}

impl SaslOptions {
    /// Logs in by any mechanism. `make` makes it anew for each connection; it gets the host as it is written in the list
    /// of hosts.
    ///
    /// `make` and the mechanism may block and may panic: they run on a thread of their own, which a client has for as
    /// long as a step takes. A client has one such thread at most, so one that never returns keeps the client from
    /// connecting again.
    ///
    /// # Errors
    /// An error of `make` counts as one of the mechanism: see [the module](self).
    ///
    /// ```
    /// use zk_client::sasl::{Mechanism, SaslError, SaslOptions, Secret, Step};
    ///
    /// /// Sends the name and the password once (RFC 4616). ZooKeeper has no such mechanism by itself.
    /// struct Plain(&'static str);
    ///
    /// impl Mechanism for Plain {
    ///     fn name(&self) -> &str {
    ///         "PLAIN"
    ///     }
    ///
    ///     fn step(&mut self, token: &[u8]) -> Result<Step, SaslError> {
    ///         match std::mem::take(&mut self.0) {
    ///             "" if token.is_empty() => Ok(Step::Done),
    ///             "" => Err(SaslError::malformed("a token after the end")),
    ///             first => Ok(Step::Respond(Secret::new(first.as_bytes().into()))),
    ///         }
    ///     }
    /// }
    ///
    /// let options = SaslOptions::mechanism(|_host| Ok(Plain("\0bob\0secret")));
    /// ```
    pub fn mechanism<F, M>(make: F) -> Self
    where
        F: Fn(&HostPort) -> Result<M, SaslError> + Send + Sync + 'static,
        M: Mechanism + 'static,
    {
        let make = move |host: &HostPort, _| Ok(Box::new(make(host)?) as Box<dyn Mechanism>);
        Self::new("mechanism", true, make)
    }

    fn new(
        name: impl Into<Arc<str>>,
        may_block: bool,
        make: impl Fn(&HostPort, u128) -> Result<Box<dyn Mechanism>, SaslError> + Send + Sync + 'static,
    ) -> Self {
        Self { maker: Maker { make: Arc::new(make), may_block, name: name.into() } }
    }
}

/// Shows no password.
impl fmt::Debug for SaslOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaslOptions({})", self.maker.name)
    }
}
