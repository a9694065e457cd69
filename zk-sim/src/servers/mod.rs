//! The servers, as state machines: one server on its own or an ensemble of three.

mod addresses;
mod ensemble;
mod hosts;
mod log;
mod logged_server;
mod machine;
mod output;
mod query;
mod standalone;

pub use addresses::{DOWN_HOSTS, HOSTS};
pub(crate) use addresses::{machine_number, never_answers, resolve};
pub(crate) use hosts::Hosts;
pub(crate) use log::MAX_PACKET;
pub use log::{Change, Record};
pub(crate) use output::Output;
pub(crate) use query::CREDENTIAL;
