//! A ZooKeeper client for every runtime: tokio, smol, async-std, or plain threads.
//!
//! Use this crate to talk to a ZooKeeper ensemble from Rust. It reconnects by itself, says of each failed request whether
//! it was applied, keeps watches over reconnects, and has [recipes] such as locks and semaphores. It is modelled
//! on Python's [kazoo](https://kazoo.readthedocs.io). To embed the protocol in something else, see `zk-proto`; for a server
//! in tests, see `zk-server`.
//!
//! ```no_run
//! use zk_client::{Client, CreateMode, Error, OPEN_ACL_UNSAFE};
//!
//! # async fn example() -> Result<(), Error> {
//! let zk = Client::builder()
//!     .hosts("zk1:2181,zk2:2181,zk3:2181/app")
//!     .default_acl(&OPEN_ACL_UNSAFE)
//!     .connect()
//!     .await?;
//! zk.create("/greeting", b"hello", CreateMode::Persistent).await?;
//! let (data, stat) = zk.get("/greeting").await?;
//! println!("{data:?}, version {}", stat.version);
//! zk.stop().await
//! # }
//! ```
//!
//! # Calls
//!
//! Every call of a [`Client`] sends its request at once, in the order of calls, and returns a handle, an [`AsyncResult`].
//! Await the handle, block a thread on it, give it a callback, or drop it. Many calls can be in flight. They share one
//! connection.
//!
//! ```no_run
//! # use zk_client::{Client, Error};
//! # async fn example(zk: Client) -> Result<(), Error> {
//! let reads: Vec<_> = (0..100).map(|i| zk.get(format!("/jobs/{i}"))).collect(); // all are sent
//! for read in reads {
//!     println!("{:?}", read.await?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Cancel safety.** To drop a handle does not take back its request: the server may still apply it. Waiting for a lock
//! and retries end when their handle is dropped. See [`AsyncResult`](AsyncResult#cancel-safety).
//!
//! # States
//!
//! The state of a session is [`SessionState::Lost`], [`SessionState::Suspended`], [`SessionState::Connected`] or, with
//! [`read_only`](ClientBuilder::read_only), [`SessionState::ConnectedReadOnly`]. Follow its changes with
//! [`Client::add_listener`] or [`Client::states`].
//!
//! | change | meaning |
//! |---|---|
//! | `Lost` → `Connected` | a new session begins |
//! | `Connected` → `Suspended` | the connection is lost; the servers may still keep the session |
//! | `Suspended` → `Connected` | the same session goes on, with its ephemeral nodes and watches |
//! | `Suspended` → `Lost` | the session has expired, with its ephemeral nodes and watches; the client begins a new one |
//! | `Connected` → `Lost` | the client was stopped, or its credentials were refused |
//!
//! # Errors
//!
//! An [`Error`] says which operation failed, on which path and host, and why. Its [`outcome`](Error::outcome) says what
//! became of the request. If the connection was lost before the reply, the outcome is [`Unknown`](Outcome::Unknown); if the
//! request was not sent, it is [`NotSent`](Outcome::NotSent). The client never sends a request twice by itself: see
//! [`Retry`].
//!
//! # Watches
//!
//! The calls that end in `_and_watch` arm a one-shot [`Watch`]. A watch survives reconnects: if the node changed meanwhile,
//! it fires after the reconnect. It fires once, or ends with an error if the session ends.
//!
//! [`Client::add_watch`] adds a [`PersistentWatch`], a stream of all changes of a node or of a whole tree. If changes may
//! be missing, because of a reconnect or because the reader is too slow, the stream says so: then read again.
//!
//! # TLS
//!
//! With the feature `tls`, `ClientBuilder::tls` puts TLS 1.3 or 1.2 on every connection, on every runtime: see
//! `TlsOptions`. It is rustls with the cryptography of ring. For another provider, enable `tls-no-provider` instead, and
//! install the provider for the process (`CryptoProvider::install_default`) or pass a configuration with it to
//! `TlsOptions::from_config`. An installed provider comes before ring. Without these features, nothing of it is built.
//!
//! # Runtimes
//!
//! A client runs on a [`Handler`]. For each runtime, a Cargo feature provides one.
//!
//! | feature | runtime | instance that is used, without [`ClientBuilder::build_on`] |
//! |---|---|---|
//! | `tokio` (default) | tokio, multi-thread or current-thread | the one that the caller runs in |
//! | `smol` | smol | the global one |
//! | `async-std` | async-std, which is deprecated in favour of smol | the global one |
//! | `thread` | none: plain threads | one I/O thread per client |
//!
//! With several of these features, a client that is created in a tokio runtime runs on it, if `tokio` is one of them.
//! Elsewhere, [`connect`](ClientBuilder::connect) and [`build`](ClientBuilder::build) return an error: choose the handler
//! with [`connect_on`](ClientBuilder::connect_on) or [`build_on`](ClientBuilder::build_on). A library should always do
//! so, since other crates of a program can enable more features. Without any of these features, bring a handler of your
//! own. [`blocking::Client`] is the same client for threads: its calls block until they are complete.
//!
//! On every runtime:
//! - An idle client needs no thread, except for the I/O thread of `thread`. To share one I/O thread among clients, pass
//!   clones of one `ThreadHandler` to [`ClientBuilder::build_on`].
//! - Results complete, and watches fire, in the order in which the server sent them.
//! - Callbacks run on threads of their own, in two callback queues per client: one for results and session states, and one
//!   for watches. In each queue they run one at a time. A callback that blocks delays its own queue only. A panicking
//!   callback affects no other.
//! - When the last clone of a client is dropped, its session is closed at once. The same holds when a tokio runtime ends
//!   before its clients.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod admin;
pub mod blocking;
mod builder;
mod calls;
mod cell;
mod client;
mod compound_calls;
mod connect;
mod create;
mod data;
mod digest;
mod dispatch;
mod driver;
mod ensemble_config;
mod error;
mod event;
mod from_reply;
mod inner;
mod lifecycle;
mod listeners;
mod multi_read;
mod pending_call;
mod persistent_watch;
pub mod recipes;
mod result;
mod retry;
mod retrying;
mod runtime;
pub mod sasl;
mod server_stats;
mod stop;
mod surfaces;
mod tasks;
#[cfg(feature = "tls-no-provider")]
mod tls;
mod transaction;
mod transport;
mod watch;
mod watch_calls;

pub use admin::Reconfig;
pub use builder::ClientBuilder;
pub use bytes::Bytes;
pub use cell::CallbackId;
pub use client::{Client, WeakClient};
pub use create::{CreateMode, CreateOptions};
pub use data::AsData;
pub use digest::{digest_acl, digest_credential};
pub use ensemble_config::{EnsembleConfig, Member, MemberAddress, MemberRole};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use listeners::{ListenerId, States};
pub use multi_read::{MultiRead, ReadResult};
pub use persistent_watch::{AddWatchOptions, PersistentWatch, PersistentWatchEvent};
pub use result::AsyncResult;
pub use retry::Retry;
pub use sasl::SaslOptions;
pub use server_stats::{ServerMode, ServerStats};
pub use transaction::{OperationResult, Transaction, TransactionResults};
pub use watch::Watch;
#[cfg(feature = "tls-no-provider")]
pub use {rustls, tls::TlsOptions};

pub use zk_handler::Handler;
#[cfg(feature = "async-std")]
pub use zk_handler_async_std::AsyncStdHandler;
#[cfg(feature = "smol")]
pub use zk_handler_smol::SmolHandler;
#[cfg(feature = "thread")]
pub use zk_handler_thread::ThreadHandler;
#[cfg(feature = "tokio")]
pub use zk_handler_tokio::TokioHandler;
pub use zk_proto::{
    Acl, AclError, AddWatchMode, CREATOR_ALL_ACL, Chroot, ConnectString, ErrorCode, EventType,
    HostPort, HostsError, Id, OPEN_ACL_UNSAFE, OpCode, PathError, Perms, READ_ACL_UNSAFE, Time,
    Ustring, WatcherType, path,
    records::{ClientInfo, Stat},
    session::{
        Backoff, ConnectionState, Outcome, SessionId, SessionState, SessionTicket, WatchedEvent,
    },
};
