//! How clients come back: sessions of `zk-proto`, one by one and without a client around them, against hosts
//! that do as they are told. It is for figures over thousands of clients, of which `cargo run --release -p
//! zk-tests --example reconnect-stats` prints those that matter; what must hold of them is in `tests/coming_back.rs`.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Chroot, ErrorCode, HostPort, Request, Time,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ConnectResponse, ExistsRequest, ReplyHeader, RequestHeader, xid},
    session::{Backoff, Config, Output, Session, SessionState},
};

/// What a host does with who comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// It refuses the connection.
    Refuses,
    /// It never answers.
    Hangs,
    /// It serves.
    Serves,
    /// It makes a session, answers one request and closes.
    AnswersOnce,
}

/// A client's part in a figure.
#[derive(Debug, Clone)]
pub struct Scene {
    /// How many hosts there are; their ports count from 1.
    pub hosts: u16,
    /// The session timeout, asked for and granted.
    pub timeout: Duration,
    /// How long it takes to and from a host.
    pub round_trip: Duration,
    /// How attempts are spaced.
    pub backoff: Backoff,
    /// Whether the client has a request under way whenever it is connected.
    pub is_busy: bool,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            hosts: 3,
            timeout: Duration::from_secs(10),
            round_trip: Duration::from_millis(1),
            backoff: Backoff::default(),
            is_busy: false,
        }
    }
}

/// What a client did.
#[derive(Debug, Default)]
pub struct Story {
    /// When it began to connect.
    pub attempts: Vec<Duration>,
    /// When it had a session.
    pub connected: Vec<Duration>,
    /// How many of its sessions expired.
    pub expired: usize,
}

impl Story {
    /// How long after `from` it was connected.
    #[must_use]
    pub fn back_after(&self, from: Duration) -> Option<Duration> {
        let after = |at: &Duration| at.checked_sub(from).filter(|after| !after.is_zero());
        self.connected.iter().find_map(after)
    }

    /// How many attempts there were in the first `time`.
    #[must_use]
    pub fn attempts_in(&self, time: Duration) -> usize {
        self.attempts.iter().filter(|at| **at < time).count()
    }
}

/// What is on its way to a client.
enum Event {
    Accepted,
    Refused,
    Bytes(Vec<u8>),
    Closed,
}

struct Play<'s, F> {
    scene: &'s Scene,
    host: F,
    session: Session<()>,
    now: Time,
    /// What comes on the present connection, and when.
    events: VecDeque<(Time, Event)>,
    to_client: FrameReader,
    to_server: FrameReader,
    port: u16,
    is_open: bool,
    is_greeted: bool,
    /// When the servers have heard of the session last.
    heard: Option<Time>,
    story: Story,
}

/// The story of one client until `end`, with hosts that do as `host` says of a port and a time. At `cut` its
/// connection is closed, if it has one.
pub fn play(
    scene: &Scene,
    seed: u64,
    cut: Option<Duration>,
    end: Duration,
    host: impl Fn(u16, Duration) -> Host,
) -> Story {
    let hosts = (1..=scene.hosts).map(|port| HostPort::new("h", port)).collect();
    let mut config = Config::new(hosts);
    config.session_timeout = scene.timeout;
    config.backoff = scene.backoff;
    let mut play = Play {
        scene,
        host,
        to_client: FrameReader::new(config.max_reply),
        session: Session::new(config, seed),
        now: Time::ZERO,
        events: VecDeque::new(),
        to_server: FrameReader::new(1 << 20),
        port: 0,
        is_open: false,
        is_greeted: false,
        heard: None,
        story: Story::default(),
    };
    play.session.start(play.now);
    play.absorb();
    let mut cut = cut.map(Time::from_origin);
    let end = Time::from_origin(end);
    loop {
        let event = play.events.front().map(|(at, _)| *at);
        let due = play.session.poll_timeout();
        let Some(next) = [event, due, cut].into_iter().flatten().min().filter(|next| *next < end)
        else {
            return play.story;
        };
        play.now = play.now.max(next);
        if cut.is_some_and(|at| at <= play.now) {
            cut = None;
            play.close();
        } else if event.is_some_and(|at| at <= play.now) {
            play.next_event();
        } else {
            play.session.handle_timeout(play.now);
        }
        play.absorb();
    }
}

impl<F: Fn(u16, Duration) -> Host> Play<'_, F> {
    fn manner(&self) -> Host {
        (self.host)(self.port, self.now.since_origin())
    }

    fn after_round_trip(&mut self, event: Event) {
        self.events.push_back((self.now.after(self.scene.round_trip), event));
    }

    fn close(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.events.clear();
            self.session.handle_disconnected(self.now, "closed by the server");
        }
    }

    fn next_event(&mut self) {
        match self.events.pop_front() {
            Some((_, Event::Accepted)) => {
                self.is_open = true;
                self.session.handle_connected(self.now);
            }
            Some((_, Event::Refused)) => self.session.handle_disconnected(self.now, "refused"),
            Some((_, Event::Bytes(bytes))) => {
                self.to_client.extend(&bytes);
                self.session.handle_data(self.now, &mut self.to_client);
            }
            Some((_, Event::Closed)) => self.close(),
            None => {}
        }
    }

    /// Takes in what the session has to say.
    fn absorb(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { host, .. } => {
                    self.story.attempts.push(self.now.since_origin());
                    self.port = host.port;
                    self.is_greeted = false;
                    self.events.clear();
                    self.to_client = FrameReader::new(self.session.config().max_reply);
                    self.to_server = FrameReader::new(1 << 20);
                    match self.manner() {
                        Host::Refuses => self.after_round_trip(Event::Refused),
                        Host::Hangs => {}
                        Host::Serves | Host::AnswersOnce => self.after_round_trip(Event::Accepted),
                    }
                }
                Output::Disconnect => {
                    self.is_open = false;
                    self.events.clear();
                }
                Output::State(SessionState::Connected) => {
                    self.story.connected.push(self.now.since_origin());
                    self.ask();
                }
                Output::State(SessionState::Lost) => self.story.expired += 1,
                Output::Completed { result: Ok(_), .. } => self.ask(),
                _ => {}
            }
        }
        let mut bytes = BytesMut::new();
        if self.is_open && self.session.poll_transmit(self.now, &mut bytes) {
            self.to_server.extend(&bytes);
            while let Ok(Some(Frame::Whole(packet))) = self.to_server.next_frame() {
                self.serve(&packet);
            }
        }
    }

    fn ask(&mut self) {
        if self.scene.is_busy {
            let exists = Request::Exists(ExistsRequest { path: "/", watch: false.into() });
            drop(self.session.submit(self.now, &Chroot::ROOT, &exists, ()));
        }
    }

    fn serve(&mut self, packet: &Bytes) {
        let closes = self.is_greeted && self.manner() == Host::AnswersOnce;
        let mut answer = BytesMut::new();
        if self.is_greeted {
            let Ok(header) = RequestHeader::decode(&mut Reader::new(packet)) else { return };
            let err = if header.xid == xid::PING { ErrorCode::Ok } else { ErrorCode::NoNode };
            let reply = ReplyHeader { xid: header.xid, zxid: 1, err };
            write_frame(&mut answer, |out| reply.encode(out));
        } else {
            let Ok(hello) = ConnectRequest::decode_all(packet) else { return };
            self.is_greeted = true;
            let lives = self.heard.is_some_and(|heard| self.now < heard.after(self.scene.timeout));
            let timeout = match hello.session_id {
                0 => self.scene.timeout,
                _ if lives => self.scene.timeout,
                _ => Duration::ZERO,
            };
            let welcome = ConnectResponse {
                protocol_version: 0,
                timeout: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
                session_id: if timeout.is_zero() { 0 } else { 1 },
                password: Secret::new(Some(Bytes::from_static(&[1; 16]))),
                read_only: Some(false.into()),
            };
            write_frame(&mut answer, |out| welcome.encode(out));
        }
        self.heard = Some(self.now);
        self.after_round_trip(Event::Bytes(answer.to_vec()));
        if closes {
            self.after_round_trip(Event::Closed);
        }
    }
}

// ---- figures --------------------------------------------------------------------------------------

/// How many of `clients` lose their session, of which the only live host refuses connections for the first
/// half of the session timeout, and is back then. The others do as `others`.
#[must_use]
pub fn sessions_lost(scene: &Scene, clients: u64, others: Host) -> usize {
    let lost = |seed: &u64| {
        // Anywhere between two pings.
        let cut = 10 * scene.timeout + scene.timeout.mul_f64(*seed as f64 / (3 * clients) as f64);
        let back = cut + scene.timeout / 2;
        let end = cut + 3 * scene.timeout;
        let story = play(scene, *seed, Some(cut), end, |port, now| match port {
            1 if now < cut || now >= back => Host::Serves,
            1 => Host::Refuses,
            _ => others,
        });
        story.expired > 0
    };
    (0..clients).filter(lost).count()
}

/// How many attempts a client makes in `time` at most, with hosts that all do as `host`.
#[must_use]
pub fn most_attempts(scene: &Scene, time: Duration, host: Host) -> usize {
    let attempts = |seed| play(scene, seed, None, time, |_, _| host).attempts_in(time);
    (0..100).map(attempts).max().unwrap_or_default()
}

/// The largest share of `clients` that connects in any one second after the server of all of them has died.
#[must_use]
pub fn worst_second(scene: &Scene, clients: u64) -> f64 {
    let returns = |seed: u64| {
        let cut = 10 * scene.timeout
            + scene
                .timeout
                .min(Duration::from_secs(30))
                .mul_f64(seed as f64 / (3 * clients) as f64);
        let story = play(scene, seed, Some(cut), cut + scene.timeout, |port, now| {
            if (port == 1) == (now < cut) { Host::Serves } else { Host::Refuses }
        });
        let came = story.attempts.iter().filter_map(|at| at.checked_sub(cut));
        came.collect::<Vec<_>>()
    };
    let mut attempts: Vec<_> = (0..clients).flat_map(returns).collect();
    attempts.sort_unstable();
    let within_a_second = |(number, from): (usize, &Duration)| {
        let until = *from + Duration::from_secs(1);
        attempts.partition_point(|at| *at < until) - number
    };
    let worst = attempts.iter().enumerate().map(within_a_second).max().unwrap_or_default();
    worst as f64 / clients as f64
}

/// How long a client takes to connect to the first host that it tries, if it does in `time`.
#[must_use]
pub fn connects_in(scene: &Scene, time: Duration) -> Option<Duration> {
    play(scene, 0, None, time, |_, _| Host::Serves).connected.first().copied()
}
