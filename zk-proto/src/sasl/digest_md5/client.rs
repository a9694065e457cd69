//! The client's side.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::{fmt, str};

use bytes::Bytes;

use crate::{
    jute::Secret,
    sasl::{Mechanism, SaslError, Step},
};

use super::{
    DIGEST_URI, MAX_CHALLENGE, NAME, NONCE_COUNT, REALM,
    digest::{Exchange, Hex, hex_of, is_same},
    directives::{Directives, push, push_quoted},
};

/// The client's side of DIGEST-MD5 on one connection.
///
/// It ends with [`Step::Done`] only if the server has proved that it knows the password, too.
pub struct Client {
    user: String,
    password: Secret<String>,
    cnonce: Hex,
    state: State,
}

enum State {
    /// Nothing was sent. The client has no token to begin with.
    Initial,
    /// The server's challenge is due.
    Begun,
    /// The response was sent. The server's proof is due.
    Responded {
        rspauth: Hex,
    },
    Over,
}

impl Client {
    /// Creates the client's side for one connection.
    ///
    /// `seed` must be random and different for each connection: it becomes the client's nonce, which keeps a server
    /// that records an exchange from using it again, and from looking passwords up in a table.
    ///
    /// # Errors
    /// [`SaslError::InvalidCredentials`] if the user name or the password is empty, or the user name has a control
    /// character.
    pub fn new(
        user: impl Into<String>,
        password: Secret<String>,
        seed: u128,
    ) -> Result<Self, SaslError> {
        let user = user.into();
        let invalid = |what: &'static str| Err(SaslError::InvalidCredentials(Cow::Borrowed(what)));
        if user.is_empty() {
            return invalid("the user name is empty");
        }
        if user.chars().any(char::is_control) {
            return invalid("the user name has a control character");
        }
        if password.expose().is_empty() {
            return invalid("the password is empty");
        }
        Ok(Self { user, password, cnonce: hex_of(seed), state: State::Initial })
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        let directives = Directives::parse(challenge, MAX_CHALLENGE)?;
        let nonce = directives.required("nonce")?;
        if !directives.required("algorithm")?.eq_ignore_ascii_case(b"md5-sess") {
            return Err(SaslError::Unsupported("algorithm"));
        }
        if !offers_auth(&directives)? {
            return Err(SaslError::Unsupported("quality of protection"));
        }
        let utf8 = directives.is_utf8()?;
        let is_ascii = self.user.is_ascii() && self.password.expose().is_ascii();
        if !utf8 && !is_ascii {
            return Err(SaslError::Unsupported("character set"));
        }
        let realm = choose_realm(&directives)?;
        let exchange = Exchange {
            user: &self.user,
            realm: realm.unwrap_or_default(),
            password: self.password.expose(),
            nonce,
            cnonce: &self.cnonce,
            authzid: None,
            digest_uri: DIGEST_URI.as_bytes(),
        };
        let mut out = Vec::new();
        if utf8 {
            push(&mut out, "charset", b"utf-8");
        }
        push_quoted(&mut out, "username", self.user.as_bytes());
        if let Some(realm) = realm {
            push_quoted(&mut out, "realm", realm.as_bytes());
        }
        push_quoted(&mut out, "nonce", nonce);
        push(&mut out, "nc", NONCE_COUNT.as_bytes());
        push_quoted(&mut out, "cnonce", &self.cnonce);
        push_quoted(&mut out, "digest-uri", DIGEST_URI.as_bytes());
        push(&mut out, "response", &exchange.response());
        push(&mut out, "qop", b"auth");
        self.state = State::Responded { rspauth: exchange.rspauth() };
        Ok(Step::Respond(Secret::new(out.into())))
    }
}

/// The realm to use; `None` if the challenge has none.
fn choose_realm<'d>(directives: &'d Directives<'_>) -> Result<Option<&'d str>, SaslError> {
    let mut realms = directives.all("realm");
    let zookeeper = directives.all("realm").find(|realm| *realm == REALM.as_bytes());
    let realm = zookeeper.or_else(|| realms.next());
    let realm = realm.map(str::from_utf8).transpose();
    realm.map_err(|_| SaslError::malformed("the realm is not UTF-8"))
}

/// Whether the server offers authentication without protection of later packets, as it does if it says nothing.
fn offers_auth(directives: &Directives<'_>) -> Result<bool, SaslError> {
    let Some(qop) = directives.optional("qop")? else { return Ok(true) };
    Ok(qop.split(|byte| *byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"auth")))
}

fn verify(proof: &[u8], rspauth: &Hex) -> Result<Step, SaslError> {
    if proof.is_empty() {
        return Err(SaslError::NoProof);
    }
    let directives = Directives::parse(proof, MAX_CHALLENGE)?;
    match is_same(directives.required("rspauth")?, rspauth) {
        true => Ok(Step::Done),
        false => Err(SaslError::WrongProof),
    }
}

impl Mechanism for Client {
    fn name(&self) -> &str {
        NAME
    }

    fn step(&mut self, token: &[u8]) -> Result<Step, SaslError> {
        match core::mem::replace(&mut self.state, State::Over) {
            State::Initial => {
                self.state = State::Begun;
                Ok(Step::Respond(Secret::new(Bytes::new())))
            }
            State::Begun => self.respond(token),
            State::Responded { rspauth } => verify(token, &rspauth),
            State::Over => Err(SaslError::malformed("the exchange is over")),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    const CHALLENGE: &str =
        r#"realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess,qop="auth""#;

    fn client() -> Client {
        Client::new("bob", Secret::new("secret".into()), 7).unwrap()
    }

    fn respond(challenge: &str) -> Result<String, SaslError> {
        let mut client = client();
        assert_eq!(client.step(b""), Ok(Step::Respond(Secret::new(Bytes::new()))));
        match client.step(challenge.as_bytes())? {
            Step::Respond(token) => Ok(String::from_utf8(token.expose().to_vec()).unwrap()),
            Step::Done => panic!("too early"),
        }
    }

    #[test]
    fn the_response_has_what_the_jdk_expects() {
        let response = respond(CHALLENGE).unwrap();
        let cnonce = "00000000000000000000000000000007";
        let (before, after) = response.split_once("response=").unwrap();
        assert_eq!(
            before,
            format!(
                r#"charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="n",nc=00000001,cnonce="{cnonce}",digest-uri="zookeeper/zk-sasl-md5","#
            )
        );
        assert_eq!(after.len(), 32 + ",qop=auth".len());
    }

    #[test]
    fn zookeepers_realm_is_preferred_to_others() {
        for (realms, chosen) in [
            (r#"realm="a",realm="zk-sasl-md5""#, Some(r#"realm="zk-sasl-md5""#)),
            (r#"realm="a",realm="b""#, Some(r#"realm="a""#)),
            (r#"realm="a\"b""#, Some(r#"realm="a\"b""#)),
            ("unknown=1", None),
        ] {
            let response = respond(&format!("{realms},nonce=n,algorithm=md5-sess")).unwrap();
            match chosen {
                Some(chosen) => assert!(response.contains(chosen), "{response}"),
                None => assert!(!response.contains("realm"), "{response}"),
            }
        }
    }

    #[test]
    fn challenges_without_what_is_needed_are_errors() {
        for challenge in [
            "",
            "nonce=n",
            "algorithm=md5-sess",
            "nonce=\"\",algorithm=md5-sess",
            "nonce=n,nonce=m,algorithm=md5-sess",
            "nonce=n,algorithm=md5-sess,algorithm=md5-sess",
            "nonce=n,algorithm=sha",
            "nonce=n,algorithm=md5-sess,qop=\"auth-int,auth-conf\"",
            "nonce=n,algorithm=md5-sess,qop=auth,qop=auth",
            "nonce=n,algorithm=md5-sess,charset=latin1",
            "nonce=n,algorithm=md5-sess,charset=utf-8,charset=utf-8",
        ] {
            let error = respond(challenge).unwrap_err();
            assert!(!error.is_transient(), "{challenge}: {error}");
        }
        let long = format!("{CHALLENGE},x=\"{}\"", "y".repeat(MAX_CHALLENGE));
        assert!(respond(&long).unwrap_err().to_string().contains("too long"));
        respond("nonce=n,algorithm=MD5-sess,qop=\"auth-int, AUTH\",stale=true,maxbuf=9,x=y")
            .unwrap();
    }

    #[test]
    fn a_server_without_a_proof_is_not_believed() {
        for (proof, error) in [
            ("", SaslError::NoProof),
            ("rspauth=0123", SaslError::WrongProof),
            ("rspauth=00000000000000000000000000000000", SaslError::WrongProof),
            ("x=y", SaslError::Malformed("rspauth is missing".into())),
        ] {
            let mut client = client();
            client.step(b"").unwrap();
            client.step(CHALLENGE.as_bytes()).unwrap();
            assert_eq!(client.step(proof.as_bytes()), Err(error));
            assert!(client.step(b"").is_err(), "it is over");
        }
    }

    #[test]
    fn characters_that_cannot_be_sent_are_an_error() {
        let mut client = Client::new("bob", Secret::new("pässword".into()), 7).unwrap();
        client.step(b"").unwrap();
        let error = client.step(b"nonce=n,algorithm=md5-sess").unwrap_err();
        assert_eq!(error, SaslError::Unsupported("character set"));
        for (user, password) in [("", "secret"), ("bob", ""), ("b\nob", "secret")] {
            assert!(Client::new(user, Secret::new(password.into()), 7).is_err(), "{user:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        assert_eq!(format!("{:?}", client()), r#"Client { user: "bob", .. }"#);
    }
}
