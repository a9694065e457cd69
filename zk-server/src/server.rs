//! [`Server`]: its state, its outputs, and its connections.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use zk_proto::{Time, session::SessionId};

use crate::{
    config::Config,
    connection::{Connection, ConnectionId, Phase},
    sessions::Sessions,
    tree::Tree,
    watches::Watches,
    zxid::Zxids,
};

/// What a server asks its caller to do, from [`Server::poll_output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// There are bytes to send on this connection: take them with [`Server::poll_transmit`].
    Transmit(ConnectionId),
    /// Close this connection, after the bytes of a last [`Server::poll_transmit`] have been sent.
    Disconnect(ConnectionId),
}

/// A standalone ZooKeeper server as a state machine: see the [crate's documentation](crate).
#[derive(Debug)]
pub struct Server {
    pub(crate) config: Config,
    pub(crate) tree: Tree,
    pub(crate) zxids: Zxids,
    pub(crate) sessions: Sessions,
    pub(crate) watches: Watches,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) is_read_only: bool,
    pub(crate) started: Time,
    pub(crate) packets: Packets,
    /// What `stmk` has set last.
    pub(crate) trace_mask: i64,
    /// When containers and nodes with a TTL are checked next; `None` if there are none.
    pub(crate) next_check: Option<Time>,
    outputs: VecDeque<Output>,
}

/// The trace mask that ZooKeeper starts with.
const TRACE_MASK: i64 = 306;

/// The number of packets on all connections since the start, or since the four-letter word `srst`.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Server {
    /// Creates a server that has no sessions, and no nodes except those below `/zookeeper`. `seed` determines the
    /// ids and passwords of its sessions.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let sessions = Sessions::new(seed, config.tick_time);
        let version = config.version;
        Self {
            config,
            tree: Tree::new(),
            zxids: Zxids::default(),
            sessions,
            watches: Watches::new(version),
            connections: BTreeMap::new(),
            is_read_only: false,
            started: Time::ZERO,
            packets: Packets::default(),
            trace_mask: TRACE_MASK,
            next_check: None,
            outputs: VecDeque::new(),
        }
    }

    // ---- outputs -----------------------------------------------------------------------------------

    /// Returns what the caller is to do next. Call this until it returns `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Appends the bytes that are to be sent on `connection` to `out`. Returns false if there are none.
    pub fn poll_transmit(&mut self, connection: ConnectionId, out: &mut BytesMut) -> bool {
        let Some(state) = self.connections.get_mut(&connection) else { return false };
        let bytes = state.outgoing.split();
        let any = !bytes.is_empty();
        out.unsplit(bytes);
        any
    }

    /// The bytes that are to be sent on `connection`, for a caller that removes as many as its socket takes.
    #[cfg(feature = "net")]
    pub(crate) fn outgoing(&mut self, connection: ConnectionId) -> Option<&mut BytesMut> {
        self.connections.get_mut(&connection).map(|state| &mut state.outgoing)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` while nothing depends on time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.sessions.next_expiry(), self.next_check].into_iter().flatten().min()
    }

    // ---- state -------------------------------------------------------------------------------------

    /// The sessions that have not ended.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().map(|(id, _)| id)
    }

    /// The zxid of the last transaction.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.zxids.last()
    }

    /// The number of watches of a connection: for each path at most one on its data and one on its children.
    #[must_use]
    pub fn watches_of(&self, connection: ConnectionId) -> usize {
        self.watches.len_of(connection)
    }

    /// The session of a connection; `None` before the handshake.
    #[must_use]
    pub fn session_of(&self, connection: ConnectionId) -> Option<SessionId> {
        self.connections.get(&connection)?.session()
    }

    // ---- connections -------------------------------------------------------------------------------

    /// Closes a connection, after the bytes that wait have been sent on it.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        if self.mark_closed(connection) {
            self.outputs.push_back(Output::Disconnect(connection));
        }
    }

    /// Detaches a connection from its session and removes its watches. Returns false if it was closed before.
    pub(crate) fn mark_closed(&mut self, connection: ConnectionId) -> bool {
        let Some(state) = self.connections.get_mut(&connection) else { return false };
        let session = state.session();
        if std::mem::replace(&mut state.phase, Phase::Closed) == Phase::Closed {
            return false;
        }
        self.watches.remove_connection(connection);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session))
            && session.connection == Some(connection)
        {
            session.connection = None;
        }
        true
    }

    /// Lets `send` send on a connection, unless it is closed, and asks the caller to transmit the bytes.
    pub(crate) fn send_on(&mut self, connection: ConnectionId, send: impl FnOnce(&mut Connection)) {
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

    /// Closes the connection of a client that does not read, once more bytes wait than [`Config::max_pending`]
    /// allows. The bytes are discarded.
    pub(crate) fn check_pending(&mut self, connection: ConnectionId) {
        if self.pending(connection) > self.config.max_pending {
            if let Some(state) = self.connections.get_mut(&connection) {
                state.outgoing = BytesMut::new();
            }
            self.close(connection);
        }
    }

    /// The number of bytes that wait to be sent on a connection.
    pub(crate) fn pending(&self, connection: ConnectionId) -> usize {
        self.connections.get(&connection).map_or(0, |state| state.outgoing.len())
    }
}
