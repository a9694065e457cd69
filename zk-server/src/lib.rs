//! An in-memory ZooKeeper server for tests.
//!
//! The server speaks the real protocol to any client, and behaves as ZooKeeper 3.9 or 3.8 ([`Version`]). It has
//! sessions, ephemeral and sequential znodes, containers, TTLs, ACLs of all schemes, transactions, multiRead, all kinds of
//! watches, whoAmI, getEphemerals, getAllChildrenNumber, read-only mode and four-letter words, and by features TLS and
//! SASL DIGEST-MD5. It refuses to be reconfigured, as it is standalone. Random sequences of operations compare it with ZooKeeper: `docs/embedded-server.md` in the
//! repository has the command, and lists the differences.
//!
//! **When to use this crate.** Use [`TestServer`] to test a program that uses ZooKeeper, without Java: it starts in less
//! than a millisecond, and can end sessions, cut or slow down connections and advance its clock. Use [`Server`], a state
//! machine without I/O, in a simulation. **Do not use it in production**: it stores nothing on disk and is not
//! replicated. It has no quotas or metrics, and no limits except those of [`Config`].
//!
//! # A server in a test
//!
//! [`TestServer`] (feature `net`, on by default) runs a server in the process of the test, on a port of its own, so that
//! tests can run in parallel.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use std::time::Duration;
//! use zk_server::TestServer;
//!
//! let server = TestServer::start()?;
//! // … connect a client to `server.hosts()`, and let it acquire a lock …
//!
//! // How does it handle the loss of its connection, or of its session?
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
//! [`Server`] is a state machine, like the client's session in [`zk_proto::session`]: it has no sockets, clock, threads or
//! random source. The caller passes in what happens and when, then carries out what the server asks for. The same inputs
//! give the same outputs, so that a simulation can replay them.
//!
//! | inputs | outputs |
//! |---|---|
//! | [`handle_connected`](Server::handle_connected), [`handle_data`](Server::handle_data), [`handle_disconnected`](Server::handle_disconnected) | [`poll_output`](Server::poll_output): which connections have bytes to send, and which to close |
//! | [`expire_session`](Server::expire_session), [`set_read_only`](Server::set_read_only), [`restart`](Server::restart) | [`poll_transmit`](Server::poll_transmit): the bytes to send |
//! | [`handle_timeout`](Server::handle_timeout) | [`poll_timeout`](Server::poll_timeout): when `handle_timeout` is due |
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::BytesMut;
//! use zk_server::{Config, ConnectionId, Output, Server, Time};
//!
//! let mut server = Server::new(Config::default(), 42); // 42 seeds the session ids
//! let now = Time::from_origin(Duration::from_secs(1)); // from your clock
//! let client = ConnectionId(1); // your id for the connection
//!
//! server.handle_connected(now, client, "127.0.0.1:50000".parse()?);
//! server.handle_data(now, client, b"ruok"); // bytes that your socket has received
//!
//! let mut sent = BytesMut::new(); // bytes for your socket to send
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
//! // Nothing depends on time: there is no session that could expire, and no container.
//! assert_eq!(server.poll_timeout(), None);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! # Features
//!
//! - `net` (default): [`TestServer`], and the program `zk-server`, which serves clients of any language.
//! - `tls`: `TestServer::start_with_tls`: TLS by rustls, with the cryptography of ring.
//! - `sasl-digest-md5`: `Config::sasl_users`: SASL with the mechanism DIGEST-MD5.
//!
//! # Modules
//!
//! From the top down; each file imports only from those below it.
//!
//! | module | purpose |
//! |---|---|
//! | `net` | `TestServer`: one event loop that serves all connections |
//! | `input` | what happens to a server: bytes, time, and the actions of a test |
//! | `four_letter_words` | four-letter words |
//! | `handshake` | opens and resumes sessions |
//! | `requests`, `multi`, `reads`, `sasl` | handle requests |
//! | `transactions` | runs a transaction and fires watches; ends sessions; removes containers and nodes with a TTL |
//! | `server` | the state of a server, its outputs, its connections |
//! | `txn` | the operations of a transaction, and how they are undone |
//! | `zxid` | assigns zxids |
//! | `tree`, `sessions`, `watches`, `connection`, `acl` | the parts of the state |
//! | `config` | the configuration |
//! | `x500` | the names of certificates' owners |
//!
//! Every input from a client results in a reply or in the end of its connection. The lints that forbid panics are denied,
//! and there is no unsafe code.
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
mod sasl;
mod server;
mod sessions;
mod transactions;
mod tree;
mod txn;
mod watches;
mod x500;
mod zxid;

pub use config::{Config, Version};
pub use connection::ConnectionId;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use net::{ClientAuth, TlsOptions};
#[cfg(feature = "net")]
pub use net::{ClientConnection, SlowLink, TestServer};
pub use server::{Output, Server};
pub use zk_proto::{Time, session::SessionId};
