//! The bytes between the session and the server: what arrives there is checked packet by packet.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::Hasher as _,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Request, Time,
    frame::{Frame, FrameReader},
    jute::{Decode, List, Reader},
    records::{ConnectRequest, RequestHeader, xid},
    session::WatchKind,
};

use super::{GRACE, Link, Registered, World, ledger::Watch};

/// The limit for packets that arm watches again.
const MAX_REARM: usize = 128 << 10;

/// What of a connection has arrived at the server.
#[derive(Debug)]
pub(super) struct Arrived {
    reader: FrameReader,
    greeted: bool,
    auths: usize,
    /// How many credentials there were when the session came up.
    auths_first: usize,
    /// Watches that must be armed again before the first request.
    rearm: BTreeSet<(WatchKind, String)>,
    lasting: bool,
    /// What the server has not looked at, and when it was handed out.
    pub(super) inbox: VecDeque<(Bytes, Time)>,
}

impl Default for Arrived {
    fn default() -> Self {
        Self {
            reader: FrameReader::new(usize::MAX),
            greeted: false,
            auths: 0,
            auths_first: 0,
            rearm: BTreeSet::new(),
            lasting: false,
            inbox: VecDeque::new(),
        }
    }
}

impl Arrived {
    /// The session is up.
    pub(super) fn begin(&mut self, watches: &[Watch], credentials: usize) {
        self.auths_first = credentials;
        self.rearm = watches.iter().map(|watch| (watch.kind, watch.path.clone())).collect();
        self.lasting = watches.iter().any(|watch| !watch.kind.is_one_shot());
    }

    pub(super) fn is_done(&self) -> bool {
        self.inbox.is_empty() && self.rearm.is_empty()
    }
}

impl World {
    /// All that the session hands out arrives at the server.
    pub(super) fn read(&mut self) {
        let mut bytes = BytesMut::new();
        let wanted = self.session.wants_transmit();
        assert_eq!(self.session.poll_transmit(self.now, &mut bytes), wanted);
        assert_eq!(bytes.is_empty(), !wanted);
        assert!(self.is_open() || bytes.is_empty(), "sent to nobody");
        self.tell(format_args!("> {bytes:?}"));
        self.trace.write(&bytes);
        if let (Link::Up(up), true) = (&mut self.link, wanted) {
            up.sent = self.now;
        }
        self.arrived.reader.extend(&bytes);
        while let Some(frame) = self.arrived.reader.next_frame().expect("a frame") {
            let Frame::Whole(packet) = frame else { panic!("an oversize request") };
            self.arrive(&packet);
            self.arrived.inbox.push_back((packet, self.now));
        }
        if let Link::Up(up) = &self.link {
            assert_eq!(up.pings, 0, "no ping was sent");
        }
        self.server.hears(self.now);
        self.check();
    }

    fn arrive(&mut self, packet: &Bytes) {
        if !std::mem::replace(&mut self.arrived.greeted, true) {
            return self.arrive_hello(packet);
        }
        let mut input = Reader::new(packet);
        let header = RequestHeader::decode(&mut input).expect("a header");
        let body = input.rest();
        let request = Request::decode(header.op, &mut input).expect("a request");
        match &request {
            Request::Ping => {
                assert_eq!(header.xid, xid::PING);
                let Link::Up(up) = &mut self.link else { panic!("a ping before the session") };
                up.pings = up.pings.checked_sub(1).expect("a ping that was not due");
            }
            Request::Auth(auth) => {
                assert_eq!(header.xid, xid::AUTH);
                let Registered { credential, waiters, sent } =
                    &mut self.credentials[self.arrived.auths];
                *sent = true;
                assert_eq!((auth.auth_type, auth.scheme), (0, credential.scheme.as_str()));
                assert_eq!(*auth.auth.expose(), Some(&credential.auth.expose()[..]));
                self.arrived.auths += 1;
                for auth in self.ledger.auths.iter_mut().filter(|auth| waiters.contains(&auth.id)) {
                    auth.sent = true;
                }
            }
            Request::SetWatches(_) | Request::SetWatches2(_) => {
                assert_eq!(header.xid, xid::SET_WATCHES);
                assert!(packet.len() <= MAX_REARM);
                // After an event that it could not read the session asks again.
                if !self.tainted || !self.arrived.rearm.is_empty() {
                    assert_eq!(header.op == OpCode::SetWatches2, self.arrived.lasting);
                    self.arrive_rearm(&request);
                }
            }
            _ => self.arrive_request(header, &request, &body),
        }
    }

    /// Who the session says that it is.
    fn arrive_hello(&mut self, packet: &Bytes) {
        let hello = ConnectRequest::decode_all(packet).expect("a handshake");
        let config = self.session.config();
        assert_eq!(hello.protocol_version, 0);
        assert_eq!(hello.timeout as u128, config.session_timeout.as_millis());
        assert_eq!(hello.read_only, Some(config.read_only.into()));
        if hello.last_zxid_seen == 0 && self.session.last_zxid() > 0 {
            // It was shut out for long, and asks anew: what it makes of the answer is not foretold.
            self.taint();
        } else {
            assert_eq!(hello.last_zxid_seen, self.session.last_zxid());
        }
        assert_eq!(hello.session_id, self.resumable.unwrap_or(0));
        if let Some(ticket) = self.session.ticket() {
            assert_eq!(hello.session_id, ticket.id.0);
            assert_eq!(*hello.password.expose(), Some(&ticket.password.expose()[..]));
        }
        self.ledger.since = hello.last_zxid_seen;
    }

    fn arrive_rearm(&mut self, request: &Request<'_>) {
        use WatchKind::{Child, Data, Exist, Persistent, PersistentRecursive};
        assert!(self.arrived.auths >= self.arrived.auths_first, "watches before credentials");
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
        assert_eq!(since, self.ledger.since, "armed as of another transaction");
        for (kind, paths) in lists {
            for path in paths {
                let due = self.arrived.rearm.remove(&(kind, (*path).to_owned()));
                assert!(due, "{kind:?} on {path:?} is not armed, or is twice");
            }
        }
    }

    fn arrive_request(&mut self, header: RequestHeader, request: &Request<'_>, body: &Bytes) {
        assert!(header.xid > self.last_xid, "xid {} after {}", header.xid, self.last_xid);
        self.last_xid = header.xid;
        assert!(self.arrived.auths >= self.arrived.auths_first, "a request before credentials");
        assert!(self.arrived.rearm.is_empty(), "a request before {:?}", self.arrived.rearm);
        if header.op == OpCode::CloseSession {
            assert!(self.is_over(), "closed, and nobody asked for it");
            assert!(self.ledger.calls.iter().all(|call| call.xid.is_some()));
            return;
        }
        let call = self.ledger.calls.iter().position(|call| call.xid.is_none());
        let at = call.unwrap_or_else(|| panic!("{header:?} was not submitted, or is sent again"));
        let call = &self.ledger.calls[at];
        if call.own {
            let Request::RemoveWatches(remove) = request else {
                panic!("{request:?} instead of a removal")
            };
            if !self.ever_tainted {
                self.ledger.check_removal(self.now, GRACE, remove);
            }
        } else {
            assert_eq!((header.op, body), (call.op, &call.body));
        }
        let call = &mut self.ledger.calls[at];
        call.xid = Some(header.xid);
    }

    /// The server looks at up to `count` packets.
    pub(super) fn serve(&mut self, count: usize) {
        for _ in 0..count {
            let Some((packet, at)) = self.arrived.inbox.pop_front() else { return };
            let mut out = Vec::new();
            if matches!(self.link, Link::Up(_)) {
                self.server.answer(at, &packet, &mut out);
            } else {
                let hello = ConnectRequest::decode_all(&packet).expect("a handshake");
                assert!(self.ever_tainted || hello.last_zxid_seen <= self.server.zxid());
                match self.server.greet(self.now, at, &hello) {
                    Some(sent) => out.push(sent),
                    None => return self.cut(),
                }
            }
            self.outbox.extend(out);
        }
    }

    /// Up to `count` of the server's frames come in, at once.
    pub(super) fn deliver(&mut self, count: usize) {
        let batch: Vec<_> = self.outbox.drain(..count.min(self.outbox.len())).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|sent| &sent.bytes[..]).copied().collect();
        if !self.tainted {
            self.in_transit.extend(batch);
        }
        self.feed(&bytes);
    }

    /// Bytes come in.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(self.chunk) {
            if !self.is_open() {
                break;
            }
            if let (Link::Up(up), true) = (&mut self.link, self.tainted) {
                up.heard = self.now;
            }
            self.reader.extend(chunk);
            self.session.handle_data(self.now, &mut self.reader);
            self.absorb_outputs();
            if self.session.end_reason().is_some() {
                self.link = Link::Ended;
            }
        }
        self.absorb();
    }

    /// All that can be done at once is done.
    pub(super) fn settle(&mut self) {
        self.accept();
        for _ in 0..8 {
            self.read();
            self.serve(usize::MAX);
            self.deliver(usize::MAX);
            if !self.session.wants_transmit() && self.arrived.inbox.is_empty() {
                break;
            }
        }
    }
}
