//! A ZooKeeper in memory.
//!
//! (docs follow)
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
mod four_letter;
mod handshake;
mod multi;
#[cfg(feature = "net")]
mod net;
mod reads;
mod requests;
mod server;
mod sessions;
mod tree;
mod txn;
mod watches;

pub use config::Config;
#[cfg(feature = "net")]
pub use net::{ClientConnection, TestServer};
pub use server::Server;
pub use zk_proto::{Time, session::SessionId};

/// The caller's name for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a server asks for, from [`Server::poll_output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// There are bytes to send, for [`Server::poll_transmit`] to give.
    Transmit(ConnectionId),
    /// Close this connection, once the last of [`Server::poll_transmit`] has been sent.
    Disconnect(ConnectionId),
}
