//! The bytes between the session and the server. Every packet that arrives at the server is checked.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::Hasher as _,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Request, Time, WatcherType,
    frame::{Frame, FrameReader},
    jute::{Decode, List, Reader},
    records::{ConnectRequest, RequestHeader, xid},
};

use super::{
    UNWATCH_AFTER, World, connection::Phase, ledger::Watch, user::Registered, watch_kind::WatchKind,
};

/// The size limit for packets that re-arm watches.
const MAX_REARM: usize = 128 << 10;

/// What has arrived at the server on this connection.
#[derive(Debug)]
pub(super) struct Received {
    reader: FrameReader,
    handshake_done: bool,
    auths: usize,
    /// How many credentials there were when the session was established.
    auths_first: usize,
    /// Watches that must be re-armed before the first request.
    rearm: BTreeSet<(WatchKind, String)>,
    persistent: bool,
    /// Packets that the server has not processed, and when the session sent them.
    pub(super) inbox: VecDeque<(Bytes, Time)>,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            reader: FrameReader::new(usize::MAX),
            handshake_done: false,
            auths: 0,
            auths_first: 0,
            rearm: BTreeSet::new(),
            persistent: false,
            inbox: VecDeque::new(),
        }
    }
}

impl Received {
    /// The session is established.
    pub(super) fn begin(&mut self, watches: &[Watch], credentials: usize) {
        self.auths_first = credentials;
        self.rearm = watches.iter().map(|watch| (watch.kind, watch.path.clone())).collect();
        self.persistent = watches.iter().any(|watch| !watch.kind.is_one_shot());
    }

    pub(super) fn is_done(&self) -> bool {
        self.inbox.is_empty() && self.rearm.is_empty()
    }
}

impl World {
    /// Everything that the session sends arrives at the server.
    pub(super) fn read(&mut self) {
        let mut bytes = BytesMut::new();
        let wanted = self.session.wants_transmit();
        assert_eq!(self.session.poll_transmit(self.now, &mut bytes), wanted);
        assert_eq!(bytes.is_empty(), !wanted);
        assert!(self.is_open() || bytes.is_empty(), "sent without a connection");
        self.log_line(format_args!("> {bytes:?}"));
        self.trace.write(&bytes);
        if let (Phase::Established(established), true) = (&mut self.phase, wanted) {
            established.sent = self.now;
        }
        self.received.reader.extend(&bytes);
        while let Some(frame) = self.received.reader.next_frame().expect("a frame") {
            let Frame::Whole(packet) = frame else { panic!("an oversize request") };
            self.receive(&packet);
            self.received.inbox.push_back((packet, self.now));
        }
        if let Phase::Established(established) = &self.phase {
            assert_eq!(established.pings, 0, "no ping was sent");
        }
        self.server.session_active(self.now);
        self.check();
    }

    fn receive(&mut self, packet: &Bytes) {
        if !std::mem::replace(&mut self.received.handshake_done, true) {
            return self.receive_connect_request(packet);
        }
        let mut input = Reader::new(packet);
        let header = RequestHeader::decode(&mut input).expect("a header");
        let body = input.rest();
        let request = Request::decode(header.op, &mut input).expect("a request");
        match &request {
            Request::Ping => {
                assert_eq!(header.xid, xid::PING);
                let Phase::Established(established) = &mut self.phase else {
                    panic!("a ping before the session")
                };
                established.pings =
                    established.pings.checked_sub(1).expect("a ping that was not due");
            }
            Request::Auth(auth) => {
                assert_eq!(header.xid, xid::AUTH);
                let Registered { credential, waiters, sent } =
                    &mut self.credentials[self.received.auths];
                *sent = true;
                assert_eq!((auth.auth_type, auth.scheme), (0, credential.scheme.as_str()));
                assert_eq!(*auth.auth.expose(), Some(&credential.auth.expose()[..]));
                self.received.auths += 1;
                for auth in self.ledger.auths.iter_mut().filter(|auth| waiters.contains(&auth.id)) {
                    auth.sent = true;
                }
            }
            Request::SetWatches(_) | Request::SetWatches2(_) => {
                assert_eq!(header.xid, xid::SET_WATCHES);
                assert!(packet.len() <= MAX_REARM);
                // The session re-arms its watches after an event that it could not decode.
                if !self.tainted || !self.received.rearm.is_empty() {
                    assert_eq!(header.op == OpCode::SetWatches2, self.received.persistent);
                    self.receive_set_watches(&request);
                }
            }
            _ => self.receive_request(header, &request, &body),
        }
    }

    /// Checks the connect request.
    fn receive_connect_request(&mut self, packet: &Bytes) {
        let connect = ConnectRequest::decode_all(packet).expect("a handshake");
        let config = self.session.config();
        assert_eq!(connect.protocol_version, 0);
        assert_eq!(connect.timeout as u128, config.session_timeout.as_millis());
        assert_eq!(connect.read_only, Some(config.read_only.into()));
        if connect.last_zxid_seen == 0 && self.session.last_zxid() > 0 {
            // Servers closed the connection for a long time, so it starts anew. This is not predicted.
            self.taint();
        } else {
            assert_eq!(connect.last_zxid_seen, self.session.last_zxid());
        }
        assert_eq!(connect.session_id, self.resumable.unwrap_or(0));
        if let Some(ticket) = self.session.ticket() {
            assert_eq!(connect.session_id, ticket.id.0);
            assert_eq!(*connect.password.expose(), Some(&ticket.password.expose()[..]));
        }
        self.ledger.since = connect.last_zxid_seen;
    }

    fn receive_set_watches(&mut self, request: &Request<'_>) {
        use WatchKind::{Child, Data, Exist, Persistent, PersistentRecursive};
        assert!(self.received.auths >= self.received.auths_first, "watches before credentials");
        let nothing = List::new();
        let (since, lists) = match request {
            Request::SetWatches(set) => (
                set.relative_zxid,
                [
                    (Data, &set.data_watches),
                    (Exist, &set.exist_watches),
                    (Child, &set.child_watches),
                    (Persistent, &nothing),
                    (PersistentRecursive, &nothing),
                ],
            ),
            Request::SetWatches2(set) => (
                set.relative_zxid,
                [
                    (Data, &set.data_watches),
                    (Exist, &set.exist_watches),
                    (Child, &set.child_watches),
                    (Persistent, &set.persistent_watches),
                    (PersistentRecursive, &set.persistent_recursive_watches),
                ],
            ),
            _ => return,
        };
        assert_eq!(since, self.ledger.since, "re-armed with a different zxid");
        for (kind, paths) in lists {
            for path in paths {
                let due = self.received.rearm.remove(&(kind, (*path).to_owned()));
                assert!(due, "{kind:?} on {path:?} was not armed, or was re-armed twice");
            }
        }
    }

    fn receive_request(&mut self, header: RequestHeader, request: &Request<'_>, body: &Bytes) {
        assert!(header.xid > self.last_xid, "xid {} after {}", header.xid, self.last_xid);
        self.last_xid = header.xid;
        assert!(self.received.auths >= self.received.auths_first, "a request before credentials");
        assert!(self.received.rearm.is_empty(), "a request before {:?}", self.received.rearm);
        if header.op == OpCode::CloseSession {
            assert!(self.is_over(), "closed without a request to close");
            assert!(self.ledger.calls.iter().all(|call| call.xid.is_some()));
            return;
        }
        let next = self.ledger.calls.iter().find(|call| call.xid.is_none());
        let is_next = next.is_some_and(|call| {
            let is_same = call.op == OpCode::AddWatch || call.body == *body;
            call.internal || call.op == header.op && is_same
        });
        if self.ever_tainted && !is_next {
            self.ledger.replace_internal(self.now);
        }
        let call = self.ledger.calls.iter().position(|call| call.xid.is_none());
        let at = call.unwrap_or_else(|| panic!("{header:?} was not submitted, or was sent twice"));
        let call = &self.ledger.calls[at];
        match request {
            Request::RemoveWatches(remove) if call.internal => {
                if !self.ever_tainted {
                    self.ledger.check_removal(self.now, UNWATCH_AFTER, remove);
                }
                // This server refuses the type of recursive watches, and keeps them.
                if remove.watcher_type == WatcherType::Any {
                    self.ledger.recursive.remove(remove.path);
                }
            }
            Request::AddWatch(_) if call.internal => {}
            _ if call.internal => panic!("{request:?} by the session itself"),
            Request::AddWatch(_) => {
                // But for the mode, which is at its end, and which may be the recursive one for both.
                let bodies = [&call.body[..], body].map(|body| body.split_last_chunk::<4>());
                assert_eq!(bodies[0].map(|(path, _)| path), bodies[1].map(|(path, _)| path));
                assert_eq!(header.op, call.op);
            }
            _ => assert_eq!((header.op, body), (call.op, &call.body)),
        }
        let call = &mut self.ledger.calls[at];
        call.xid = Some(header.xid);
        if let Request::AddWatch(add) = request {
            call.added = Some((add.path.to_owned(), add.mode));
        }
    }

    /// The server processes up to `count` packets.
    pub(super) fn serve(&mut self, count: usize) {
        for _ in 0..count {
            let Some((packet, at)) = self.received.inbox.pop_front() else { return };
            let mut out = Vec::new();
            if matches!(self.phase, Phase::Established(_)) {
                self.server.answer(at, &packet, &mut out);
            } else {
                let connect = ConnectRequest::decode_all(&packet).expect("a handshake");
                assert!(self.ever_tainted || connect.last_zxid_seen <= self.server.zxid());
                match self.server.handshake(self.now, at, &connect) {
                    Some(sent) => out.push(sent),
                    None => return self.cut(),
                }
            }
            self.outbox.extend(out);
        }
    }

    /// Up to `count` of the server's frames arrive at the session in one read.
    pub(super) fn deliver(&mut self, count: usize) {
        let batch: Vec<_> = self.outbox.drain(..count.min(self.outbox.len())).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|sent| &sent.bytes[..]).copied().collect();
        if !self.tainted {
            self.in_transit.extend(batch);
        }
        self.feed(&bytes);
    }

    /// Bytes arrive at the session.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(self.chunk) {
            if !self.is_open() {
                break;
            }
            if let (Phase::Established(established), true) = (&mut self.phase, self.tainted) {
                established.heard = self.now;
            }
            self.reader.extend(chunk);
            self.session.handle_data(self.now, &mut self.reader);
            self.drain_outputs();
            if self.session.end_reason().is_some() {
                self.phase = Phase::Ended;
            }
        }
        self.process_outputs();
    }

    /// Moves bytes until nothing more happens without the passage of time.
    pub(super) fn settle(&mut self) {
        self.accept();
        for _ in 0..8 {
            self.read();
            self.serve(usize::MAX);
            self.deliver(usize::MAX);
            if !self.session.wants_transmit() && self.received.inbox.is_empty() {
                break;
            }
        }
    }
}
