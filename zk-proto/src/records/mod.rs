//! The records of the protocol, by family, each able to be written and read: both ends of the wire.
//!
//! What holds here:
//! - the fields of a record stand in wire order, under ZooKeeper's names in Rust's spelling;
//! - requests borrow: they are written from where their fields live, and read while the frame is at
//!   hand; replies own, sharing the memory of the frame that they came in;
//! - null and empty are told apart wherever a peer may send either;
//! - `Debug` shows no content of nodes and no secret.
//!
//! [`Request`](crate::Request) and [`Response`](crate::Response) say which record belongs to which
//! operation.
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
