//! DIGEST-MD5: a user name and a password.

use std::fmt;

use zk_proto::{
    jute::Secret,
    sasl::{Mechanism, SaslError, digest_md5},
};

use super::SaslOptions;

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserPassword {
    /// The name, as the servers' JAAS configuration has it.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
}

impl UserPassword {
    /// Creates it from both parts.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Secret::new(password.into()) }
    }

    fn mechanism(self, seed: u128) -> Result<Box<dyn Mechanism>, SaslError> {
        Ok(Box::new(digest_md5::Client::new(self.user, self.password, seed)?))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "sasl-digest-md5")))]
impl SaslOptions {
    /// Logs in as `user` with the mechanism DIGEST-MD5 ([RFC 2831](https://www.rfc-editor.org/rfc/rfc2831)).
    ///
    /// The password is not sent, and the server has to prove that it knows it, too. Who listens to a connection can try
    /// passwords, so use TLS as well. The servers list users and passwords in the section `Server` of their JAAS
    /// configuration (`org.apache.zookeeper.server.auth.DigestLoginModule`).
    ///
    /// The Java client does not do DIGEST-MD5 in its FIPS mode, which is the default since 3.9; servers do.
    pub fn digest_md5(user: impl Into<String>, password: impl Into<String>) -> Self {
        let credentials = UserPassword::new(user, password);
        let name = format!("DIGEST-MD5 as {}", credentials.user);
        Self::new(name, false, move |_, seed| credentials.clone().mechanism(seed))
    }

    /// As [`digest_md5`](Self::digest_md5), with a user name and a password that `credentials` returns for each
    /// connection. So a secret that is rotated is taken up at the next connection.
    ///
    /// `credentials` may block and may panic: it runs on a thread of its own, as [`mechanism`](Self::mechanism) says.
    /// After an error or a panic, the client connects again, with the usual pauses. The text of the error is shown in
    /// errors and logs, so it must not contain a secret.
    ///
    /// ```no_run
    /// use zk_client::sasl::{SaslOptions, UserPassword};
    ///
    /// let options = SaslOptions::digest_md5_with(|| {
    ///     let password = std::fs::read_to_string("/run/secrets/zookeeper")?;
    ///     Ok::<_, std::io::Error>(UserPassword::new("bob", password.trim_end()))
    /// });
    /// ```
    pub fn digest_md5_with<F, E>(credentials: F) -> Self
    where
        F: Fn() -> Result<UserPassword, E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        Self::new("DIGEST-MD5 with a callback", true, move |_, seed| match credentials() {
            Ok(credentials) => credentials.mechanism(seed),
            Err(error) => Err(SaslError::Unavailable(error.to_string())),
        })
    }
}
