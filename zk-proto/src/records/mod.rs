//! The records of the protocol, one file per family. Each can be encoded and decoded, for clients and servers.
//!
//! - The fields of a record are in wire order and have ZooKeeper's names in Rust's spelling.
//! - Requests borrow their fields from the caller or from the frame. Replies own their fields and share the
//!   memory of the frame.
//! - Null and empty are distinct wherever a peer may send either.
//! - `Debug` shows no node data and no secrets.
//!
//! [`Request`](crate::Request) and [`Response`](crate::Response) map operations to records.
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

mod acls;
mod admin;
mod auth;
mod children;
mod connect;
mod data;
mod header;
mod multi;
mod nodes;
mod watches;

pub use acls::*;
pub use admin::*;
pub use auth::*;
pub use children::*;
pub use connect::*;
pub use data::*;
pub use header::*;
pub use multi::*;
pub use nodes::*;
pub use watches::*;
