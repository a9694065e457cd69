//! Requests of the simulation itself, which go to the servers past the network.

use bytes::{Bytes, BytesMut};
use zk_proto::{
    ErrorCode, Request, Response,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{AuthPacket, ConnectRequest, ReplyHeader, xid},
};
use zk_server::ConnectionId;

/// The connection of the simulation itself.
pub(super) const QUERY_CONNECTION: ConnectionId = ConnectionId(u64::MAX);

/// The credential of the simulation and of all of its clients: a scheme and what it wants.
pub(crate) const CREDENTIAL: (&str, &str) = ("digest", "sim:ulated");

/// The bytes of a session of its own that makes one request and ends.
pub(super) fn encode_query(request: &Request<'_>) -> Bytes {
    let mut out = BytesMut::new();
    let connect = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 10_000,
        session_id: 0,
        password: Secret::new(None),
        read_only: None,
    };
    let (scheme, auth) = CREDENTIAL;
    let auth = AuthPacket { auth_type: 0, scheme, auth: Secret::new(Some(auth.as_bytes())) };
    write_frame(&mut out, |out| connect.encode(out));
    write_frame(&mut out, |out| Request::Auth(auth).encode(xid::AUTH, out));
    write_frame(&mut out, |out| request.encode(1, out));
    write_frame(&mut out, |out| Request::CloseSession.encode(2, out));
    out.freeze()
}

/// The response among all that the server has sent in that session.
pub(super) fn decode_reply(request: &Request<'_>, bytes: &[u8]) -> Result<Response, ErrorCode> {
    let mut frames = FrameReader::new(bytes.len());
    frames.extend(bytes);
    let mut frame = || match frames.next_frame() {
        Ok(Some(Frame::Whole(frame))) => frame,
        other => panic!("the server replies with {other:?}"),
    };
    let (_connect, _auth, reply) = (frame(), frame(), frame());
    let mut input = Reader::new(&reply);
    let header = ReplyHeader::decode(&mut input).expect("a reply has a header");
    match header.err {
        ErrorCode::Ok => {
            Ok(Response::decode(request.op(), header.err, &mut input).expect("a response is valid"))
        }
        error => Err(error),
    }
}
