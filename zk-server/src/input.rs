//! What happens to a [`Server`]: connections and their bytes, the passing of time, and what a test does to it.

use std::net::SocketAddr;

use bytes::Bytes;
use zk_proto::{
    Time,
    frame::{Frame, LENGTH_LEN},
    session::SessionId,
};

use crate::{
    connection::{Connection, ConnectionId, Phase},
    four_letter_words::Word,
    server::Server,
};

impl Server {
    // ---- connections and time ----------------------------------------------------------------------

    /// Adds the connection of a new client. The caller chooses `connection`, an id that is not in use.
    pub fn handle_connected(&mut self, now: Time, connection: ConnectionId, peer: SocketAddr) {
        let state = Connection::new(now, peer, &self.config);
        self.connections.insert(connection, state);
    }

    /// Adds the identity `x509:subject` to a connection, whose client has proved with TLS that it is the owner of a
    /// certificate. `subject` is the owner in the form of RFC 2253, such as `CN=client`. It is only useful if
    /// [`Config::x509`](crate::Config::x509) is true.
    pub fn handle_certificate(&mut self, connection: ConnectionId, subject: &str) {
        if let Some(state) = self.connections.get_mut(&connection) {
            let is_super = self.config.x509_super_user.as_deref() == Some(subject);
            state.identities.add_certificate(subject.to_owned(), is_super);
        }
    }

    /// Handles bytes that a client has sent. Unknown and closed connections are ignored.
    pub fn handle_data(&mut self, now: Time, connection: ConnectionId, bytes: &[u8]) {
        self.handle_data_up_to(now, connection, bytes, usize::MAX);
    }

    /// As [`handle_data`](Self::handle_data), but stops to handle requests while more than `limit` bytes wait to be
    /// sent. Returns true if so; call it again once the client has taken some.
    pub(crate) fn handle_data_up_to(
        &mut self,
        now: Time,
        connection: ConnectionId,
        bytes: &[u8],
        limit: usize,
    ) -> bool {
        let Some(state) = self.connections.get_mut(&connection) else { return false };
        if state.phase == Phase::Closed {
            return false;
        }
        state.incoming.extend(bytes);
        if state.phase == Phase::New {
            match state.incoming.peek(LENGTH_LEN) {
                Some(word) => match Word::parse(word) {
                    Some(word) if state.incoming.peek(word.len()).is_none() => return false,
                    Some(word) => {
                        self.answer_word(now, connection, word);
                        return false;
                    }
                    None => state.phase = Phase::Handshake,
                },
                None => return false,
            }
        }
        while let Some(frame) = self.next_frame(connection, limit) {
            self.handle_frame(now, connection, &frame);
        }
        self.check_pending(connection);
        self.pending(connection) > limit
    }

    /// Removes a connection that has ended. Its session lives on until it expires.
    pub fn handle_disconnected(&mut self, connection: ConnectionId) {
        self.mark_closed(connection);
        self.connections.remove(&connection);
    }

    /// Handles the passing of time: ends the sessions that have expired by `now`, and removes containers and nodes
    /// with a TTL.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(session) = self.sessions.expired(now) {
            self.end_session(now, session);
        }
        self.remove_expired_nodes(now);
    }

    /// The next request, unless more than `limit` bytes wait to be sent.
    fn next_frame(&mut self, connection: ConnectionId, limit: usize) -> Option<Bytes> {
        let state = self.connections.get_mut(&connection)?;
        if state.phase == Phase::Closed || state.outgoing.len() > limit {
            return None;
        }
        match state.incoming.next_frame() {
            Ok(Some(Frame::Whole(frame))) => {
                self.count_received(connection);
                Some(frame)
            }
            Ok(None) => None,
            Ok(Some(Frame::Oversize { .. })) | Err(_) => {
                self.close(connection);
                None
            }
        }
    }

    fn handle_frame(&mut self, now: Time, connection: ConnectionId, frame: &Bytes) {
        match self.connections.get(&connection).map(|state| state.phase) {
            Some(Phase::Established(session)) => {
                self.handle_request(now, connection, session, frame);
            }
            Some(Phase::Handshake) => self.handle_handshake(now, connection, frame),
            Some(Phase::New | Phase::Closed) | None => {}
        }
    }

    // ---- what a test does to the server ------------------------------------------------------------

    /// Ends a session as if it had expired: deletes its ephemeral nodes and closes its connection. When the client
    /// connects again, it learns that the session has expired. Returns false if there is no such session.
    pub fn expire_session(&mut self, now: Time, session: SessionId) -> bool {
        self.end_session(now, session)
    }

    /// Sets the number that the next sequential child of the node at `path` gets, as if that many children had
    /// been created before. Returns false if there is no such node.
    ///
    /// The last number is 2147483647. As in ZooKeeper, the counter stays there: each later child gets the same
    /// number. Within one transaction, negative numbers follow instead, from -2147483648 on.
    pub fn set_sequence(&mut self, path: &str, next: i32) -> bool {
        let node = self.tree.get_mut(path);
        node.map(|node| node.creations = next).is_some()
    }

    /// Makes the server read-only, as if it had lost its quorum, or writable again. Closes all connections if that
    /// is a change.
    ///
    /// A read-only server behaves as one of ZooKeeper with local sessions enabled. It accepts only clients that ask
    /// for a read-only server, and opens local sessions for them, which end when the server becomes writable. It
    /// does not resume other sessions, and answers writes with
    /// [`ErrorCode::NotReadOnly`](zk_proto::ErrorCode::NotReadOnly).
    pub fn set_read_only(&mut self, now: Time, read_only: bool) {
        if self.is_read_only == read_only {
            return;
        }
        self.is_read_only = read_only;
        self.restart(now);
    }

    /// Simulates a restart that keeps nodes and sessions: closes all connections, and gives every session its full
    /// timeout to come back. To simulate a restart that loses them, create a new server.
    pub fn restart(&mut self, now: Time) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(connection);
        }
        let sessions: Vec<_> = self.sessions.iter().map(|(id, s)| (id, s.is_local)).collect();
        for (session, is_local) in sessions {
            if is_local {
                self.sessions.remove(session);
            } else {
                self.sessions.touch(now, session);
            }
        }
        self.started = now;
    }
}
