//! The handshake: the first packet each way. It has no header.

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::jute::{Bool, Decode, DecodeError, Encode, Reader, Secret};

/// The client's first packet (`org.apache.zookeeper.proto.ConnectRequest`).
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// Always 0.
    pub protocol_version: i32,
    /// The newest transaction that the client has seen; a server that is behind it refuses the client.
    pub last_zxid_seen: i64,
    /// The session timeout that the client wishes for, in milliseconds.
    pub timeout: i32,
    /// The session to resume, or 0 for a new one.
    pub session_id: i64,
    /// The password of the session: 16 bytes, zero for a new one.
    pub password: Secret<Option<&'a [u8]>>,
    /// Whether a server without a quorum will do; absent from clients before 3.4.
    pub read_only: Option<Bool>,
}

/// The server's first packet (`org.apache.zookeeper.proto.ConnectResponse`). Readers pass over what stands
/// behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// The negotiated session timeout in milliseconds; 0 or less when the session has expired.
    pub timeout: i32,
    /// The session; 0 when it has expired.
    pub session_id: i64,
    /// The password that resumes the session.
    pub password: Secret<Option<Bytes>>,
    /// Whether the server has no quorum; absent from servers before 3.4.
    pub read_only: Option<Bool>,
}

impl ConnectRequest<'_> {
    /// Whether a server without a quorum will do.
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
    /// Whether the server has no quorum.
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

/// Session ids are read by people in hexadecimal, as ZooKeeper's logs have them.
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

/// The last field, which is there when there are bytes for it.
fn decode_read_only(input: &mut Reader<'_>) -> Result<Option<Bool>, DecodeError> {
    match input.remaining() {
        0 => Ok(None),
        _ => Bool::decode(input).map(Some),
    }
}
