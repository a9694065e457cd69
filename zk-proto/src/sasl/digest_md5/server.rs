//! The server's side, for servers in tests.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str};

use crate::{jute::Secret, sasl::SaslError};

use super::{
    DIGEST_URI, MAX_RESPONSE, NONCE_COUNT, REALM,
    digest::{Exchange, Hex, hex_of, is_same},
    directives::{Directives, push, push_quoted},
};

/// The server's side of DIGEST-MD5 on one connection.
pub struct Server {
    nonce: Hex,
    state: State,
}

enum State {
    Initial,
    Challenged,
    Over,
}

/// What a [`Server`] answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerStep {
    /// Send this token, and call [`Server::step`] with the client's answer.
    Challenge(Vec<u8>),
    /// The client has proved that it is `user`. Send the token, which is the server's own proof. The exchange is over.
    Accepted {
        /// The user.
        user: String,
        /// The token to send.
        token: Vec<u8>,
    },
}

impl Server {
    /// Creates the server's side for one connection. `seed` must be random and different for each connection: it
    /// becomes the server's nonce.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self { nonce: hex_of(seed), state: State::Initial }
    }

    /// Takes a client's token. `password_of` returns the password of a user, or `None` for an unknown one.
    ///
    /// The first token should be empty. Like the JDK, this ignores its content, and answers with the challenge.
    ///
    /// # Errors
    /// [`SaslError::Refused`] if the user is unknown or the password is wrong, and other errors if the token is not
    /// valid. The exchange is over then: further tokens are errors.
    pub fn step(
        &mut self,
        token: &[u8],
        password_of: impl FnOnce(&str) -> Option<Secret<String>>,
    ) -> Result<ServerStep, SaslError> {
        match core::mem::replace(&mut self.state, State::Over) {
            State::Initial => {
                self.state = State::Challenged;
                Ok(ServerStep::Challenge(self.challenge()))
            }
            State::Challenged => self.verify(token, password_of),
            State::Over => Err(SaslError::malformed("the exchange is over")),
        }
    }

    fn challenge(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_quoted(&mut out, "realm", REALM.as_bytes());
        push_quoted(&mut out, "nonce", &self.nonce);
        push(&mut out, "charset", b"utf-8");
        push(&mut out, "algorithm", b"md5-sess");
        out
    }

    fn verify(
        &self,
        response: &[u8],
        password_of: impl FnOnce(&str) -> Option<Secret<String>>,
    ) -> Result<ServerStep, SaslError> {
        let directives = Directives::parse(response, MAX_RESPONSE)?;
        let utf8 = directives.is_utf8()?;
        let user = text(directives.required("username")?, utf8)?;
        let realm = text(directives.optional("realm")?.unwrap_or_default(), utf8)?;
        let refused = [
            (directives.required("nonce")? != self.nonce, "it is for another nonce"),
            (directives.required("nc")? != NONCE_COUNT.as_bytes(), "its nonce count is not 1"),
            (realm != REALM, "it is for another realm"),
        ];
        if let Some((_, what)) = refused.iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(SaslError::malformed(what));
        }
        let digest_uri = directives.required("digest-uri")?;
        if !digest_uri.eq_ignore_ascii_case(DIGEST_URI.as_bytes()) {
            return Err(SaslError::malformed("it is for another service"));
        }
        if !directives.optional("qop")?.unwrap_or(b"auth").eq_ignore_ascii_case(b"auth") {
            return Err(SaslError::Unsupported("quality of protection"));
        }
        let authzid = directives.optional("authzid")?.filter(|it| !it.is_empty());
        let password = password_of(&user).ok_or(SaslError::Refused)?;
        let exchange = Exchange {
            user: &user,
            realm: &realm,
            password: password.expose(),
            nonce: &self.nonce,
            cnonce: directives.required("cnonce")?,
            authzid,
            digest_uri,
        };
        if !is_same(directives.required("response")?, &exchange.response())
            || authzid.is_some_and(|authzid| authzid != user.as_bytes())
        {
            return Err(SaslError::Refused);
        }
        let mut token = Vec::new();
        push(&mut token, "rspauth", &exchange.rspauth());
        Ok(ServerStep::Accepted { user, token })
    }
}

/// The text of a value, which is in UTF-8 if the response says so, and else in ISO 8859-1.
fn text(value: &[u8], utf8: bool) -> Result<String, SaslError> {
    if utf8 {
        let text = str::from_utf8(value).map(ToString::to_string);
        text.map_err(|_| SaslError::malformed("a value is not UTF-8"))
    } else {
        Ok(value.iter().copied().map(char::from).collect())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// Shows no token.
impl fmt::Debug for ServerStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(_) => f.debug_struct("Challenge").finish_non_exhaustive(),
            Self::Accepted { user, .. } => {
                f.debug_struct("Accepted").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sasl::{Mechanism, Step, digest_md5::Client};

    /// Runs an exchange, and returns the user that the server accepted.
    fn exchange(
        user: &str,
        password: &str,
        password_of: impl Fn(&str) -> Option<Secret<String>>,
    ) -> Result<String, SaslError> {
        let mut client = Client::new(user, Secret::new(password.into()), 1)?;
        let mut server = Server::new(2);
        let mut accepted = None;
        let mut token = Vec::new();
        while let Step::Respond(answer) = client.step(&token)? {
            assert_eq!(accepted, None);
            token = match server.step(answer.expose(), &password_of)? {
                ServerStep::Challenge(token) => token,
                ServerStep::Accepted { user, token } => {
                    accepted = Some(user);
                    token
                }
            };
        }
        Ok(accepted.expect("the client ends after the server"))
    }

    fn only_bob(user: &str) -> Option<Secret<String>> {
        (user == "bob").then(|| Secret::new("secret".into()))
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        assert_eq!(exchange("bob", "secret", only_bob), Ok("bob".into()));
        assert_eq!(exchange("bob", "Secret", only_bob), Err(SaslError::Refused));
        assert_eq!(exchange("ann", "secret", only_bob), Err(SaslError::Refused));
    }

    /// The client's response with one part replaced.
    fn refusal(from: &str, to: &str) -> SaslError {
        let mut client = Client::new("bob", Secret::new("secret".into()), 1).unwrap();
        let mut server = Server::new(2);
        client.step(b"").unwrap();
        let Ok(ServerStep::Challenge(challenge)) = server.step(b"", only_bob) else { panic!() };
        let Ok(Step::Respond(response)) = client.step(&challenge) else { panic!() };
        let response = str::from_utf8(response.expose()).unwrap();
        assert!(response.contains(from), "{response}");
        let changed = response.replace(from, to);
        let error = server.step(changed.as_bytes(), only_bob).unwrap_err();
        assert!(server.step(response.as_bytes(), only_bob).is_err(), "it is over");
        error
    }

    #[test]
    fn a_response_to_something_else_is_refused() {
        for (from, to) in [
            ("nonce=\"", "nonce=\"x"),
            ("00000001", "00000002"),
            ("zk-sasl-md5\",nonce", "other\",nonce"),
            ("zookeeper/", "hbase/"),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth", "qop=auth,qop=auth"),
            ("qop=auth", "authzid=\"ann\""),
            ("utf-8", "latin1"),
            ("cnonce", "x"),
        ] {
            let error = refusal(from, to);
            assert!(!error.is_transient(), "{from} to {to}: {error}");
        }
        assert_eq!(refusal("response=", "response=0"), SaslError::Refused);
    }

    proptest! {
        #[test]
        fn any_user_with_the_right_password_is_accepted(
            user in "[^\\p{Cc}]{1,40}",
            password in "\\PC{1,40}",
            other in "\\PC{1,40}",
        ) {
            let password_of = |_: &str| Some(Secret::new(password.clone()));
            prop_assert_eq!(exchange(&user, &password, password_of), Ok(user.clone()));
            if other != password {
                prop_assert_eq!(exchange(&user, &other, password_of), Err(SaslError::Refused));
            }
        }

        #[test]
        fn no_token_causes_a_panic(tokens in proptest::collection::vec(any::<Vec<u8>>(), 3)) {
            let mut client = Client::new("bob", Secret::new("secret".into()), 1).unwrap();
            let mut server = Server::new(2);
            for token in &tokens {
                let _ = server.step(token, only_bob);
                prop_assert_ne!(client.step(token), Ok(Step::Done));
            }
        }
    }
}
