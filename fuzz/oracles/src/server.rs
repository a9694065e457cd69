//! The embedded server, and clients that send anything.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hasher},
    net::SocketAddr,
    time::Duration,
};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use zk_proto::{
    OpCode, Response, Time,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, WatcherEvent, xid},
};
use zk_server::{Config, ConnectionId, Output, Server};

use crate::world::{UserRequest, path_of};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// A client connects, for a new session or for the session of another client.
    Connect {
        timeout: u16,
        resumes: Option<u8>,
        read_only: Option<bool>,
    },
    /// A client sends a valid request.
    Request {
        client: u8,
        request: UserRequest,
        path: u8,
    },
    /// A client sends a request with any body.
    RawRequest {
        client: u8,
        op: u8,
        body: &'a [u8],
    },
    /// A client sends any bytes. What it receives afterwards is not checked.
    Bytes {
        client: u8,
        bytes: &'a [u8],
    },
    /// A connection starts with a four-letter word or with any bytes.
    Stranger {
        word: u8,
        bytes: &'a [u8],
    },
    HangUp {
        client: u8,
    },
    /// This many times 64 ms pass.
    Tick(u8),
    ReadOnly(bool),
    Restart,
    Expire(u8),
}

const WORDS: [&str; 9] = ["ruok", "srvr", "stat", "mntr", "isro", "cons", "dump", "wchp", "wchc"];

/// A client, and what it has received.
struct Client {
    reader: FrameReader,
    greeted: bool,
    /// Its session: id and password.
    session: Option<(i64, Bytes)>,
    /// Requests without an answer.
    asked: VecDeque<(i32, OpCode)>,
    last_xid: i32,
    last_zxid: i64,
    /// Whether it follows the protocol, so that the answers are checked.
    is_sane: bool,
    is_open: bool,
}

/// Runs the embedded server with clients that follow the protocol and clients that do not.
///
/// Each request gets one valid answer, in the order of requests. Events are valid. Zxids never decrease. Single bytes
/// give the same result as bytes in one piece.
///
/// # Panics
/// Panics if that is not the case.
pub fn server(input: &[u8]) {
    let mut rest = Unstructured::new(input);
    let mut steps = Vec::new();
    while steps.len() < 256 && !rest.is_empty() {
        steps.extend(rest.arbitrary::<Step<'_>>());
    }
    assert_eq!(play(&steps, usize::MAX), play(&steps, 1), "single bytes give a different result");
}

/// One run. Returns a hash of everything that the server sent.
fn play(steps: &[Step<'_>], chunk: usize) -> u64 {
    let mut config = Config::default();
    config.extended_types = true;
    let mut site = Site {
        server: Server::new(config, 1),
        now: Time::from_origin(Duration::from_secs(1)),
        chunk,
        clients: BTreeMap::new(),
        trace: DefaultHasher::new(),
    };
    for step in steps {
        site.perform(step);
        site.absorb();
    }
    for client in site.clients.values().filter(|client| client.is_sane && client.is_open) {
        assert!(client.asked.iter().all(|(_, op)| *op == OpCode::Check), "{:?}", client.asked);
    }
    site.trace.finish()
}

struct Site {
    server: Server,
    now: Time,
    chunk: usize,
    clients: BTreeMap<u64, Client>,
    trace: DefaultHasher,
}

impl Site {
    fn perform(&mut self, step: &Step<'_>) {
        match step {
            Step::Connect { timeout, resumes, read_only } => {
                self.connect(i32::from(*timeout), *resumes, *read_only);
            }
            Step::Request { client, request, path } => {
                let (request, _) = request.build(path_of(*path));
                let mut body = BytesMut::new();
                request.encode_body(&mut body);
                self.ask(*client, request.op(), &body);
            }
            Step::RawRequest { client, op, body } => {
                let op = OpCode::ALL[usize::from(*op) % OpCode::ALL.len()];
                self.ask(*client, op, body);
            }
            Step::Bytes { client, bytes } => {
                if let Some(id) = self.pick(*client) {
                    self.client(id).is_sane = false;
                    self.send(id, bytes);
                }
            }
            Step::Stranger { word, bytes } => {
                let id = self.open(false);
                self.send(id, WORDS.get(usize::from(*word)).map_or(bytes, |word| word.as_bytes()));
            }
            Step::HangUp { client } => {
                if let Some(id) = self.pick(*client) {
                    self.client(id).is_open = false;
                    self.server.handle_disconnected(ConnectionId(id));
                }
            }
            Step::Tick(times) => self.tick(u64::from(*times) * 64),
            Step::ReadOnly(read_only) => self.server.set_read_only(self.now, *read_only),
            Step::Restart => self.server.restart(self.now),
            Step::Expire(pick) => {
                let sessions: Vec<_> = self.server.sessions().collect();
                if let Some(session) = sessions.get(usize::from(*pick) % sessions.len().max(1)) {
                    assert!(self.server.expire_session(self.now, *session));
                    assert!(!self.server.expire_session(self.now, *session));
                }
            }
        }
    }

    /// Picks a client with an open connection.
    fn pick(&self, client: u8) -> Option<u64> {
        let open: Vec<_> = self.clients.iter().filter(|(_, client)| client.is_open).collect();
        open.get(usize::from(client) % open.len().max(1)).map(|(id, _)| **id)
    }

    fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("a client")
    }

    fn open(&mut self, is_sane: bool) -> u64 {
        let id = self.clients.len() as u64 + 1;
        self.clients.insert(
            id,
            Client {
                reader: FrameReader::new(usize::MAX),
                greeted: false,
                session: None,
                asked: VecDeque::new(),
                last_xid: 0,
                last_zxid: 0,
                is_sane,
                is_open: true,
            },
        );
        let peer = SocketAddr::from(([127, 0, 0, 1], 50_000));
        self.server.handle_connected(self.now, ConnectionId(id), peer);
        id
    }

    fn connect(&mut self, timeout: i32, resumes: Option<u8>, read_only: Option<bool>) {
        let known: Vec<_> = self.clients.values().filter_map(|c| c.session.clone()).collect();
        let pick = resumes.and_then(|pick| known.get(usize::from(pick) % known.len().max(1)));
        let (session_id, password) = match pick {
            Some((id, password)) => (*id, password.clone()),
            None => (0, Bytes::from_static(&[0; 16])),
        };
        let id = self.open(true);
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout,
            session_id,
            password: Secret::new(Some(&password)),
            read_only: read_only.map(Into::into),
        };
        let mut out = BytesMut::new();
        write_frame(&mut out, |out| hello.encode(out));
        self.send(id, &out);
    }

    fn ask(&mut self, client: u8, op: OpCode, body: &[u8]) {
        let Some(id) = self.pick(client) else { return };
        let client = self.client(id);
        client.last_xid += 1;
        let xid = client.last_xid;
        client.asked.push_back((xid, op));
        let mut out = BytesMut::new();
        write_frame(&mut out, |out| {
            RequestHeader { xid, op }.encode(out);
            out.extend_from_slice(body);
        });
        self.send(id, &out);
    }

    fn send(&mut self, id: u64, bytes: &[u8]) {
        for chunk in bytes.chunks(self.chunk) {
            self.server.handle_data(self.now, ConnectionId(id), chunk);
        }
    }

    fn tick(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        let mut turns = 0;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            let due = self.server.poll_timeout();
            assert!(due.is_none_or(|due| due > self.now), "due again at once");
            turns += 1;
            assert!(turns < 10_000, "the server spins");
        }
        self.now = end;
    }

    /// Executes the outputs of the server.
    fn absorb(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let (Output::Transmit(connection) | Output::Disconnect(connection)) = output else {
                continue;
            };
            let mut bytes = BytesMut::new();
            self.server.poll_transmit(connection, &mut bytes);
            self.trace.write_u64(connection.0);
            self.trace.write(&bytes);
            self.client(connection.0).hear(&bytes);
            if matches!(output, Output::Disconnect(_)) {
                self.trace.write_u8(0);
                self.client(connection.0).is_open = false;
                self.server.handle_disconnected(connection);
            }
        }
    }
}

impl Client {
    fn hear(&mut self, bytes: &[u8]) {
        if !self.is_sane {
            return;
        }
        self.reader.extend(bytes);
        while let Some(frame) = self.reader.next_frame().expect("a frame") {
            let Frame::Whole(frame) = frame else { panic!("an endless frame") };
            if std::mem::replace(&mut self.greeted, true) {
                self.take(&frame);
            } else {
                let welcome = ConnectResponse::decode_all(&frame).expect("a handshake");
                let password = welcome.password.expose().clone().unwrap_or_default();
                assert_eq!(password.len(), 16);
                self.session = (welcome.timeout > 0).then_some((welcome.session_id, password));
                assert_eq!(self.session.is_some(), welcome.session_id != 0);
            }
        }
    }

    fn take(&mut self, frame: &Bytes) {
        let mut input = Reader::new(frame);
        let header = ReplyHeader::decode(&mut input).expect("a header");
        if header.xid == xid::NOTIFICATION {
            WatcherEvent::decode(&mut input).expect("an event");
            return input.finish().expect("an event alone");
        }
        // A successful check is not answered.
        while self.asked.front().is_some_and(|(xid, op)| *op == OpCode::Check && *xid != header.xid)
        {
            self.asked.pop_front();
        }
        let (xid, op) = self.asked.pop_front().expect("an answer without a request");
        let expected = if op == OpCode::Ping { xid::PING } else { xid };
        assert_eq!(header.xid, expected, "{op} is answered out of order");
        let response = Response::decode(op, header.err, &mut input).expect("a reply");
        let mut again = BytesMut::new();
        response.encode(&header, &mut again);
        assert_eq!(again, frame);
        if header.zxid > 0 {
            assert!(header.zxid >= self.last_zxid, "zxid falls");
            self.last_zxid = header.zxid;
        }
    }
}
