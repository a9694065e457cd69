//! SASL: authentication by an exchange of tokens (RFC 4422, `org.apache.zookeeper.client.ZooKeeperSaslClient`).
//!
//! A [`Mechanism`] is one side of an exchange. It takes the other side's token and returns its own, and it decides
//! whether it believes the other side. It knows nothing of ZooKeeper's packets: the
//! [session](crate::session) moves the tokens, and never looks into them.
//!
//! ```text
//!  session                                                     mechanism of this connection
//!    │ ─── Output::Sasl { token: none } ──────────────────────▶  step(b"")
//!    │ ◀── Session::handle_sasl(Step::Respond(token)) ─────────  the first token
//!    │ ═══ token to the server, and its answer ═══
//!    │ ─── Output::Sasl { token: answer } ────────────────────▶  step(answer)
//!    │ ◀── Session::handle_sasl(Step::Done) ───────────────────  the server is believed
//! ```
//!
//! Each connection needs a new mechanism, because a server remembers nothing of the exchange of another connection.
//!
//! # Features
//! - `sasl-digest-md5`: the mechanism DIGEST-MD5, in `digest_md5`.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(feature = "sasl-digest-md5")]
#[cfg_attr(docsrs, doc(cfg(feature = "sasl-digest-md5")))]
pub mod digest_md5;
mod mechanism;

pub use mechanism::{Mechanism, SaslError, Step};
