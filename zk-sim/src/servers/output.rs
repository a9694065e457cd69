//! What the servers do, for the world to carry out.

use zk_server::ConnectionId;

#[derive(Debug)]
pub(crate) enum Output {
    /// Bytes for a client.
    Transmit(ConnectionId, Vec<u8>),
    /// The server's end of a connection is closed.
    Close(ConnectionId),
    /// A connection is reset.
    Reset(ConnectionId),
    /// A step for the trace.
    Step(&'static str, u64),
    /// A rule is violated.
    Violation(String),
}
