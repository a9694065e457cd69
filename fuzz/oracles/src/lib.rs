//! What must hold for any input of the protocol core and of the embedded server: the bodies of the fuzz targets.
//!
//! Each target is a function of bytes that panics when something does not hold. libFuzzer runs them
//! (`fuzz/targets`), and so does this crate's own test, on stable Rust, over the corpus that is kept in
//! `fuzz/corpus`: an input that once broke something is kept there and broken for good.
//!
//! A target is one function here, one line in [`TARGETS`], one file in `fuzz/targets` with its lines in
//! `fuzz/Cargo.toml`, and a folder of seeds; the test tells when one of these is missing.

mod frame;
mod handshake;
mod memory;
mod records;
mod server;
mod text;
mod world;

pub use frame::frame;
pub use handshake::connect_response;
pub use records::{multi_response, record, reply, request};
pub use server::server;
pub use text::{connect_string, path};
pub use world::{session, session_model, watch_event};

/// A fuzz target: its name and what it does with an input.
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
    ("session_model", session_model),
];
