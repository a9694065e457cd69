//! [`Server`]: connections and sessions, and what passes between them.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    ErrorCode, Perms, Time,
    frame::{Frame, LENGTH_LEN},
    session::SessionId,
};

use crate::{
    Config, ConnectionId, Output, Version,
    acl::Identities,
    connection::{Connection, NO_ZXID, Phase},
    four_letter_words,
    sessions::Sessions,
    tree::Tree,
    txn::Txn,
    watches::{Notice, Watches},
};

/// A standalone ZooKeeper as a state machine: see the [crate's documentation](crate).
#[derive(Debug)]
pub struct Server {
    pub(crate) config: Config,
    pub(crate) tree: Tree,
    pub(crate) zxid: i64,
    pub(crate) sessions: Sessions,
    pub(crate) watches: Watches,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) is_read_only: bool,
    pub(crate) started: Time,
    pub(crate) packets: Packets,
    /// What `stmk` has set last.
    pub(crate) trace_mask: i64,
    /// When containers and nodes with a TTL are looked at next, while there are any.
    next_check: Option<Time>,
    outputs: VecDeque<Output>,
}

/// How many packets there were, on all connections, since the start or the word `srst`.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Server {
    /// A server without sessions and nodes other than its own. The ids and passwords of its sessions
    /// follow from `seed`.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let sessions = Sessions::new(seed, config.tick_time);
        let version = config.version;
        Self {
            config,
            tree: Tree::new(),
            zxid: 0,
            sessions,
            watches: Watches::new(version),
            connections: BTreeMap::new(),
            is_read_only: false,
            started: Time::ZERO,
            packets: Packets::default(),
            trace_mask: four_letter_words::TRACE_MASK,
            next_check: None,
            outputs: VecDeque::new(),
        }
    }

    // ---- what happens ------------------------------------------------------------------------------

    /// A client has connected. `connection` is the caller's name for it, and a new one.
    pub fn handle_connected(&mut self, now: Time, connection: ConnectionId, peer: SocketAddr) {
        let state = Connection::new(now, peer, &self.config);
        self.connections.insert(connection, state);
    }

    /// Bytes have come from a client.
    pub fn handle_data(&mut self, now: Time, connection: ConnectionId, bytes: &[u8]) {
        self.handle_data_up_to(now, connection, bytes, usize::MAX);
    }

    /// As [`handle_data`](Self::handle_data), but once more than `limit` bytes wait to be sent, requests
    /// wait as well, until this is called again. True if they may.
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
        if state.phase == Phase::Fresh {
            match state.incoming.peek(LENGTH_LEN) {
                Some(word) => match four_letter_words::Word::parse(word) {
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

    /// A connection is gone. Its session lives on until it expires.
    pub fn handle_disconnected(&mut self, connection: ConnectionId) {
        self.retire(connection);
        self.connections.remove(&connection);
    }

    /// Time has passed: ends the sessions, containers and nodes with a TTL whose time is over.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(session) = self.sessions.expired(now) {
            self.end_session(now, session);
        }
        if self.next_check.is_some_and(|at| at <= now) {
            for path in self.tree.outlived(self.wall(now)) {
                let _: Result<(), _> = self.transact(now, None, |txn| {
                    txn.remove(&path);
                    Ok(())
                });
            }
            self.next_check = None;
        }
        self.schedule_check(now);
    }

    // ---- what to do --------------------------------------------------------------------------------

    /// What is to be done next; poll until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Moves what is to be sent on `connection` to the end of `out`; false when there is nothing.
    pub fn poll_transmit(&mut self, connection: ConnectionId, out: &mut BytesMut) -> bool {
        let Some(state) = self.connections.get_mut(&connection) else { return false };
        let bytes = state.outgoing.split();
        let any = !bytes.is_empty();
        out.unsplit(bytes);
        any
    }

    /// What is to be sent on `connection`, for whoever takes out no more than a socket does.
    #[cfg(feature = "net")]
    pub(crate) fn outgoing(&mut self, connection: ConnectionId) -> Option<&mut BytesMut> {
        self.connections.get_mut(&connection).map(|state| &mut state.outgoing)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` while nothing depends on time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.sessions.next_expiry(), self.next_check].into_iter().flatten().min()
    }

    // ---- what a test does to it --------------------------------------------------------------------

    /// The sessions that live.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().map(|(id, _)| id)
    }

    /// The newest transaction.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.zxid
    }

    /// How many watches a connection has: for each path at most one on its data and one on its children.
    #[must_use]
    pub fn watches_of(&self, connection: ConnectionId) -> usize {
        self.watches.len_of(connection)
    }

    /// The session that a connection belongs to.
    #[must_use]
    pub fn session_of(&self, connection: ConnectionId) -> Option<SessionId> {
        self.connections.get(&connection)?.session()
    }

    /// Ends a session as if it had expired: its ephemeral nodes go, its connection is closed, and its
    /// owner learns why when it connects again. False when there is no such session.
    pub fn expire_session(&mut self, now: Time, session: SessionId) -> bool {
        self.end_session(now, session)
    }

    /// Sets the number that the next sequential child of the node at `path` gets, as if so many children had
    /// been made there before. False when there is no such node.
    ///
    /// The last number is 2147483647, and as in ZooKeeper the counter does not go beyond it: each later child
    /// gets it as well, but within one transaction, where negative numbers follow, from -2147483648 on.
    pub fn set_sequence(&mut self, path: &str, next: i32) -> bool {
        let node = self.tree.get_mut(path);
        node.map(|node| node.creations = next).is_some()
    }

    /// Goes read-only, as a server that has lost its quorum, or back. All connections are closed.
    ///
    /// As in ZooKeeper, where local sessions are enabled, a read-only server takes clients that ask for
    /// one, opens sessions of its own for them that end with this state, refuses to resume others, and
    /// answers writes with [`ErrorCode::NotReadOnly`].
    pub fn set_read_only(&mut self, now: Time, read_only: bool) {
        if self.is_read_only == read_only {
            return;
        }
        self.is_read_only = read_only;
        self.restart(now);
    }

    /// Does as a restart does: closes all connections, and gives every session another timeout to come
    /// back. For one that loses its nodes and sessions as well, make a new server.
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

    // ---- connections -------------------------------------------------------------------------------

    /// Closes a connection, once what is to be sent on it has been.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        if self.retire(connection) {
            self.outputs.push_back(Output::Disconnect(connection));
        }
    }

    /// Makes a connection count no more; false when it did not.
    fn retire(&mut self, connection: ConnectionId) -> bool {
        let Some(state) = self.connections.get_mut(&connection) else { return false };
        let session = state.session();
        if std::mem::replace(&mut state.phase, Phase::Closed) == Phase::Closed {
            return false;
        }
        self.watches.forget(connection);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session))
            && session.connection == Some(connection)
        {
            session.connection = None;
        }
        true
    }

    /// Sends on a connection, and sees that the bytes are asked for.
    pub(crate) fn on(&mut self, connection: ConnectionId, send: impl FnOnce(&mut Connection)) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        if state.phase == Phase::Closed {
            return;
        }
        let was_empty = state.outgoing.is_empty();
        let before = state.counters.sent;
        send(state);
        let sent = state.counters.sent.saturating_sub(before);
        self.packets.sent = self.packets.sent.saturating_add(sent);
        if was_empty && !state.outgoing.is_empty() {
            self.outputs.push_back(Output::Transmit(connection));
        }
    }

    pub(crate) fn count_received(&mut self, connection: ConnectionId) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.counters.received = state.counters.received.saturating_add(1);
            self.packets.received = self.packets.received.saturating_add(1);
        }
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
            Some(Phase::Up(session)) => self.handle_request(now, connection, session, frame),
            Some(Phase::Handshake) => self.handle_handshake(now, connection, frame),
            Some(Phase::Fresh | Phase::Closed) | None => {}
        }
    }

    /// Gives up a client that does not read, with all that waits for it.
    fn check_pending(&mut self, connection: ConnectionId) {
        if self.pending(connection) > self.config.max_pending {
            if let Some(state) = self.connections.get_mut(&connection) {
                state.outgoing = BytesMut::new();
            }
            self.close(connection);
        }
    }

    /// How many bytes wait to be sent.
    pub(crate) fn pending(&self, connection: ConnectionId) -> usize {
        self.connections.get(&connection).map_or(0, |state| state.outgoing.len())
    }

    // ---- changes -----------------------------------------------------------------------------------

    /// Runs a transaction on behalf of a session on its connection, or of the server itself, and tells
    /// those who watch. It takes a zxid, be it for nothing.
    pub(crate) fn transact<T>(
        &mut self,
        now: Time,
        client: Option<(ConnectionId, SessionId)>,
        run: impl FnOnce(&mut Txn<'_>) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.zxid = self.zxid.wrapping_add(1);
        let nobody = Identities::none(self.config.version);
        let connection = client.and_then(|(connection, _)| self.connections.get(&connection));
        let mut txn = Txn::new(
            &mut self.tree,
            connection.map_or(&nobody, |connection| &connection.identities),
            client.map_or(SessionId(0), |(_, session)| session),
            self.zxid,
            wall(&self.config, now),
            self.config.extended_types,
        );
        let result = run(&mut txn);
        if result.is_err() {
            txn.undo();
        }
        let zxid = if self.config.version < Version::V3_9 { NO_ZXID } else { self.zxid };
        for change in txn.into_changes() {
            for Notice { kind, path, acl, to } in self.watches.fire(&change) {
                for watcher in to {
                    self.on(watcher, |state| {
                        if state.identities.check(acl, Perms::READ).is_ok() {
                            state.notify(zxid, kind, path);
                        }
                    });
                    self.check_pending(watcher);
                }
            }
        }
        self.schedule_check(now);
        result
    }

    /// Ends a session with its ephemeral nodes and its connection; false when there is none.
    fn end_session(&mut self, now: Time, session: SessionId) -> bool {
        let Some(connection) = self.delete_session(now, session) else { return false };
        if let Some(connection) = connection {
            self.close(connection);
        }
        true
    }

    /// Ends a session with its ephemeral nodes; the connection that is left over, or `None` when there
    /// is no such session.
    pub(crate) fn delete_session(
        &mut self,
        now: Time,
        session: SessionId,
    ) -> Option<Option<ConnectionId>> {
        let ended = self.sessions.remove(session)?;
        if !ended.is_local {
            let paths: Vec<_> = self.tree.ephemerals_of(session).map(str::to_owned).collect();
            let _: Result<(), _> = self.transact(now, None, |txn| {
                for path in &paths {
                    txn.remove(path);
                }
                Ok(())
            });
        }
        Some(ended.connection)
    }

    fn schedule_check(&mut self, now: Time) {
        if !self.tree.has_transient() {
            self.next_check = None;
        } else if self.next_check.is_none() {
            self.next_check = Some(now.after(self.config.container_check_interval));
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn wall(&self, now: Time) -> i64 {
        wall(&self.config, now)
    }
}

fn wall(config: &Config, now: Time) -> i64 {
    millis(config.epoch.saturating_add(now.since_origin()))
}

pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
