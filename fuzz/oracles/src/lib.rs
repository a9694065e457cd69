//! The bodies of the fuzz targets: what must hold for any input of the protocol core and the embedded server.
//!
//! Each target is a function of bytes that panics if a guarantee does not hold. libFuzzer runs the targets
//! (`fuzz/targets`). A test of this crate runs them on stable Rust over `fuzz/corpus`, which also keeps every input that
//! ever found a bug.
//!
//! A target is a function here, a line in [`TARGETS`], a file in `fuzz/targets` with its lines in `fuzz/Cargo.toml`, and
//! a folder of seeds. A test fails if one of these is missing.

mod frame;
mod handshake;
mod memory;
mod records;
mod sasl;
mod server;
mod text;
mod tls;
mod world;

pub use frame::frame;
pub use handshake::connect_response;
pub use records::{multi_response, record, reply, request};
pub use sasl::{sasl_session, sasl_tokens};
pub use server::server;
pub use text::{connect_string, path};
pub use tls::tls;
pub use world::{session, session_model, watch_event};

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frame", frame),
    ("request", request),
    ("reply", reply),
    ("record", record),
    ("multi_response", multi_response),
    ("path", path),
    ("connect_string", connect_string),
    ("connect_response", connect_response),
    ("watch_event", watch_event),
    ("server", server),
    ("session", session),
    ("tls", tls),
    ("session_model", session_model),
    ("sasl_tokens", sasl_tokens),
    ("sasl_session", sasl_session),
];
