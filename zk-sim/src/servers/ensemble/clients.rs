//! What passes between a client and its member, and what the member does with it: it replies itself, or has an
//! [`Entry`] for the leader.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Request,
    frame::{Frame, FrameReader, LENGTH_LEN, write_frame},
    jute::{Decode, Reader},
    records::{ConnectRequest, RequestHeader, xid},
};
use zk_server::{ConnectionId, Server, SessionId, Time};

use super::{
    super::{log::MAX_PACKET, logged_server::PEER},
    state::{ClientConnection, Ensemble, Entry, ServerId},
};

impl Ensemble {
    pub(in super::super) fn handle_connected(
        &mut self,
        now: Duration,
        id: ConnectionId,
        member: usize,
    ) {
        self.now = now;
        let server = match &self.members[member] {
            it if it.serves => ServerId::Member(member),
            it if it.read_only.is_some() => ServerId::ReadOnly(member),
            _ => return self.forget(id),
        };
        let connection = ClientConnection {
            server,
            frames: FrameReader::new(MAX_PACKET),
            queue: VecDeque::new(),
            has_connected: false,
            awaited: 0,
        };
        self.connections.insert(id, connection);
        if server == ServerId::ReadOnly(member) {
            self.act(server, |server, now| server.handle_connected(now, id, PEER));
        }
    }

    /// Bytes have arrived from a client, or `None` for the end.
    pub(in super::super) fn handle_received(
        &mut self,
        now: Duration,
        id: ConnectionId,
        bytes: Option<&[u8]>,
    ) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match (connection.server, bytes) {
            (_, None) => self.close(id),
            (server @ ServerId::ReadOnly(_), Some(bytes)) => {
                self.act(server, |server, now| server.handle_data(now, id, bytes));
            }
            (ServerId::Member(_), Some(bytes)) => {
                connection.frames.extend(bytes);
                while let Ok(Some(Frame::Whole(frame))) = connection.frames.next_frame() {
                    connection.queue.push_back(frame);
                }
                self.serve(id);
            }
        }
    }

    /// Closes a client's connection, and tells the leader.
    pub(super) fn close(&mut self, id: ConnectionId) {
        match self.server_of(id) {
            Some(server @ ServerId::ReadOnly(_)) => {
                self.act(server, |server, _| server.handle_disconnected(id));
            }
            _ => self.propose(Entry::Close(id)),
        }
        self.forget(id);
    }

    /// Serves the requests of a client in order. A read waits for the writes before it.
    pub(super) fn serve(&mut self, id: ConnectionId) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let ServerId::Member(member) = connection.server else { return };
            let Some(frame) = connection.queue.front().cloned() else { return };
            if !connection.has_connected {
                connection.has_connected = true;
                connection.queue.pop_front();
                self.connect_session(id, member, &frame);
                continue;
            }
            let Ok(header) = RequestHeader::decode(&mut Reader::new(&frame)) else {
                return self.close(id);
            };
            let (bytes, connects) = (packet(&frame), false);
            if is_for_the_leader(header.op) {
                connection.queue.pop_front();
                connection.awaited += 1;
                let done = None;
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
                continue;
            }
            if connection.awaited > 0 {
                return;
            }
            connection.queue.pop_front();
            self.touch_session(id, member);
            self.act(ServerId::Member(member), |server, now| server.handle_data(now, id, &bytes));
            if header.op == OpCode::Auth {
                // The others have to know the credential for the client's writes.
                let done = Some(member);
                self.forward(member, Entry::Data { connection: id, bytes, connects, done });
            }
        }
    }

    /// Handles a client's first packet. A session that both the leader and the member know is resumed at once,
    /// from what the member has. Anything else has to be agreed on.
    fn connect_session(&mut self, id: ConnectionId, member: usize, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else {
            return self.close(id);
        };
        let server = &self.members[member].server;
        if request.last_zxid_seen > server.last_zxid() {
            return self.close(id);
        }
        let session = SessionId(request.session_id);
        let knows = |server: &Server| server.sessions().any(|known| known == session);
        let is_known = self.has_contact(member) && knows(self.agreed.server()) && knows(server);
        let bytes = packet(frame);
        if is_known {
            self.resume(id, member, session, &bytes);
        } else if let Some(connection) = self.connections.get_mut(&id) {
            connection.awaited += 1;
        }
        let done = is_known.then_some(member);
        self.forward(member, Entry::Data { connection: id, bytes, connects: true, done });
    }

    fn resume(&mut self, id: ConnectionId, member: usize, session: SessionId, bytes: &[u8]) {
        let earlier = self.connections_of_session(member, session);
        self.act(ServerId::Member(member), |server, now| {
            server.handle_connected(now, id, PEER);
            server.handle_data(now, id, bytes);
        });
        earlier.into_iter().for_each(|other| self.close(other));
    }

    /// A member has heard from the session of a connection.
    pub(super) fn touch_session(&mut self, id: ConnectionId, member: usize) {
        let Some(session) = self.members[member].server.session_of(id) else { return };
        if !self.agreed.server().sessions().any(|alive| alive == session) {
            // The member has not learned of its end.
            self.agreed.log_mut().ended_early.insert(session);
            return;
        }
        if self.has_contact(member) {
            self.unreported.remove(&session);
            let now = Time::from_origin(self.now);
            self.act_on_agreed(|server| server.handle_data(now, id, &ping()));
        } else {
            self.unreported.insert(session);
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
