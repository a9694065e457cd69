//! [`ServerUnderTest`]: runs the steps on one server, and returns what the clients see, in terms that do not
//! depend on the server.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Acl, CreateMode, ErrorCode, EventType, OpCode, Request, Response, Ustring,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    path,
    records::*,
    sasl::{self, Mechanism as _, digest_md5},
};
use zk_tests::eventually;

use crate::access::{Access, LIMIT, PLAIN_CLIENT, Stream};
use crate::sequence::{CLIENTS, RequestTemplate, SequenceScope, Step};

/// The session timeout in milliseconds, longer than any sequence.
const TIMEOUT: i32 = 60_000;
/// The maximum length of a reply.
const MAX_REPLY: usize = 4 << 20;

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    /// The session is connected: its number in order of first appearance, and what the server has granted.
    Connected {
        session: i64,
        timeout: i32,
        read_only: Option<bool>,
        password_len: usize,
    },
    /// The session has expired, or the password is wrong.
    Expired,
    Reply {
        xid: i32,
        zxid: i64,
        err: ErrorCode,
        response: Response,
        /// The encoded reply, because equal replies can be encoded differently.
        body: Vec<u8>,
    },
    /// A reply to a SASL token, whose token is without what differs each time.
    Sasl {
        xid: i32,
        zxid: i64,
        err: ErrorCode,
        token: Option<String>,
    },
    /// The client has ended the exchange of SASL tokens. If it is true, the server has proved that it knows the
    /// password.
    SaslEnded(bool),
    /// A reply that cannot be decoded.
    Undecodable(Vec<u8>),
    Event {
        zxid: i64,
        kind: EventType,
        path: Ustring,
    },
    Closed,
}

/// A server, and the clients that run the sequence on it.
pub(crate) struct ServerUnderTest {
    access: Access,
    /// A client with all permissions, which prepares the nodes.
    admin: Client,
    clients: Vec<Client>,
    /// The sessions of the sequence, in the order of their first appearance.
    sessions: BTreeMap<i64, i64>,
    base: i64,
}

#[derive(Default)]
struct Client {
    session: Option<(i64, Bytes)>,
    connection: Option<Connection>,
}

impl ServerUnderTest {
    pub(crate) fn new(access: Access) -> Self {
        let mut peer = Self {
            access,
            admin: Client::default(),
            clients: Vec::new(),
            sessions: BTreeMap::new(),
            base: 0,
        };
        let (connection, response) = peer.handshake(PLAIN_CLIENT, 0, &[0; 16]);
        peer.admin.session = Some((response.session_id, Bytes::new()));
        peer.admin.connection = connection;
        let auth = AuthPacket {
            auth_type: 0,
            scheme: "digest",
            auth: Secret::new(Some(b"super:test".as_slice())),
        };
        peer.admin(&Request::Auth(auth), xid::AUTH);
        peer
    }

    /// Runs `steps` below `root`, which does not exist yet. Returns what each client sees at each step.
    pub(crate) fn run(&mut self, root: &str, steps: &[Step]) -> Vec<Vec<Vec<Observation>>> {
        self.set_up(root);
        let seen = steps.iter().map(|step| self.step(root, step)).collect();
        self.clean_up();
        seen
    }

    // ---- preparation --------------------------------------------------------------------------------

    fn set_up(&mut self, root: &str) {
        self.sessions.clear();
        self.clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let create = CreateRequest {
            path: root,
            data: None,
            acl: Some(zk_proto::OPEN_ACL_UNSAFE.as_slice().into()),
            flags: CreateMode::Persistent,
        };
        self.base = self.admin(&Request::Create(create), 1).0;
    }

    fn clean_up(&mut self) {
        for at in 0..CLIENTS {
            let client = &mut self.clients[at];
            if client.connection.is_none() {
                let Some((id, password)) = client.session.clone() else { continue };
                let (connection, _) = self.handshake(at, id, &password);
                self.clients[at].connection = connection;
            }
            if let Some(connection) = &mut self.clients[at].connection {
                // The server may demand this.
                let auth = AuthPacket {
                    auth_type: 0,
                    scheme: "digest",
                    auth: Secret::new(Some(b"any:one".as_slice())),
                };
                connection.send(&Request::Auth(auth), xid::AUTH);
                connection.send(&Request::CloseSession, 1);
                while connection.receive().is_some() {}
            }
        }
        let open = || Some(zk_proto::OPEN_ACL_UNSAFE.as_slice().into());
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            let set = SetAclRequest { path, acl: open(), version: -1 };
            self.admin(&Request::SetAcl(set), 1);
        }
        let acl: &[Acl] = &zk_proto::READ_ACL_UNSAFE;
        let set = SetAclRequest { path: "/zookeeper/config", acl: Some(acl.into()), version: -1 };
        self.admin(&Request::SetAcl(set), 1);
        let mut nodes = vec!["/".to_owned()];
        let mut at = 0;
        while let Some(node) = nodes.get(at).cloned() {
            at += 1;
            let get = Request::GetChildren(GetChildrenRequest { path: &node, watch: false.into() });
            let Response::GetChildren(reply) = self.admin(&get, 1).1 else {
                panic!("no children of {node}")
            };
            nodes.extend(reply.children.iter().map(|name| path::join(&node, name)));
        }
        let keep = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];
        let gone = nodes.iter().rev().filter(|node| !keep.contains(&node.as_str()));
        let ops = gone.map(|path| MultiOp::Delete(DeleteRequest { path, version: -1 })).collect();
        self.admin(&Request::Multi(MultiRequest::new(ops)), 1);
    }

    /// Sends `request` as the admin. Returns the zxid and the reply.
    fn admin(&mut self, request: &Request<'_>, xid: i32) -> (i64, Response) {
        let connection = self.admin.connection.as_mut().expect("the admin stays connected");
        connection.send(request, xid);
        let frame = connection.receive().expect("the server answers the admin");
        let mut input = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut input).expect("a header");
        assert_eq!(header.err, ErrorCode::Ok, "the admin's {request:?}");
        let response = Response::decode(request.op(), header.err, &mut input).expect("a reply");
        (header.zxid, response)
    }

    // ---- the steps ---------------------------------------------------------------------------------

    /// Runs `step`, and returns what each client sees.
    fn step(&mut self, root: &str, step: &Step) -> Vec<Vec<Observation>> {
        let mut seen = vec![Vec::new(); CLIENTS];
        match step {
            Step::Single(client, request) => {
                self.request(root, *client, std::slice::from_ref(request), &mut seen)
            }
            Step::Burst(client, requests) => self.request(root, *client, requests, &mut seen),
            Step::Cut(client) => {
                self.clients[*client].connection = None;
                self.wait_connections(*client, 0);
            }
            Step::Resume { client, right_password } => {
                let Some((id, password)) = self.clients[*client].session.clone() else {
                    return seen;
                };
                let wrong = [7; 16].as_slice();
                let password = if *right_password { &password } else { wrong };
                let old = self.clients[*client].connection.take();
                self.connect(*client, id, password, &mut seen[*client]);
                if let Some(mut old) = old {
                    while let Some(frame) = old.receive() {
                        let unsolicited = self.read_unsolicited(&frame);
                        seen[*client].push(unsolicited);
                    }
                }
            }
        }
        for (at, seen) in seen.iter_mut().enumerate() {
            self.drain(at, seen);
        }
        if matches!(step, Step::Single(_, RequestTemplate::CloseSession)) {
            // Ephemeral nodes are deleted in no particular order.
            for seen in &mut seen {
                seen.sort_by_key(|seen| match seen {
                    Observation::Event { kind, path, .. } => (0, kind.code(), path.clone()),
                    _ => (1, 0, Ustring::new()),
                });
            }
        }
        seen
    }

    /// Sends `requests` at once as one client, and records what it sees.
    fn request(
        &mut self,
        root: &str,
        at: usize,
        requests: &[RequestTemplate],
        seen: &mut [Vec<Observation>],
    ) {
        if self.clients[at].connection.is_none() {
            let (id, password) =
                self.clients[at].session.clone().unwrap_or((0, Bytes::from_static(&[0; 16])));
            self.connect(at, id, &password, &mut seen[at]);
        }
        if let [RequestTemplate::SaslLogin(user, password)] = requests {
            return self.log_in(at, user, password, &mut seen[at]);
        }
        let base = self.base;
        let Some(connection) = &mut self.clients[at].connection else { return };
        let mut expected = Vec::new();
        let mut packets = BytesMut::new();
        for request in requests {
            connection.next_xid += 1;
            let xid = request.xid(connection.next_xid);
            let op = request.with_request(&SequenceScope { root, base }, |request| {
                write_frame(&mut packets, |out| request.encode(xid, out));
                request.op()
            });
            expected.push((xid, op));
        }
        connection.write(&packets);
        let mut replies = expected.into_iter().peekable();
        while let Some((xid, op)) = replies.peek().copied() {
            let Some(frame) = self.clients[at].receive() else { break };
            let reply = self.read_reply(&frame, xid, op);
            if matches!(reply, Observation::Event { .. }) {
                seen[at].push(reply);
                continue;
            }
            replies.next();
            let refused = match reply {
                Observation::Reply { err: ErrorCode::Ok, .. }
                | Observation::Sasl { err: ErrorCode::Ok, .. } => false,
                Observation::Reply { err: ErrorCode::SessionClosedRequireSaslAuth, .. } => true,
                _ => matches!(op, OpCode::Auth | OpCode::Sasl),
            };
            seen[at].push(reply);
            if refused || matches!(op, OpCode::CloseSession | OpCode::Error | OpCode::Unknown(_)) {
                while self.clients[at].receive().is_some() {}
            }
        }
        if self.clients[at].connection.is_none() {
            seen[at].push(Observation::Closed);
            self.wait_connections(at, 0);
        }
        let is_ok = |seen: &_| matches!(seen, Observation::Reply { err: ErrorCode::Ok, .. });
        if matches!(requests, [RequestTemplate::CloseSession]) && seen[at].iter().any(is_ok) {
            self.clients[at].session = None;
        }
    }

    /// Exchanges SASL tokens until the exchange ends.
    fn log_in(&mut self, at: usize, user: &str, password: &str, seen: &mut Vec<Observation>) {
        let password = Secret::new(password.to_owned());
        let mut mechanism = digest_md5::Client::new(user, password, 1).expect("a user");
        let mut answer = Bytes::new();
        while let Some(connection) = &mut self.clients[at].connection {
            let token = match mechanism.step(&answer) {
                Ok(sasl::Step::Respond(token)) => token,
                end => return seen.push(Observation::SaslEnded(end.is_ok())),
            };
            connection.next_xid += 1;
            let xid = connection.next_xid;
            let token = Secret::new(Some(token.expose().as_ref()));
            connection.send(&Request::Sasl(SaslRequest { token }), xid);
            loop {
                let Some(frame) = self.clients[at].receive() else { break };
                let reply = self.read_reply(&frame, xid, OpCode::Sasl);
                if matches!(reply, Observation::Event { .. }) {
                    seen.push(reply);
                    continue;
                }
                let is_ok = matches!(reply, Observation::Sasl { err: ErrorCode::Ok, .. });
                seen.push(reply);
                answer = token_of(&frame).unwrap_or_default();
                if !is_ok {
                    while self.clients[at].receive().is_some() {}
                }
                break;
            }
        }
        seen.push(Observation::Closed);
        self.wait_connections(at, 0);
    }

    fn connect(&mut self, at: usize, id: i64, password: &[u8], seen: &mut Vec<Observation>) {
        let (connection, response) = self.handshake(at, id, password);
        if response.timeout <= 0 {
            seen.push(Observation::Expired);
            return;
        }
        let number = i64::try_from(self.sessions.len()).expect("few sessions") + 1;
        let password = response.password.expose().clone().expect("a password");
        seen.push(Observation::Connected {
            session: *self.sessions.entry(response.session_id).or_insert(number),
            timeout: response.timeout,
            read_only: response.read_only.map(Into::into),
            password_len: password.len(),
        });
        self.clients[at] = Client { session: Some((response.session_id, password)), connection };
        self.wait_connections(at, 1);
    }

    /// Records what a client has received without a request.
    fn drain(&mut self, at: usize, seen: &mut Vec<Observation>) {
        let Some(connection) = &mut self.clients[at].connection else { return };
        connection.send(&Request::Ping, xid::PING);
        while let Some(frame) = self.clients[at].receive() {
            match self.read_unsolicited(&frame) {
                Observation::Reply { xid: xid::PING, err: ErrorCode::Ok, .. } => return,
                Observation::Reply { xid: xid::PING, .. } => {
                    // The server demands authentication, and closes the connection.
                    while self.clients[at].receive().is_some() {}
                    self.wait_connections(at, 0);
                }
                other => seen.push(other),
            }
        }
        seen.push(Observation::Closed);
    }

    /// Waits until the server reports `count` connections of the client's session.
    fn wait_connections(&self, at: usize, count: usize) {
        let Some((id, _)) = self.clients[at].session else { return };
        let sid = format!("sid={id:#x},");
        for _ in 0..2 {
            eventually(LIMIT, "the server to know who is connected", || {
                // ZooKeeper lists those that use the same port.
                let cons = self.access.four_letter_word("cons", at).ok()?;
                (cons.matches(&sid).count() == count).then_some(())
            });
        }
    }

    /// Opens or resumes a session of the client number `at`.
    fn handshake(
        &self,
        at: usize,
        session_id: i64,
        password: &[u8],
    ) -> (Option<Connection>, ConnectResponse) {
        let mut connection = Connection::open(&self.access, at);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: TIMEOUT,
            session_id,
            password: Secret::new(Some(password)),
            read_only: Some(false.into()),
        };
        connection.write_frame(|out| request.encode(out));
        let frame = connection.receive().expect("the server answers the handshake");
        let response = ConnectResponse::decode_all(&frame).expect("a connect response");
        ((response.timeout > 0).then_some(connection), response)
    }

    // ---- decoding and normalisation ----------------------------------

    fn read_unsolicited(&self, frame: &Bytes) -> Observation {
        self.read_reply(frame, xid::PING, OpCode::Ping)
    }

    fn read_reply(&self, frame: &Bytes, xid: i32, op: OpCode) -> Observation {
        self.try_read(frame, xid, op).unwrap_or_else(|| Observation::Undecodable(frame.to_vec()))
    }

    fn try_read(&self, frame: &Bytes, xid: i32, op: OpCode) -> Option<Observation> {
        let mut input = Reader::new(frame);
        let header = ReplyHeader::decode(&mut input).ok()?;
        if header.xid == xid::NOTIFICATION {
            let event = WatcherEvent::decode(&mut input).ok()?;
            let known = header.err.is_ok() && event.state.code() == 3;
            let zxid = self.relative(header.zxid);
            return known.then_some(Observation::Event {
                zxid,
                kind: event.kind,
                path: event.path,
            });
        }
        if header.xid != xid {
            return None;
        }
        if op == OpCode::Sasl && (header.err.is_ok() || input.remaining() > 0) {
            return Some(Observation::Sasl {
                xid: header.xid,
                zxid: self.relative(header.zxid),
                err: header.err,
                token: token_of(frame).map(without_nonce),
            });
        }
        let mut response = Response::decode(op, header.err, &mut input).ok()?;
        self.normalise(&mut response);
        let mut body = BytesMut::new();
        response.encode_body(&mut body);
        Some(Observation::Reply {
            xid: header.xid,
            zxid: self.relative(header.zxid),
            err: header.err,
            response,
            body: body.to_vec(),
        })
    }

    fn normalise(&self, response: &mut Response) {
        match response {
            Response::Exists(stat) | Response::SetData(stat) | Response::SetAcl(stat) => {
                self.normalise_stat(stat);
            }
            Response::GetData(reply) => self.normalise_stat(&mut reply.stat),
            Response::GetAcl(reply) => {
                reply.acl.sort();
                self.normalise_stat(&mut reply.stat);
            }
            Response::GetChildren(reply) => reply.children.sort(),
            Response::GetChildren2(reply) => {
                reply.children.sort();
                self.normalise_stat(&mut reply.stat);
            }
            Response::Create2(reply)
            | Response::CreateContainer(reply)
            | Response::CreateTtl(reply) => self.normalise_stat(&mut reply.stat),
            Response::GetEphemerals(reply) => reply.ephemerals.sort(),
            Response::WhoAmI(reply) => reply.client_info.sort(),
            Response::Multi(reply) | Response::MultiRead(reply) => {
                for result in &mut reply.results {
                    match result {
                        MultiResult::Create2(reply) => self.normalise_stat(&mut reply.stat),
                        MultiResult::SetData(stat) => self.normalise_stat(stat),
                        MultiResult::GetData(reply) => self.normalise_stat(&mut reply.stat),
                        MultiResult::GetChildren(reply) => reply.children.sort(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Times are removed, zxids are relative to the start of the sequence, and sessions are numbered in
    /// order. For nodes that are older than the sequence, versions are removed too, because earlier sequences
    /// may have changed them.
    fn normalise_stat(&self, stat: &mut Stat) {
        if stat.czxid <= self.base {
            stat.version = 0;
            stat.cversion = 0;
            stat.aversion = 0;
        }
        stat.ctime = 0;
        stat.mtime = 0;
        for zxid in [&mut stat.czxid, &mut stat.mzxid, &mut stat.pzxid] {
            *zxid = self.relative(*zxid);
        }
        if let Some(session) = self.sessions.get(&stat.ephemeral_owner) {
            stat.ephemeral_owner = *session;
        }
    }

    fn relative(&self, zxid: i64) -> i64 {
        if zxid > 0 { (zxid - self.base).max(0) } else { zxid }
    }
}

impl Client {
    /// The next frame. If the connection has ended, it is dropped and `None` is returned.
    fn receive(&mut self) -> Option<Bytes> {
        let frame = self.connection.as_mut().and_then(Connection::receive);
        if frame.is_none() {
            self.connection = None;
        }
        frame
    }
}

/// The token of a reply.
fn token_of(frame: &Bytes) -> Option<Bytes> {
    let mut input = Reader::new(frame);
    ReplyHeader::decode(&mut input).ok()?;
    SaslResponse::decode(&mut input).ok()?.token.expose().clone()
}

/// A challenge without its nonce, and a proof, which depends on it, without its digest.
fn without_nonce(token: Bytes) -> String {
    let token = String::from_utf8(token.to_vec()).expect("text");
    let value = |part: &str, name: &str| part.starts_with(name).then(|| name.to_owned());
    let parts = token.split(',').map(|part| {
        let hidden = value(part, "nonce=").or_else(|| value(part, "rspauth="));
        hidden.unwrap_or_else(|| part.to_owned())
    });
    parts.collect::<Vec<_>>().join(",")
}

/// A connection that sends and receives frames.
struct Connection {
    stream: Stream,
    incoming: FrameReader,
    next_xid: i32,
}

impl Connection {
    fn open(access: &Access, client: usize) -> Self {
        Self { stream: access.open(client), incoming: FrameReader::new(MAX_REPLY), next_xid: 0 }
    }

    fn send(&mut self, request: &Request<'_>, xid: i32) {
        self.write_frame(|out| request.encode(xid, out));
    }

    fn write_frame(&mut self, body: impl FnOnce(&mut BytesMut)) {
        let mut packet = BytesMut::new();
        write_frame(&mut packet, body);
        self.write(&packet);
    }

    /// Sends packets. If the server has closed the connection, the next read reports it.
    fn write(&mut self, packets: &[u8]) {
        let _ = self.stream.write_all(packets).and_then(|()| self.stream.flush());
    }

    fn receive(&mut self) -> Option<Bytes> {
        loop {
            match self.incoming.next_frame().expect("frames") {
                Some(Frame::Whole(frame)) => return Some(frame),
                Some(Frame::Oversize { length, .. }) => panic!("a reply of {length} bytes"),
                None => {}
            }
            match self.stream.read(self.incoming.spare()) {
                Ok(0) => return None,
                Ok(len) => self.incoming.advance(len),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no answer")
                }
                Err(_) => return None,
            }
        }
    }
}
