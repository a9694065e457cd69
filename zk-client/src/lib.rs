//! A ZooKeeper client for every runtime: what [kazoo](https://kazoo.readthedocs.io) does, in Rust.
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
//! Every call of a [`Client`] sends its request at once, in the order of calls, and returns an
//! [`AsyncResult`], kazoo's `IAsyncResult`: await it, wait for it in a thread, give it a callback, or drop
//! it. Many calls may be under way; they share the connection and one lock, and nothing else.
//!
//! ```no_run
//! # use zk_client::{Client, Error};
//! # async fn example(zk: Client) -> Result<(), Error> {
//! let reads: Vec<_> = (0..100).map(|i| zk.get(format!("/jobs/{i}"))).collect(); // all sent
//! for read in reads {
//!     println!("{:?}", read.await?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # States
//!
//! A session is [`SessionState::Lost`], [`SessionState::Suspended`], [`SessionState::Connected`] or, with
//! [`read_only`](ClientBuilder::read_only), [`SessionState::ConnectedReadOnly`]. Hear of changes by
//! [`Client::add_listener`] or the stream of [`Client::states`].
//!
//! | change | meaning |
//! |---|---|
//! | `Lost` → `Connected` | a new session |
//! | `Connected` → `Suspended` | the connection is lost; whether the session lives on is not known |
//! | `Suspended` → `Connected` | the same session goes on; ephemeral nodes and watches are still there |
//! | `Suspended` → `Lost` | the session has expired, with its ephemeral nodes and watches; a new one begins |
//! | `Connected` → `Lost` | the client was stopped, or its credentials were refused |
//!
//! # Errors
//!
//! An [`Error`] says which operation failed, on which path and host, and why; and its
//! [`outcome`](Error::outcome) says whether the server did it all the same. What was under way when the
//! connection was lost is [`Unknown`](Outcome::Unknown), what had not been sent is
//! [`NotSent`](Outcome::NotSent). The client sends nothing twice by itself.
//!
//! # Watches
//!
//! The calls that end in `_and_watch` leave a one-shot [`Watch`] on the server. It survives reconnects:
//! what happened meanwhile is told after the reconnect. It fires once, or ends with an error when the
//! session does.
//!
//! # Runtimes
//!
//! A client runs on a [`Handler`]; a Cargo feature brings the one for your runtime.
//!
//! | feature | runtime | which one, unless [`ClientBuilder::build_on`] is told |
//! |---|---|---|
//! | `tokio` (default) | tokio, multi-thread or current-thread | the one that the caller runs in |
//! | `smol` | smol | the global one |
//! | `async-std` | async-std, which is deprecated in favour of smol | the global one |
//! | `thread` | none: plain threads | an I/O thread for each client |
//!
//! With several features, a caller inside of a tokio runtime gets that, and others the first of the rest, in
//! this order. Without features, bring a handler of your own. [`blocking::Client`] is the same client for
//! threads: its calls wait for their results.
//!
//! On every runtime alike:
//! - An idle client costs no thread, but for the I/O thread of its own that `thread` gives it by default;
//!   clones of one `ThreadHandler`, given to [`ClientBuilder::build_on`], have many clients share one.
//! - Results complete, and watches fire, in the order in which the server sent them. Callbacks run off the
//!   I/O, one at a time, in two queues: one for results and states, and one for watches. A callback that
//!   blocks holds up its own queue alone, and one that panics nobody.
//! - When the last clone of a client is dropped, its session is closed at once, from within a runtime or
//!   from outside; so is it when a tokio runtime ends before its clients.
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
mod error;
mod event;
mod from_reply;
mod inner;
mod lifecycle;
mod listeners;
mod pending_call;
pub mod recipes;
mod result;
mod retry;
mod retrying;
mod runtime;
mod stop;
mod surfaces;
mod transaction;
mod watch;

pub use admin::Reconfig;
pub use builder::ClientBuilder;
pub use bytes::Bytes;
pub use cell::CallbackId;
pub use client::{Client, WeakClient};
pub use create::{CreateMode, CreateOptions};
pub use data::AsData;
pub use digest::{digest_acl, digest_credential};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use listeners::{ListenerId, States};
pub use result::AsyncResult;
pub use retry::Retry;
pub use transaction::{OperationResult, Transaction, TransactionResults};
pub use watch::Watch;

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
    Acl, CREATOR_ALL_ACL, Chroot, ConnectString, ErrorCode, EventType, HostPort, HostsError, Id,
    OPEN_ACL_UNSAFE, OpCode, PathError, Perms, READ_ACL_UNSAFE, Time, Ustring, path,
    records::Stat,
    session::{
        Backoff, ConnectionState, Outcome, SessionId, SessionState, SessionTicket, WatchedEvent,
    },
};
