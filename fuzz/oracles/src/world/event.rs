//! Watch events for a session with watches of all kinds.

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

/// Sends an event to a session twice. The input is the bytes of the event after the header.
///
/// The session has watches of all kinds, with and without a chroot. The matching watches fire (a one-shot watch only
/// once) with the path without their chroot. An event of an unknown type fires none. After an event that cannot be
/// decoded, the session re-arms all its watches and keeps the connection.
///
/// # Panics
/// Panics if that is not the case.
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
    assert!(world.ledger.watches.len() > 16, "too few watches are armed");
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
                // The server did not send this event, so its state may differ from now on.
                self.ever_tainted = true;
                let what = Content::Event { kind: event.kind, path: event.path.to_string() };
                self.in_transit.push_back(Sent { what, bytes: frame.clone(), answers: None });
                self.feed(&frame);
                assert!(self.is_open(), "an event closed the connection");
            }
            Err(_) => {
                self.taint();
                self.feed(&frame);
                assert!(self.is_open(), "an event closed the connection");
                assert!(self.session.wants_transmit(), "an invalid event is ignored");
            }
        }
    }
}
