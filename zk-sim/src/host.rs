//! The servers behind the network: one, or the members of an [ensemble](crate::ensemble).

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
    records::{AuthPacket, ConnectRequest, ReplyHeader, xid},
};
use zk_server::{Config, ConnectionId, Output, Server, SessionId, Time};

use crate::{
    ensemble::{Ensemble, Entry},
    executor::Core,
    log::Log,
    network::Direction,
    tap::Tap,
};

/// The connection on which the world itself asks.
pub(crate) const QUESTION: ConnectionId = ConnectionId(u64::MAX);

/// Who the world is to the servers, and its clients are as well: a scheme and a proof.
pub(crate) const IDENTITY: (&str, &str) = ("digest", "sim:ulated");

/// Where connections come from.
pub(crate) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// All servers, and the machines that they are on.
pub(crate) struct Host {
    /// The one server; or of an ensemble, what a majority has agreed on.
    server: Server,
    pub(crate) ensemble: Option<Ensemble>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) tap: Tap,
    pub(crate) log: Log,
    /// Sessions that ended without a fault of their owners: no clock can tell them.
    pub(crate) ended: BTreeSet<SessionId>,
    /// What the world itself was told.
    answers: BytesMut,
}

/// What a server runs on.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) is_down: bool,
    pub(crate) is_frozen: bool,
    /// It closes each connection after its first answers.
    pub(crate) answers_once: bool,
    /// The other members of the ensemble cannot be reached.
    pub(crate) is_cut_off: bool,
    /// What has arrived while it was frozen; `None` is the end of a connection.
    backlog: VecDeque<(ConnectionId, Option<Vec<u8>>)>,
}

impl Machine {
    pub(crate) const fn runs(&self) -> bool {
        !self.is_down && !self.is_frozen
    }
}

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one server, or what the ensemble has agreed on.
    Agreed,
    /// What a member of the ensemble has of that.
    Copy(usize),
    /// What a member serves from while it has no quorum.
    ReadOnly(usize),
}

impl Host {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        let seed = random.u64(..);
        let ensemble = random.bool().then(|| Ensemble::new(seed, random));
        let members = if ensemble.is_some() { Ensemble::MEMBERS } else { 1 };
        Self {
            server: Server::new(config(ensemble.is_some()), seed),
            ensemble,
            machines: (0..members).map(|_| Machine::default()).collect(),
            tap: Tap::default(),
            log: Log::default(),
            ended: BTreeSet::new(),
            answers: BytesMut::new(),
        }
    }

    pub(crate) const fn agreed(&self) -> &Server {
        &self.server
    }

    /// How many watches a client's connection has.
    pub(crate) fn watches_of(&self, id: ConnectionId) -> usize {
        match &self.ensemble {
            None => self.server.watches_of(id),
            Some(ensemble) => ensemble.watches_of(id),
        }
    }

    /// The machine that a name's last number stands for, if it is up: an ensemble has three, a server
    /// on its own three names for one.
    pub(crate) fn machine(&self, number: u8) -> Option<usize> {
        let member = usize::from(number.checked_sub(1)?);
        if member >= Ensemble::MEMBERS {
            return None;
        }
        let machine = if self.machines.len() > 1 { member } else { 0 };
        self.machines.get(machine).filter(|machine| !machine.is_down).map(|_| machine)
    }

    /// When the time of something is up that the servers keep.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.server.poll_timeout().filter(|_| self.can_agree()).map(Time::since_origin)
    }

    /// Whether anything can be decided at all.
    pub(crate) fn can_agree(&self) -> bool {
        match &self.ensemble {
            None => self.machines[0].runs(),
            Some(ensemble) => ensemble.has_majority(&self.machines),
        }
    }

    fn server_mut(&mut self, which: Which) -> Option<&mut Server> {
        match which {
            Which::Agreed => Some(&mut self.server),
            Which::Copy(_) | Which::ReadOnly(_) => self.ensemble.as_mut()?.server_mut(which),
        }
    }

    /// Whether what a server sends on a connection goes to a client.
    fn serves(&self, which: Which, id: ConnectionId) -> bool {
        match &self.ensemble {
            None => id != QUESTION,
            Some(ensemble) => ensemble.server_of(id) == Some(which),
        }
    }

    fn machine_of(&self, id: ConnectionId) -> usize {
        match self.ensemble.as_ref().and_then(|ensemble| ensemble.server_of(id)) {
            Some(Which::Copy(member) | Which::ReadOnly(member)) => member,
            Some(Which::Agreed) | None => 0,
        }
    }
}

/// How a server is to behave, on its own or as a member.
pub(crate) fn config(is_copy: bool) -> Config {
    let mut config = Config::default();
    config.is_copy = is_copy;
    config
}

impl Core {
    /// Does something to a server, and what follows from it.
    pub(crate) fn act<T>(
        &mut self,
        which: Which,
        act: impl FnOnce(&mut Server, Time) -> T,
    ) -> Option<T> {
        let now = Time::from_origin(self.now);
        let result = act(self.host.server_mut(which)?, now);
        let logged = self.host.log.records.len();
        let mut bytes = BytesMut::new();
        while let Some(server) = self.host.server_mut(which)
            && let Some(output) = server.poll_output()
        {
            let (Output::Transmit(id) | Output::Disconnect(id)) = output else { continue };
            let ends = matches!(output, Output::Disconnect(_));
            bytes.clear();
            server.poll_transmit(id, &mut bytes);
            if ends {
                server.handle_disconnected(id);
            }
            let serves = self.host.serves(which, id);
            if which == Which::Agreed {
                self.host.log.sent(id, &bytes);
                if id == QUESTION {
                    self.host.answers.extend_from_slice(&bytes);
                }
                if ends {
                    self.host.log.closed(id);
                }
            }
            if serves {
                self.host.tap.sent(id, &bytes);
                self.send(id.0, Direction::ToClient, &bytes);
                if ends {
                    self.forget(id);
                }
            }
        }
        for record in self.host.log.records.get(logged..).unwrap_or_default() {
            self.trace.note(self.now, || format!("{record:?}"));
        }
        self.tell_violations();
        Some(result)
    }

    fn tell_violations(&mut self) {
        while let Some(what) = self.host.tap.violations.pop() {
            self.fail(|| what);
        }
    }

    /// A server's end of a connection is closed.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.host.tap.closed(id);
        if let Some(ensemble) = &mut self.host.ensemble {
            ensemble.forget(id);
        }
        self.closed_by_server(id.0);
    }

    pub(crate) fn serve_connected(&mut self, id: ConnectionId, machine: usize) {
        self.host.tap.connected(self.now, id);
        if self.host.ensemble.is_some() {
            return self.member_connected(id, machine);
        }
        self.host.log.connected(id);
        self.act(Which::Agreed, |server, now| server.handle_connected(now, id, PEER));
    }

    /// Bytes have come, or the end.
    pub(crate) fn serve(&mut self, id: ConnectionId, bytes: Option<Vec<u8>>) {
        let machine = self.host.machine_of(id);
        let machine = &mut self.host.machines[machine];
        if machine.is_frozen {
            machine.backlog.push_back((id, bytes));
            return;
        }
        if let Some(bytes) = &bytes {
            self.host.tap.received(id, bytes);
            self.tell_violations();
        }
        if self.host.ensemble.is_some() {
            return self.member_received(id, bytes.as_deref());
        }
        match bytes {
            Some(bytes) => {
                self.host.log.received(id, &bytes);
                self.act(Which::Agreed, |server, now| server.handle_data(now, id, &bytes));
            }
            None => {
                self.act(Which::Agreed, |server, _| server.handle_disconnected(id));
                self.host.log.closed(id);
                self.forget(id);
            }
        }
    }

    /// Time is up for something that the servers keep.
    pub(crate) fn serve_timeout(&mut self) {
        if self.host.ensemble.is_some() {
            return self.end_silent_sessions();
        }
        self.act(Which::Agreed, Server::handle_timeout);
    }

    /// Asks the servers themselves, past the network, in a session of its own.
    pub(crate) fn query(&mut self, request: &Request<'_>) -> Result<Response, ErrorCode> {
        let mut sent = BytesMut::new();
        let connect = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 10_000,
            session_id: 0,
            password: Secret::new(None),
            read_only: None,
        };
        let (scheme, auth) = IDENTITY;
        let auth = AuthPacket { auth_type: 0, scheme, auth: Secret::new(Some(auth.as_bytes())) };
        write_frame(&mut sent, |out| connect.encode(out));
        write_frame(&mut sent, |out| Request::Auth(auth).encode(xid::AUTH, out));
        write_frame(&mut sent, |out| request.encode(1, out));
        write_frame(&mut sent, |out| Request::CloseSession.encode(2, out));
        let (connection, bytes) = (QUESTION, sent.freeze());
        self.agree_on(Entry::Data { connection, bytes, connects: true, done: None });
        self.agree_on(Entry::Gone(connection));
        let answers = self.host.answers.split();
        let mut frames = FrameReader::new(answers.len());
        frames.extend(&answers);
        let mut frame = || match frames.next_frame() {
            Ok(Some(Frame::Whole(frame))) => frame,
            other => panic!("the server answers with {other:?}"),
        };
        let (_welcome, _auth, answer) = (frame(), frame(), frame());
        let mut input = Reader::new(&answer);
        let header = ReplyHeader::decode(&mut input).expect("a header");
        match header.err {
            ErrorCode::Ok => {
                Ok(Response::decode(request.op(), header.err, &mut input).expect("an answer"))
            }
            error => Err(error),
        }
    }

    /// Asks, and sees that all members learn of it.
    pub(crate) fn query_all(&mut self, request: &Request<'_>) -> Result<Response, ErrorCode> {
        let answer = self.query(request);
        for machine in 0..self.host.machines.len() {
            self.set_lag(machine, Duration::ZERO);
        }
        answer
    }

    /// The client writes on a connection.
    pub(crate) fn tap_written(&mut self, id: u64) {
        let is_calm = self.faults.is_none();
        self.host.tap.written(self.now, ConnectionId(id), is_calm);
        self.tell_violations();
    }

    /// Takes a server down, with all its connections, or starts it again. Nodes and sessions are kept.
    pub(crate) fn set_down(&mut self, machine: usize, down: bool) {
        let state = &mut self.host.machines[machine];
        if state.is_down == down {
            return;
        }
        *state = Machine { is_down: down, is_cut_off: state.is_cut_off, ..Machine::default() };
        if self.host.ensemble.is_some() {
            return self.member_is_down(machine, down);
        }
        self.act(Which::Agreed, Server::restart);
    }

    /// Stops a server, as SIGSTOP does, or lets it go on.
    pub(crate) fn set_frozen(&mut self, machine: usize, frozen: bool) {
        let state = &mut self.host.machines[machine];
        if state.is_frozen == frozen || state.is_down {
            return;
        }
        state.is_frozen = frozen;
        let backlog = std::mem::take(&mut state.backlog);
        if !frozen {
            if self.host.ensemble.is_none() && self.random.bool() {
                self.serve_timeout();
            }
            for (id, bytes) in backlog {
                self.serve(id, bytes);
            }
        }
        self.contact_changes();
    }

    /// Has a server close each connection after its first answers, or not.
    pub(crate) fn set_answers_once(&mut self, machine: usize, answers_once: bool) {
        self.host.machines[machine].answers_once = answers_once;
    }

    /// Takes a member's connections to the others away, or gives them back.
    pub(crate) fn set_cut_off(&mut self, machine: usize, cut_off: bool) {
        let was_cut_off = std::mem::replace(&mut self.host.machines[machine].is_cut_off, cut_off);
        if was_cut_off != cut_off {
            self.contact_changes();
        }
    }

    /// Ends some session.
    pub(crate) fn end_a_session(&mut self) {
        let sessions: Vec<_> = self.host.server.sessions().collect();
        if !self.host.can_agree() || sessions.is_empty() {
            return;
        }
        let session = sessions[self.random.usize(..sessions.len())];
        self.end_session(session);
    }

    /// Ends a session as if it had expired.
    pub(crate) fn end_session(&mut self, session: SessionId) {
        self.host.ended.insert(session);
        self.agree_on(Entry::Expire(session));
    }
}
