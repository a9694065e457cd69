//! What passes between a client and its member, and what the member makes of it: an answer of its own, or an
//! [`Entry`] for the leader.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Request,
    frame::{Frame, FrameReader, LENGTH_LEN, write_frame},
    jute::{Decode, Reader},
    records::{ConnectRequest, RequestHeader, xid},
};
use zk_server::{ConnectionId, Server, SessionId};

use super::{Entry, Link};
use crate::{
    executor::Core,
    host::{PEER, Which},
    tap::LIMIT,
};

impl Core {
    pub(crate) fn member_connected(&mut self, id: ConnectionId, member: usize) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let copy = &ensemble.copies[member];
        let server = match (copy.serves, &copy.read_only) {
            (true, _) => Which::Copy(member),
            (false, Some(_)) => Which::ReadOnly(member),
            (false, None) => return self.forget(id),
        };
        let link = Link {
            server,
            frames: FrameReader::new(LIMIT),
            queue: VecDeque::new(),
            has_connected: false,
            awaited: 0,
        };
        ensemble.links.insert(id, link);
        if server == Which::ReadOnly(member) {
            self.act(server, |server, now| server.handle_connected(now, id, PEER));
        }
    }

    /// Bytes have come from a client, or the end.
    pub(crate) fn member_received(&mut self, id: ConnectionId, bytes: Option<&[u8]>) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let Some(link) = ensemble.links.get_mut(&id) else { return };
        match (link.server, bytes) {
            (_, None) => self.hang_up(id),
            (server @ Which::ReadOnly(_), Some(bytes)) => {
                self.act(server, |server, now| server.handle_data(now, id, bytes));
            }
            (_, Some(bytes)) => {
                link.frames.extend(bytes);
                while let Ok(Some(Frame::Whole(frame))) = link.frames.next_frame() {
                    link.queue.push_back(frame);
                }
                self.go_on(id);
            }
        }
    }

    /// Closes a client's connection.
    pub(super) fn hang_up(&mut self, id: ConnectionId) {
        match self.host.ensemble.as_ref().and_then(|ensemble| ensemble.server_of(id)) {
            Some(server @ Which::ReadOnly(_)) => {
                self.act(server, |server, _| server.handle_disconnected(id));
            }
            _ => self.propose(Entry::Gone(id)),
        }
        self.forget(id);
    }

    /// Does what a client wants, in order: a read waits for the writes before it.
    pub(super) fn go_on(&mut self, id: ConnectionId) {
        loop {
            let Some(ensemble) = &mut self.host.ensemble else { return };
            let Some(link) = ensemble.links.get_mut(&id) else { return };
            let Which::Copy(member) = link.server else { return };
            let Some(frame) = link.queue.front().cloned() else { return };
            if !link.has_connected {
                link.has_connected = true;
                link.queue.pop_front();
                self.welcome(id, member, &frame);
                continue;
            }
            let Ok(header) = RequestHeader::decode(&mut Reader::new(&frame)) else {
                return self.hang_up(id);
            };
            let (bytes, connects) = (packet(&frame), false);
            if is_for_the_leader(header.op) {
                link.queue.pop_front();
                link.awaited += 1;
                let done = None;
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
                continue;
            }
            if link.awaited > 0 {
                return;
            }
            link.queue.pop_front();
            self.touch(id, member);
            self.act(Which::Copy(member), |server, now| server.handle_data(now, id, &bytes));
            if header.op == OpCode::Auth {
                // The others have to know for whom they write.
                let done = Some(member);
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
            }
        }
    }

    /// A client's first packet. A session that both the leader and the member know of is resumed at once,
    /// from what the member has; others have to be agreed on.
    fn welcome(&mut self, id: ConnectionId, member: usize, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else {
            return self.hang_up(id);
        };
        let Some(ensemble) = &self.host.ensemble else { return };
        let server = &ensemble.copies[member].server;
        if request.last_zxid_seen > server.last_zxid() {
            return self.hang_up(id);
        }
        let session = SessionId(request.session_id);
        let knows = |server: &Server| server.sessions().any(|known| known == session);
        let is_known = self.has_contact(member) && knows(self.host.agreed()) && knows(server);
        let bytes = packet(frame);
        if is_known {
            self.resume(id, member, session, &bytes);
        } else if let Some(link) = self.link_mut(id) {
            link.awaited += 1;
        }
        let done = is_known.then_some(member);
        self.forward(member, Entry::Data { connection: id, bytes, connects: true, done });
    }

    fn link_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.host.ensemble.as_mut()?.links.get_mut(&id)
    }

    fn resume(&mut self, id: ConnectionId, member: usize, session: SessionId, bytes: &[u8]) {
        let Some(ensemble) = &mut self.host.ensemble else { return };
        let earlier = ensemble.links_of_session(member, session);
        self.act(Which::Copy(member), |server, now| {
            server.handle_connected(now, id, PEER);
            server.handle_data(now, id, bytes);
        });
        earlier.into_iter().for_each(|other| self.hang_up(other));
    }

    /// A session has been heard of.
    pub(super) fn touch(&mut self, id: ConnectionId, member: usize) {
        let has_contact = self.has_contact(member);
        let session = self
            .host
            .ensemble
            .as_ref()
            .and_then(|ensemble| ensemble.copies[member].server.session_of(id));
        let Some(session) = session else { return };
        if !self.host.agreed().sessions().any(|live| live == session) {
            // The member has not learned of its end.
            self.host.ended.insert(session);
            return;
        }
        let Some(ensemble) = &mut self.host.ensemble else { return };
        if has_contact {
            ensemble.unheard.remove(&session);
            self.act(Which::Agreed, |server, now| server.handle_data(now, id, &ping()));
        } else {
            ensemble.unheard.insert(session);
        }
    }
}

/// Whether the leader has to see a request, so that the members come out alike.
const fn is_for_the_leader(op: OpCode) -> bool {
    op.is_write() || matches!(op, OpCode::Sync | OpCode::CloseSession)
}

fn packet(frame: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(frame.len() + LENGTH_LEN);
    write_frame(&mut packet, |out| out.extend_from_slice(frame));
    packet.freeze()
}

fn ping() -> Bytes {
    let mut packet = BytesMut::new();
    write_frame(&mut packet, |out| Request::Ping.encode(xid::PING, out));
    packet.freeze()
}
