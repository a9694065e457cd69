//! A ZooKeeper in memory, for tests and for the first minute.
//!
//! It speaks the real protocol to any client, and behaves as ZooKeeper 3.9 or 3.8 does ([`Version`]), which it
//! is compared with in thousands of random sequences of operations: `docs/embedded-server.md` in the repository
//! has the command, and the differences. Sessions, ephemeral and sequential nodes, containers, TTLs, access
//! lists, transactions, all kinds of watches, read-only mode and four-letter words are all there.
//!
//! What it is not: it keeps nothing on disk, is alone and has no quorum, has no limits but those of
//! [`Config`], no quotas, no SASL, no TLS and no metrics. **It is not for production.**
//!
//! # A server in a test
//!
//! [`TestServer`] (feature `net`, on by default) runs one in the test's own process, in less than
//! a millisecond, on a port of its own, so that tests can run side by side.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use std::time::Duration;
//! use zk_server::TestServer;
//!
//! let server = TestServer::start()?;
//! // … connect a client to `server.hosts()`, and make it hold a lock …
//!
//! // How does it take the loss of its connection, or of its session?
//! for connection in server.connections() {
//!     connection.cut();
//! }
//! for session in server.sessions() {
//!     server.expire_session(session);
//! }
//!
//! // An hour later:
//! server.stop_clock();
//! server.advance(Duration::from_secs(3600));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A server without a socket
//!
//! [`Server`] is a state machine, as the client's session in [`zk_proto::session`] is: it has no sockets,
//! clocks, threads or randomness. Say what happens and when, then do what it asks for until it asks for
//! nothing more. The same inputs give the same outputs, so that a simulation can replay them.
//!
//! | in | out |
//! |---|---|
//! | [`handle_connected`](Server::handle_connected), [`handle_data`](Server::handle_data), [`handle_disconnected`](Server::handle_disconnected) | [`poll_output`](Server::poll_output): which connections have bytes to send, which to close |
//! | [`expire_session`](Server::expire_session), [`set_read_only`](Server::set_read_only), [`restart`](Server::restart) | [`poll_transmit`](Server::poll_transmit): the bytes |
//! | [`handle_timeout`](Server::handle_timeout) | [`poll_timeout`](Server::poll_timeout): when that is due |
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::BytesMut;
//! use zk_server::{Config, ConnectionId, Output, Server, Time};
//!
//! let mut server = Server::new(Config::default(), 42); // 42: of which session ids are made
//! let now = Time::from_origin(Duration::from_secs(1)); // your clock
//! let client = ConnectionId(1); // your name for a connection
//!
//! server.handle_connected(now, client, "127.0.0.1:50000".parse()?);
//! server.handle_data(now, client, b"ruok"); // what came in on it
//!
//! let mut sent = BytesMut::new(); // what your socket is to send
//! let mut closed = false;
//! while let Some(output) = server.poll_output() {
//!     match output {
//!         Output::Transmit(connection) => {
//!             server.poll_transmit(connection, &mut sent);
//!         }
//!         Output::Disconnect(connection) => {
//!             server.handle_disconnected(connection);
//!             closed = true;
//!         }
//!         _ => {}
//!     }
//! }
//! assert_eq!((sent.as_ref(), closed), (b"imok".as_slice(), true));
//!
//! // Wake it up no later than this: there is no session that could expire, and no container.
//! assert_eq!(server.poll_timeout(), None);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! # What is where
//!
//! | module | what it is for |
//! |---|---|
//! | `server`, `connection` | connections, sessions' ends, transactions and who hears of them |
//! | `handshake`, `requests`, `reads`, `multi` | what clients ask for |
//! | `txn` | what may change, and how; how it is undone |
//! | `tree`, `sessions`, `watches`, `acl` | what there is |
//! | `four_letter_words` | four-letter words |
//! | `net` | the runner, which is one event loop, and the test kit |
//!
//! Whatever comes from a client gives a reply, or ends its connection: the lints that forbid panics are
//! denied, and there is no unsafe code.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
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

mod acl;
mod config;
mod connection;
mod four_letter_words;
mod handshake;
mod input;
mod multi;
#[cfg(feature = "net")]
mod net;
mod reads;
mod requests;
mod server;
mod sessions;
mod transactions;
mod tree;
mod txn;
mod watches;
mod zxid;

pub use config::{Config, Version};
pub use connection::ConnectionId;
#[cfg(feature = "net")]
pub use net::{ClientConnection, SlowLink, TestServer};
pub use server::{Output, Server};
pub use zk_proto::{Time, session::SessionId};
