//! The session against a scripted server, with bytes and time as values and no socket anywhere.
//!
//! [`World`] holds a session, the other end of its wire and a clock. After every input it takes in all
//! that the session puts out, writes it down as a line of text, and checks what must hold in any run: see
//! [`World::absorb`], [`World::read`] and [`World::tick`].

mod broken;
mod closed_handshakes;
mod handshake;
mod hosts;
mod life;
mod many_clients;
mod persistent;
mod random;
mod read_only;
mod rebalance;
mod reconnect;
mod requests;
mod sasl;
mod secrets;
mod time;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::*;
use crate::{
    AddWatchMode, DecodeError, ErrorCode, EventType, KeeperState, Request, Response,
    frame::{LENGTH_LEN, write_frame},
    jute::{Decode, Encode, List, Reader},
    records::*,
};

/// The session's number, and the timeout that the server grants, in milliseconds.
const ID: i64 = 0x1234;
const T: u64 = 12_000;
const PASSWORD: [u8; 16] = *b"canary-password!";

struct World {
    /// The token of each request is its id.
    session: Session<u64>,
    now: Time,
    host: Option<Arc<HostPort>>,
    /// Whether the connection is open, not just asked for.
    open: bool,
    reader: FrameReader,
    /// How the server's bytes are cut.
    chunk: usize,
    server: FrameReader,
    /// What the session said of itself on each connection.
    hellos: Vec<Hello>,
    greeted: bool,
    /// The transaction of the server's last reply.
    zxid: i64,
    replies: BTreeMap<u64, Reply>,
    failures: BTreeMap<u64, Failure>,
    log: Vec<(u64, String)>,
    /// All that ever came out, byte by byte.
    trace: String,
    xids: BTreeSet<i32>,
    /// Calls with an order of their own: credentials and reconnects.
    auths: BTreeSet<u64>,
    last_completed: u64,
    state: SessionState,
    /// The step of a mechanism that was asked for last.
    sasl_step: Option<SaslStepId>,
}

struct Hello {
    last_zxid: i64,
    timeout: i32,
    id: i64,
    password: Vec<u8>,
    read_only: Option<bool>,
}

fn config(hosts: u16) -> Config {
    let mut config = Config::new((1..=hosts).map(|n| HostPort::new(format!("h{n}"), n)).collect());
    config.randomize_hosts = false;
    config.reconnect_spread = Duration::ZERO;
    config
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn packet(header: ReplyHeader, body: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_frame(&mut out, |out| {
        header.encode(out);
        body(out);
    });
    out.to_vec()
}

fn welcome(id: i64, timeout: i32, read_only: Option<bool>) -> Vec<u8> {
    let mut out = BytesMut::new();
    let response = ConnectResponse {
        protocol_version: 0,
        timeout,
        session_id: id,
        password: Secret::new(Some(Bytes::from_static(&PASSWORD))),
        read_only: read_only.map(Into::into),
    };
    write_frame(&mut out, |out| response.encode(out));
    out.to_vec()
}

fn event(kind: EventType, path: &str) -> Vec<u8> {
    let event = WatcherEvent { kind, state: KeeperState::SyncConnected, path: path.into() };
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: -1, err: ErrorCode::Ok };
    packet(header, |out| event.encode(out))
}

fn stat() -> Stat {
    Stat::decode_all(&Bytes::from_static(&[0; Stat::MIN_LEN])).unwrap()
}

fn data(data: &'static [u8]) -> Response {
    Response::GetData(GetDataResponse { data: Some(Bytes::from_static(data)), stat: stat() })
}

fn delete(path: &str) -> Request<'_> {
    Request::Delete(DeleteRequest { path, version: -1 })
}

fn get(path: &str, watch: bool) -> Request<'_> {
    Request::GetData(GetDataRequest { path, watch: watch.into() })
}

fn exists(path: &str, watch: bool) -> Request<'_> {
    Request::Exists(ExistsRequest { path, watch: watch.into() })
}

fn children(path: &str, watch: bool) -> Request<'_> {
    Request::GetChildren(GetChildrenRequest { path, watch: watch.into() })
}

fn add_watch(path: &str, mode: AddWatchMode) -> Request<'_> {
    Request::AddWatch(AddWatchRequest { path, mode })
}

fn create<'a>(path: &'a str, data: &'a [u8], flags: crate::CreateMode) -> Request<'a> {
    Request::Create(CreateRequest { path, data: Some(data), acl: None, flags })
}

fn set_data<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::SetData(SetDataRequest { path, data: Some(data), version: -1 })
}

impl World {
    fn new(config: Config) -> Self {
        Self::seeded(config, 1)
    }

    fn seeded(config: Config, seed: u64) -> Self {
        let reader = FrameReader::new(config.max_reply);
        Self {
            session: Session::new(config, seed),
            now: Time::ZERO,
            host: None,
            open: false,
            reader,
            chunk: usize::MAX,
            server: FrameReader::new(usize::MAX),
            hellos: Vec::new(),
            greeted: false,
            zxid: 0,
            replies: BTreeMap::new(),
            failures: BTreeMap::new(),
            log: Vec::new(),
            trace: String::new(),
            xids: BTreeSet::new(),
            auths: BTreeSet::new(),
            last_completed: 0,
            state: SessionState::Lost,
            sasl_step: None,
        }
    }

    /// A session on the first of `hosts` hosts, whose beginnings are forgotten.
    fn up(hosts: u16) -> Self {
        Self::up_with(config(hosts))
    }

    fn up_with(config: Config) -> Self {
        let mut world = Self::new(config);
        world.start();
        world.connect();
        world.read();
        world.events();
        world
    }

    // ---- the user ---------------------------------------------------------------------------------

    fn start(&mut self) {
        self.session.start(self.now);
        self.absorb();
    }

    fn try_call(&mut self, request: &Request<'_>) -> Result<u64, Box<Failure>> {
        self.try_call_below(&Chroot::ROOT, request)
    }

    fn try_call_below(
        &mut self,
        chroot: &Chroot,
        request: &Request<'_>,
    ) -> Result<u64, Box<Failure>> {
        let id = self.session.submit(self.now, chroot, request, self.next_id());
        self.absorb();
        id.map(|id| id.0)
    }

    fn call(&mut self, request: &Request<'_>) -> u64 {
        self.try_call(request).unwrap()
    }

    fn call_below(&mut self, chroot: &str, request: &Request<'_>) -> u64 {
        self.try_call_below(&Chroot::new(chroot).unwrap(), request).unwrap()
    }

    fn delete(&mut self, path: &str) -> u64 {
        self.call(&delete(path))
    }

    fn refusal(&mut self, request: &Request<'_>) -> String {
        let failure = self.try_call(request).unwrap_err();
        assert_eq!(failure.outcome, Outcome::NotSent);
        assert_eq!(failure.path.as_deref(), request.path());
        name(&failure.reason)
    }

    fn add_auth(&mut self, password: &str) -> Result<u64, Box<Failure>> {
        let token = self.next_id();
        let id = self.session.add_auth(Credential::digest("ann", password), token)?.0;
        self.auths.insert(id);
        self.absorb();
        Ok(id)
    }

    fn reconnect(&mut self) -> Result<u64, Box<Failure>> {
        let token = self.next_id();
        let id = self.session.reconnect(self.now, token)?.0;
        self.auths.insert(id);
        self.absorb();
        Ok(id)
    }

    fn next_id(&self) -> u64 {
        self.session.last_id + 1
    }

    fn unwatch(&mut self, id: RequestId) {
        let token = self.session.unwatch(self.now, id);
        assert!(token.is_none_or(|token| token == id.0));
        self.absorb();
    }

    fn close(&mut self) {
        self.session.close(self.now);
        self.absorb();
    }

    // ---- the network ------------------------------------------------------------------------------

    /// The connection that was asked for is open.
    fn accept(&mut self) {
        assert!(self.host.is_some() && !self.open, "nothing to accept");
        self.open = true;
        self.session.handle_connected(self.now);
        self.absorb();
    }

    /// The connection, or the attempt at one, is gone.
    fn cut(&mut self) {
        self.cut_by("cut".into());
    }

    fn cut_by(&mut self, cause: Cause) {
        assert!(self.host.is_some(), "nothing to cut");
        self.host = None;
        self.open = false;
        self.session.handle_disconnected(self.now, cause);
        self.absorb();
    }

    /// Accepts, reads the session's words and grants it.
    fn connect(&mut self) {
        self.greet(welcome(ID, T as i32, Some(false)));
    }

    fn greet(&mut self, answer: Vec<u8>) {
        self.accept();
        assert_eq!(self.read().len(), 1, "more than the handshake");
        self.send(&answer);
    }

    /// What the server says, in pieces.
    fn send(&mut self, bytes: &[u8]) {
        assert!(self.open, "the connection is not open");
        for chunk in bytes.chunks(self.chunk) {
            if self.open {
                self.reader.extend(chunk);
                self.session.handle_data(self.now, &mut self.reader);
                self.absorb();
            }
        }
    }

    /// All that the session has handed out and the server has not read: its packets, one a line. An xid is
    /// never seen twice.
    fn read(&mut self) -> Vec<String> {
        let mut bytes = BytesMut::new();
        let wanted = self.session.wants_transmit();
        assert_eq!(self.session.poll_transmit(self.now, &mut bytes), wanted);
        assert_eq!(bytes.is_empty(), !wanted);
        assert!(self.open || bytes.is_empty(), "sent to nobody");
        let _ = writeln!(self.trace, "> {bytes:?}");
        self.server.extend(&bytes);
        let mut packets = Vec::new();
        while let Some(Frame::Whole(packet)) = self.server.next_frame().unwrap() {
            if self.greeted {
                packets.push(self.describe(&packet));
            } else {
                packets.push(self.take_hello(&packet));
            }
        }
        packets
    }

    fn take_hello(&mut self, packet: &Bytes) -> String {
        let hello = ConnectRequest::decode_all(packet).unwrap();
        assert_eq!(hello.protocol_version, 0);
        self.greeted = true;
        self.hellos.push(Hello {
            last_zxid: hello.last_zxid_seen,
            timeout: hello.timeout,
            id: hello.session_id,
            password: hello.password.expose().unwrap().to_vec(),
            read_only: hello.read_only.map(Into::into),
        });
        format!("connect {:#x} at {}", hello.session_id, hello.last_zxid_seen)
    }

    fn describe(&mut self, packet: &Bytes) -> String {
        let mut input = Reader::new(packet);
        let header = RequestHeader::decode(&mut input).unwrap();
        let request = Request::decode(header.op, &mut input).unwrap();
        let special = match &request {
            Request::Ping => Some((xid::PING, "ping".into())),
            Request::Auth(auth) => {
                let proof = String::from_utf8_lossy(auth.auth.expose().unwrap());
                Some((xid::AUTH, format!("auth {} {proof}", auth.scheme)))
            }
            Request::SetWatches(set) => Some((
                xid::SET_WATCHES,
                format!(
                    "setWatches since {}: {:?} {:?} {:?}",
                    set.relative_zxid, set.data_watches, set.exist_watches, set.child_watches
                ),
            )),
            Request::SetWatches2(set) => Some((
                xid::SET_WATCHES,
                format!(
                    "setWatches2 since {}: {:?} {:?} {:?} {:?} {:?}",
                    set.relative_zxid,
                    set.data_watches,
                    set.exist_watches,
                    set.child_watches,
                    set.persistent_watches,
                    set.persistent_recursive_watches
                ),
            )),
            _ => None,
        };
        if let Some((xid, text)) = special {
            assert_eq!(header.xid, xid);
            return text;
        }
        assert!(header.xid > 0, "xid {}", header.xid);
        assert!(self.xids.insert(header.xid), "xid {} sent twice", header.xid);
        if let Request::RemoveWatches(remove) = &request {
            let kind = remove.watcher_type;
            return format!("{} {} {} {kind:?}", header.xid, header.op, remove.path);
        }
        if let Request::AddWatch(add) = &request {
            return format!("{} addWatch {} {:?}", header.xid, add.path, add.mode);
        }
        match request.path() {
            Some(path) => format!("{} {} {path}", header.xid, header.op),
            None => format!("{} {}", header.xid, header.op),
        }
    }

    // ---- the server's answers ---------------------------------------------------------------------

    fn answer(&mut self, xid: i32, err: ErrorCode, response: &Response) {
        self.zxid += 1;
        let header = ReplyHeader { xid, zxid: self.zxid, err };
        self.send(&packet(header, |out| response.encode_body(out)));
    }

    fn reply(&mut self, xid: i32, response: &Response) {
        self.answer(xid, ErrorCode::Ok, response);
    }

    fn ok(&mut self, xid: i32) {
        self.reply(xid, &Response::Empty);
    }

    fn refuse(&mut self, xid: i32, err: ErrorCode) {
        self.answer(xid, err, &Response::Empty);
    }

    /// The reply to a packet of the session's own: a ping, credentials, watches.
    fn special(&mut self, xid: i32, err: ErrorCode) {
        let header = ReplyHeader { xid, zxid: 1_000_000, err };
        self.send(&packet(header, |_| {}));
    }

    fn pong(&mut self) {
        self.special(xid::PING, ErrorCode::Ok);
    }

    fn fire(&mut self, kind: EventType, path: &str) {
        self.send(&event(kind, path));
    }

    // ---- time -------------------------------------------------------------------------------------

    /// Time goes by, and the session is woken whenever it asked for it.
    fn tick(&mut self, ms: u64) {
        let end = self.now.after(millis(ms));
        let mut turns = 0;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wake();
            turns += 1;
            assert!(turns < 1_000, "the session spins");
        }
        self.now = end;
    }

    fn wake(&mut self) {
        self.session.handle_timeout(self.now);
        self.absorb();
        let due = self.session.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "due again at once");
    }

    /// Time goes by unnoticed, as when the process is stopped.
    fn freeze(&mut self, ms: u64) {
        self.now = self.now.after(millis(ms));
    }

    /// Time goes by on a healthy connection: pings are answered.
    fn idle(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.tick(100);
            for packet in self.read() {
                assert_eq!(packet, "ping");
                self.pong();
            }
        }
    }

    // ---- what came out ----------------------------------------------------------------------------

    /// Takes in all outputs. States change along legal edges only, a request ends once, requests end in
    /// their order, and a step has few outputs.
    fn absorb(&mut self) {
        let mut count = 0;
        let bound = 100 + 3 * (self.session.last_id as usize);
        while let Some(output) = self.session.poll_output() {
            count += 1;
            assert!(count <= bound, "too much at once");
            let _ = writeln!(self.trace, "{output:?}");
            let line = match output {
                Output::Connect { host, deadline } => {
                    assert!(self.host.is_none(), "two connections");
                    assert!(deadline > self.now);
                    let line = format!("connect {}", host.host);
                    self.host = Some(host);
                    self.greeted = false;
                    self.reader = FrameReader::new(self.session.config().max_reply);
                    self.server = FrameReader::new(usize::MAX);
                    line
                }
                Output::Disconnect => {
                    assert!(self.host.take().is_some(), "nothing to disconnect");
                    self.open = false;
                    "disconnect".into()
                }
                Output::Probe { host, .. } => format!("probe {}", host.host),
                Output::Sasl { step, host, token, deadline } => {
                    assert_eq!(Some(&host), self.host.as_ref());
                    assert!(deadline > self.now);
                    assert_ne!(self.sasl_step.replace(step), Some(step));
                    match token {
                        None => "sasl".into(),
                        Some(token) => format!("sasl {:?}", token.expose()),
                    }
                }
                Output::State(state) => {
                    assert!(is_edge(self.state, state), "{} to {state}", self.state);
                    self.state = state;
                    state.to_string()
                }
                Output::Completed { id: RequestId(id), token, result } => {
                    assert_eq!(token, id);
                    if !self.auths.contains(&id) {
                        assert!(id > self.last_completed, "{id} out of turn");
                        self.last_completed = id;
                    }
                    match result {
                        Ok(reply) => {
                            let line = format!("#{id} ok");
                            assert!(self.replies.insert(id, reply).is_none(), "{id} ends twice");
                            line
                        }
                        Err(failure) => {
                            let line =
                                format!("#{id} {} {:?}", name(&failure.reason), failure.outcome);
                            let known = self.failures.insert(id, *failure);
                            assert!(known.is_none(), "{id} ends twice");
                            line
                        }
                    }
                }
                Output::Fired { id, token, event } => {
                    assert_eq!(token, id.0);
                    format!("#{} {} {}", id.0, event.kind, event.path)
                }
                Output::Gap { id, token, since } => {
                    assert_eq!(token, id.0);
                    format!("#{} gap since {since}", id.0)
                }
                Output::Unwatched { id, token, reason } => {
                    assert_eq!(token, id.0);
                    format!("#{} unwatched {}", id.0, name(&reason))
                }
            };
            let ended = self.replies.keys().filter(|id| self.failures.contains_key(id)).count();
            assert_eq!(ended, 0, "ended both ways");
            let ms = self.now.since_origin().as_millis() as u64;
            self.log.push((ms, line));
        }
        assert_eq!(self.session.state(), self.state);
    }

    /// What the session has put out since this was asked last.
    fn events(&mut self) -> Vec<String> {
        self.log.drain(..).map(|(_, line)| line).collect()
    }

    fn password(&self) -> &str {
        std::str::from_utf8(&self.hellos.last().unwrap().password).unwrap()
    }
}

fn is_edge(from: SessionState, to: SessionState) -> bool {
    match (from, to) {
        (SessionState::Lost, to) => to.is_connected(),
        (SessionState::Suspended, _) => to != SessionState::Suspended,
        (_, to) => matches!(to, SessionState::Suspended | SessionState::Lost),
    }
}

/// A reason without its details.
fn name(reason: &Reason) -> String {
    match reason {
        Reason::Server(code) => format!("{code:?}"),
        reason => {
            let text = format!("{reason:?}");
            text.split(['(', ' ', '{']).next().unwrap().to_owned()
        }
    }
}
