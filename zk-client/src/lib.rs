//! A ZooKeeper client for every runtime: what kazoo does, in Rust.

mod builder;
mod calls;
mod client;
mod create;
mod data;
mod driver;
mod error;
mod from_reply;
mod listeners;
mod result;
mod shared;
mod transaction;
mod watch;

pub use builder::ClientBuilder;
pub use bytes::Bytes;
pub use client::Client;
pub use create::CreateOptions;
pub use data::AsData;
pub use error::{Error, ErrorKind};
pub use listeners::{ListenerId, States};
pub use result::{AsyncResult, Link};
pub use transaction::{OperationResult, Transaction, TransactionResults};
pub use watch::Watch;

pub use zk_handler::Handler;
#[cfg(feature = "tokio")]
pub use zk_handler_tokio::TokioHandler;
pub use zk_proto::{
    Acl, CREATOR_ALL_ACL, CreateMode, ErrorCode, EventType, HostPort, Id, OPEN_ACL_UNSAFE, OpCode,
    Perms, READ_ACL_UNSAFE, Ustring,
    records::Stat,
    session::{Backoff, ClientState, Outcome, SessionId, SessionTicket, State, WatchedEvent},
};
