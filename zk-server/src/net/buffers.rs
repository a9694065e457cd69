//! The memory that bytes are received into, and what was received.

/// The number of bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Memory to read into, which all connections share.
pub(super) struct Buffers {
    pub(super) chunk: Vec<u8>,
    /// What a chunk was decrypted to.
    #[cfg(feature = "tls")]
    pub(super) plain: Vec<u8>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            chunk: vec![0; CHUNK],
            #[cfg(feature = "tls")]
            plain: Vec::new(),
        }
    }
}

/// The result of [`Transport::receive`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'b> {
    /// Nothing, for now.
    Nothing,
    /// These bytes, which may be none.
    Bytes(&'b [u8]),
    /// TLS has failed. The connection stays open until the client has learned of it; the server has no use for it.
    #[cfg(feature = "tls")]
    Failed,
    /// The client has closed the connection, or it has failed.
    End,
}
