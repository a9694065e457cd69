//! Events, to a session with watches of all kinds.

use bytes::{Bytes, BytesMut};
use zk_proto::{
    ErrorCode,
    frame::write_frame,
    jute::{Decode, Encode, Reader},
    records::{ReplyHeader, WatcherEvent, xid},
};

use super::{
    Sent, World,
    ops::{Setup, UserRequest},
    server::Content,
};

/// Tells a session of an event, twice. The input is the event's bytes behind the header.
///
/// The session has watches of all kinds, at the root and below a chroot. Those that the event concerns
/// fire, a one-shot one once, with the path below their chroot; an event of a type that is not known
/// fires none; after one that cannot be read the session asks for all of its watches again, and keeps the
/// connection.
///
/// # Panics
/// When that is not so.
pub fn watch_event(input: &[u8]) {
    let mut world = World::new(&Setup::default(), usize::MAX);
    world.start();
    for path in ["/", "/a", "/a/b", "/d"] {
        for in_chroot in [false, true] {
            for what in [
                UserRequest::Get { watch: true },
                UserRequest::Exists { watch: true },
                UserRequest::Children { watch: true },
                UserRequest::AddWatch { recursive: path == "/a" },
            ] {
                world.ask(&what, path, in_chroot);
            }
        }
        world.settle();
    }
    assert!(world.ledger.watches.len() > 16, "few are armed");
    let body = Bytes::copy_from_slice(input);
    for _ in 0..2 {
        world.deliver_event(&body);
    }
    world.recover();
}

impl World {
    fn deliver_event(&mut self, body: &Bytes) {
        let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: -1, err: ErrorCode::Ok };
        let mut frame = BytesMut::new();
        write_frame(&mut frame, |out| {
            header.encode(out);
            out.extend_from_slice(body);
        });
        let frame = frame.freeze();
        let mut input = Reader::new(body);
        match WatcherEvent::decode(&mut input) {
            Ok(event) => {
                let mut again = BytesMut::new();
                event.encode(&mut again);
                again.extend_from_slice(&input.rest());
                assert_eq!(again, body);
                // Not the server's doing: it need not agree any more.
                self.ever_tainted = true;
                let what = Content::Event { kind: event.kind, path: event.path.to_string() };
                self.in_transit.push_back(Sent { what, bytes: frame.clone(), answers: None });
                self.feed(&frame);
                assert!(self.is_open(), "the connection is lost for an event");
            }
            Err(_) => {
                self.taint();
                self.feed(&frame);
                assert!(self.is_open(), "the connection is lost for an event");
                assert!(self.session.wants_transmit(), "what cannot be read is passed over");
            }
        }
    }
}
