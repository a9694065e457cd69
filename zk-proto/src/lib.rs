//! ZooKeeper's protocol as a pure state machine.
//!
//! (crate documentation in the making)

mod acl;
mod chroot;
mod create_mode;
mod error_code;
pub mod frame;
pub mod hosts;
pub mod jute;
mod message;
mod opcode;
mod open_enum;
pub mod path;
pub mod records;
mod rng;
pub mod session;
mod time;
mod ustring;
mod watch_event;

pub use acl::{Acl, CREATOR_ALL_ACL, Id, OPEN_ACL_UNSAFE, Perms, READ_ACL_UNSAFE};
pub use chroot::Chroot;
pub use create_mode::CreateMode;
pub use error_code::ErrorCode;
pub use hosts::{ConnectString, HostPort, HostsError};
pub use jute::DecodeError;
pub use message::{Request, Response};
pub use opcode::OpCode;
pub use path::PathError;
pub use time::Time;
pub use ustring::Ustring;
pub use watch_event::{AddWatchMode, EventType, KeeperState, WatcherType};
