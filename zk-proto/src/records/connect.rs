//! The handshake: the first packet in each direction. It has no header.

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::jute::{Bool, Decode, DecodeError, Encode, Reader, Secret};

/// The client's first packet (`org.apache.zookeeper.proto.ConnectRequest`).
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// Always 0.
    pub protocol_version: i32,
    /// The newest transaction that the client has seen. A server that is behind it refuses the client.
    pub last_zxid_seen: i64,
    /// The requested session timeout in milliseconds.
    pub timeout: i32,
    /// The session to resume, or 0 for a new one.
    pub session_id: i64,
    /// The password of the session: 16 bytes, all zero for a new session.
    pub password: Secret<Option<&'a [u8]>>,
    /// Whether the client accepts a read-only server. Clients before 3.4 do not send it.
    pub read_only: Option<Bool>,
}

/// The server's first packet (`org.apache.zookeeper.proto.ConnectResponse`). Clients ignore bytes after it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// The negotiated session timeout in milliseconds; 0 or less if the session has expired.
    pub timeout: i32,
    /// The session; 0 if it has expired.
    pub session_id: i64,
    /// The password with which the client can resume the session.
    pub password: Secret<Option<Bytes>>,
    /// Whether the server is read-only. Servers before 3.4 do not send it.
    pub read_only: Option<Bool>,
}

impl ConnectRequest<'_> {
    /// Returns true if the client accepts a read-only server.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only.is_some_and(Bool::get)
    }
}

impl Encode for ConnectRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.last_zxid_seen.encode(out);
        self.timeout.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        encode_read_only(self.read_only, out);
    }
}

impl<'a> Decode<'a> for ConnectRequest<'a> {
    const MIN_LEN: usize = 28;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Decode::decode(input)?,
            last_zxid_seen: Decode::decode(input)?,
            timeout: Decode::decode(input)?,
            session_id: Decode::decode(input)?,
            password: Decode::decode(input)?,
            read_only: decode_read_only(input)?,
        })
    }
}

impl fmt::Debug for ConnectRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("protocol_version", &self.protocol_version)
            .field("last_zxid_seen", &self.last_zxid_seen)
            .field("timeout", &self.timeout)
            .field("session_id", &Hex(self.session_id))
            .field("password", &self.password)
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl ConnectResponse {
    /// Returns true if the server is read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only.is_some_and(Bool::get)
    }
}

impl Encode for ConnectResponse {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.timeout.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        encode_read_only(self.read_only, out);
    }
}

impl<'a> Decode<'a> for ConnectResponse {
    const MIN_LEN: usize = 20;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Decode::decode(input)?,
            timeout: Decode::decode(input)?,
            session_id: Decode::decode(input)?,
            password: Decode::decode(input)?,
            read_only: decode_read_only(input)?,
        })
    }
}

impl fmt::Debug for ConnectResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectResponse")
            .field("protocol_version", &self.protocol_version)
            .field("timeout", &self.timeout)
            .field("session_id", &Hex(self.session_id))
            .field("password", &self.password)
            .field("read_only", &self.read_only)
            .finish()
    }
}

/// Shows a session id in hexadecimal, as ZooKeeper's logs do.
struct Hex(i64);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

fn encode_read_only(read_only: Option<Bool>, out: &mut BytesMut) {
    if let Some(read_only) = read_only {
        read_only.encode(out);
    }
}

/// Decodes the last field, which is optional.
fn decode_read_only(input: &mut Reader<'_>) -> Result<Option<Bool>, DecodeError> {
    match input.remaining() {
        0 => Ok(None),
        _ => Bool::decode(input).map(Some),
    }
}
