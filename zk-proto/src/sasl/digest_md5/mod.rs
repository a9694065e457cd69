//! DIGEST-MD5 (RFC 2831) as ZooKeeper's servers do it, with the JDK's `com.sun.security.sasl.digest`.
//!
//! Both sides prove that they know the password, and neither sends it. Who listens can try passwords, so use it over
//! TLS. Only authentication is supported (`qop=auth`), not the encryption of later packets: ZooKeeper has none.
//!
//! | | |
//! |---|---|
//! | realm | [`REALM`], if the server offers it; else the first that it offers |
//! | digest-uri | [`DIGEST_URI`] |
//! | character set | UTF-8. In the digest, a text of which all characters are in ISO 8859-1 is in ISO 8859-1 |
//! | nonce count | 1: each exchange is an initial authentication |
//!
//! ```
//! use zk_proto::{
//!     jute::Secret,
//!     sasl::{Mechanism, Step, digest_md5::{Client, Server, ServerStep}},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let password_of = |user: &str| (user == "bob").then(|| Secret::new("secret".to_owned()));
//! let mut client = Client::new("bob", Secret::new("secret".to_owned()), 1)?; // a random number
//! let mut server = Server::new(2); // another one
//!
//! let mut token = Vec::new();
//! while let Step::Respond(answer) = client.step(&token)? {
//!     token = match server.step(answer.expose(), password_of)? {
//!         ServerStep::Challenge(token) => token,
//!         ServerStep::Accepted { user, token } => {
//!             assert_eq!(user, "bob");
//!             token
//!         }
//!         _ => unreachable!("there are no other steps yet"),
//!     };
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod digest;
mod directives;
mod server;

pub use client::Client;
pub use server::{Server, ServerStep};

/// The name of the mechanism.
pub const NAME: &str = "DIGEST-MD5";

/// The realm of ZooKeeper's servers (`org.apache.zookeeper.server.ServerCnxn`).
pub const REALM: &str = "zk-sasl-md5";

/// The digest-uri of ZooKeeper's clients: the service and the name that all servers share.
pub const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// The longest challenge, in bytes (RFC 2831, section 2.1.1).
const MAX_CHALLENGE: usize = 2047;

/// The longest response, in bytes (RFC 2831, section 2.1.2).
const MAX_RESPONSE: usize = 4095;

/// The nonce count of an initial authentication.
const NONCE_COUNT: &str = "00000001";
