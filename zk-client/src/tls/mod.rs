//! TLS: between a handler's stream and the session, so that neither knows of it.
//!
//! [`TlsOptions`] is what the user says, [`source::TlsSource`] makes the configuration of it and follows the files,
//! [`stream`] does the handshake and carries the bytes, [`explain`] says what an error means.

mod config;
mod explain;
mod options;
mod source;
mod stream;
mod system;

pub use options::TlsOptions;

pub(crate) use source::TlsSource;
pub(crate) use stream::{TlsStream, handshake};
