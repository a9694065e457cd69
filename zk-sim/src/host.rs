//! The server behind the network, and all that passes by on its side of it.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::BytesMut;
use zk_proto::{
    ErrorCode, Request, Response,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ReplyHeader},
};
use zk_server::{Config, ConnectionId, Output, Server, SessionId, Time};

use crate::{executor::Core, network::Direction, tap::Tap};

/// The server, and whether it runs.
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) tap: Tap,
    is_up: bool,
    is_frozen: bool,
    /// What has arrived while it was frozen; `None` is the end of a connection.
    backlog: VecDeque<(ConnectionId, Option<Vec<u8>>)>,
    /// Sessions that were ended behind their owners' backs: no clock can tell them.
    pub(crate) ended: BTreeSet<SessionId>,
}

impl Host {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        Self {
            server: Server::new(Config::default(), random.u64(..)),
            tap: Tap::default(),
            is_up: true,
            is_frozen: false,
            backlog: VecDeque::new(),
            ended: BTreeSet::new(),
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.is_up
    }

    /// When the server wants to be woken up.
    pub(crate) fn due(&self) -> Option<Duration> {
        let runs = self.is_up && !self.is_frozen;
        self.server.poll_timeout().filter(|_| runs).map(Time::since_origin)
    }
}

impl Core {
    /// Does something to the server, and what follows from it.
    pub(crate) fn with_server<T>(&mut self, act: impl FnOnce(&mut Server, Time) -> T) -> T {
        let now = Time::from_origin(self.now);
        let logged = self.host.tap.log.len();
        let result = act(&mut self.host.server, now);
        let mut bytes = BytesMut::new();
        while let Some(output) = self.host.server.poll_output() {
            let (Output::Transmit(id) | Output::Disconnect(id)) = output else { continue };
            bytes.clear();
            if self.host.server.poll_transmit(id, &mut bytes) {
                self.host.tap.sent(id, &bytes);
                self.send(id.0, Direction::ToClient, &bytes);
            }
            if matches!(output, Output::Disconnect(_)) {
                self.host.server.handle_disconnected(id);
                self.host.tap.closed(id);
                self.closed_by_server(id.0);
            }
        }
        for record in self.host.tap.log.get(logged..).unwrap_or_default() {
            self.trace.note(self.now, || format!("{record:?}"));
        }
        while let Some(what) = self.host.tap.violations.pop() {
            self.fail(|| what);
        }
        result
    }

    pub(crate) fn serve_connected(&mut self, id: ConnectionId) {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.host.tap.connected(self.now, id);
        self.with_server(|server, now| server.handle_connected(now, id, peer));
    }

    /// Bytes have come, or the end.
    pub(crate) fn serve(&mut self, id: ConnectionId, bytes: Option<Vec<u8>>) {
        if self.host.is_frozen {
            self.host.backlog.push_back((id, bytes));
            return;
        }
        match bytes {
            Some(bytes) => {
                self.host.tap.received(id, &bytes);
                self.with_server(|server, now| server.handle_data(now, id, &bytes));
            }
            None => {
                self.with_server(|server, _| server.handle_disconnected(id));
                self.host.tap.closed(id);
                self.closed_by_server(id.0);
            }
        }
    }

    /// Asks the server itself, past the network, in a session of its own.
    pub(crate) fn query(&mut self, request: &Request<'_>) -> Result<Response, ErrorCode> {
        const QUESTION: ConnectionId = ConnectionId(u64::MAX);

        let mut sent = BytesMut::new();
        let connect = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 10_000,
            session_id: 0,
            password: Secret::new(None),
            read_only: None,
        };
        write_frame(&mut sent, |out| connect.encode(out));
        write_frame(&mut sent, |out| request.encode(1, out));
        write_frame(&mut sent, |out| Request::CloseSession.encode(2, out));
        let mut answers = BytesMut::new();
        self.with_server(|server, now| {
            server.handle_connected(now, QUESTION, (Ipv4Addr::LOCALHOST, 0).into());
            server.handle_data(now, QUESTION, &sent);
            server.poll_transmit(QUESTION, &mut answers);
            server.handle_disconnected(QUESTION);
        });
        let mut frames = FrameReader::new(answers.len());
        frames.extend(&answers);
        let mut frame = || match frames.next_frame() {
            Ok(Some(Frame::Whole(frame))) => frame,
            other => panic!("the server answers with {other:?}"),
        };
        let (_welcome, answer) = (frame(), frame());
        let mut input = Reader::new(&answer);
        let header = ReplyHeader::decode(&mut input).expect("a header");
        match header.err {
            ErrorCode::Ok => {
                Ok(Response::decode(request.op(), header.err, &mut input).expect("an answer"))
            }
            error => Err(error),
        }
    }

    /// The client writes on a connection.
    pub(crate) fn tap_written(&mut self, id: u64) {
        let is_calm = self.faults.is_none();
        self.host.tap.written(self.now, ConnectionId(id), is_calm);
        while let Some(what) = self.host.tap.violations.pop() {
            self.fail(|| what);
        }
    }

    /// Takes the server down, with all its connections, or starts it again. Nodes and sessions are kept.
    pub(crate) fn set_up(&mut self, up: bool) {
        if self.host.is_up == up {
            return;
        }
        self.host.is_up = up;
        self.host.is_frozen = false;
        self.host.backlog.clear();
        self.with_server(Server::restart);
    }

    /// Stops the server, as SIGSTOP does, or lets it go on.
    pub(crate) fn set_frozen(&mut self, frozen: bool) {
        if self.host.is_frozen == frozen || !self.host.is_up {
            return;
        }
        self.host.is_frozen = frozen;
        if frozen {
            return;
        }
        if self.random.bool() {
            self.with_server(|server, now| server.handle_timeout(now));
        }
        for (id, bytes) in std::mem::take(&mut self.host.backlog) {
            self.serve(id, bytes);
        }
    }

    /// Ends a session as if it had expired.
    pub(crate) fn end_a_session(&mut self) {
        let sessions: Vec<_> = self.host.server.sessions().collect();
        if !self.host.is_up || self.host.is_frozen || sessions.is_empty() {
            return;
        }
        let session = sessions[self.random.usize(..sessions.len())];
        self.host.ended.insert(session);
        self.with_server(|server, now| server.expire_session(now, session));
    }
}
