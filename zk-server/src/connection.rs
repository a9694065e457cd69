//! The state of one client's connection: its phase, and the bytes that were received and are to be sent.

use std::{fmt, net::SocketAddr};

use bytes::BytesMut;
use zk_proto::{
    ErrorCode, EventType, KeeperState, OpCode, Response, Time, Ustring,
    frame::{FrameReader, write_frame},
    jute::Encode,
    records::{ReplyHeader, WatcherEvent, xid},
    session::SessionId,
};

use crate::{acl::Identities, config::Config};

/// The caller's id for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Fewer than four bytes were received. They may be the start of a four-letter word.
    New,
    /// The request to connect has not been received in full.
    Handshake,
    /// The connection belongs to a session.
    Established(SessionId),
    /// What is received is ignored. Bytes that wait to be sent are still sent.
    Closed,
}

pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) phase: Phase,
    pub(crate) incoming: FrameReader,
    pub(crate) outgoing: BytesMut,
    pub(crate) identities: Identities,
    pub(crate) counters: Counters,
    /// The exchange of SASL tokens, once it has begun.
    #[cfg(feature = "sasl-digest-md5")]
    pub(crate) sasl: Option<zk_proto::sasl::digest_md5::Server>,
}

/// The zxid in the header of an event that belongs to no transaction.
pub(crate) const NO_ZXID: i64 = -1;

/// What the four-letter word `cons` reports about a connection.
pub(crate) struct Counters {
    pub(crate) established: Time,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) last_op: OpCode,
    pub(crate) last_xid: i32,
    pub(crate) last_zxid: i64,
    pub(crate) last_response: Time,
}

impl Counters {
    fn new(now: Time) -> Self {
        Self {
            established: now,
            received: 0,
            sent: 0,
            last_op: OpCode::Notification,
            last_xid: 0,
            last_zxid: 0,
            last_response: now,
        }
    }

    /// Resets all but the time of connection.
    pub(crate) fn reset(&mut self) {
        self.received = 0;
        self.sent = 0;
        self.last_op = OpCode::Unknown(-1);
        self.last_xid = -1;
        self.last_zxid = -1;
        self.last_response = Time::ZERO;
    }
}

impl Connection {
    pub(crate) fn new(now: Time, peer: SocketAddr, config: &Config) -> Self {
        Self {
            peer,
            phase: Phase::New,
            incoming: FrameReader::new(config.max_packet),
            outgoing: BytesMut::new(),
            identities: Identities::of(peer.ip(), config.schemes()),
            counters: Counters::new(now),
            #[cfg(feature = "sasl-digest-md5")]
            sasl: None,
        }
    }

    pub(crate) const fn session(&self) -> Option<SessionId> {
        match self.phase {
            Phase::Established(session) => Some(session),
            Phase::New | Phase::Handshake | Phase::Closed => None,
        }
    }

    pub(crate) fn send(&mut self, packet: impl FnOnce(&mut BytesMut)) {
        write_frame(&mut self.outgoing, packet);
        self.counters.sent = self.counters.sent.saturating_add(1);
    }

    pub(crate) fn reply(&mut self, xid: i32, zxid: i64, result: &Result<Response, ErrorCode>) {
        let (err, response) = match result {
            Ok(response) => (ErrorCode::Ok, response),
            Err(err) => (*err, &Response::Empty),
        };
        self.send(|out| response.encode(&ReplyHeader { xid, zxid, err }, out));
    }

    pub(crate) fn notify(&mut self, zxid: i64, kind: EventType, path: &str) {
        let header = ReplyHeader { xid: xid::NOTIFICATION, zxid, err: ErrorCode::Ok };
        let path = Ustring::from(path).through_java();
        let event = WatcherEvent { kind, state: KeeperState::SyncConnected, path };
        self.send(|out| {
            header.encode(out);
            event.encode(out);
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
