//! How clients reconnect: sessions of `zk-proto`, one at a time and without a client around them, against hosts
//! that behave as they are told. It yields figures over thousands of clients, which
//! `cargo run --release -p zk-tests --example reconnect-stats` prints. `tests/reconnects.rs` checks their bounds.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Chroot, ErrorCode, HostPort, Request, Time,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{ConnectRequest, ConnectResponse, ExistsRequest, ReplyHeader, RequestHeader, xid},
    session::{Backoff, Config, Output, Session, SessionState},
};

/// How a host treats a client that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostBehavior {
    /// It refuses the connection.
    Refuses,
    /// It never replies.
    Hangs,
    /// It serves requests.
    Serves,
    /// It creates a session, replies to one request and closes the connection.
    RepliesOnce,
}

/// What a client is configured with, and what its network is like.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How many hosts there are; their ports count from 1.
    pub hosts: u16,
    /// The session timeout that the client asks for and is granted.
    pub timeout: Duration,
    /// How long a message to a host and its reply take.
    pub round_trip: Duration,
    /// The backoff between attempts to connect.
    pub backoff: Backoff,
    /// Whether the client always has a request in flight while it is connected.
    pub is_busy: bool,
}

impl Default for Scenario {
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
pub struct Timeline {
    /// When it began to connect.
    pub attempts: Vec<Duration>,
    /// When it was connected.
    pub connected: Vec<Duration>,
    /// How many of its sessions expired.
    pub expired: usize,
}

impl Timeline {
    /// How long after `from` it was connected for the first time.
    #[must_use]
    pub fn reconnected_after(&self, from: Duration) -> Option<Duration> {
        let after = |at: &Duration| at.checked_sub(from).filter(|after| !after.is_zero());
        self.connected.iter().find_map(after)
    }

    /// How many attempts to connect it made in the first `time`.
    #[must_use]
    pub fn attempts_in(&self, time: Duration) -> usize {
        self.attempts.iter().filter(|at| **at < time).count()
    }
}

/// What is in transit to the client.
enum Event {
    Accepted,
    Refused,
    Bytes(Vec<u8>),
    Closed,
}

struct Simulation<'s, F> {
    scenario: &'s Scenario,
    host: F,
    session: Session<()>,
    now: Time,
    /// What arrives on the present connection, and when.
    events: VecDeque<(Time, Event)>,
    to_client: FrameReader,
    to_server: FrameReader,
    port: u16,
    is_open: bool,
    has_handshake: bool,
    /// When the servers have last heard from the session.
    last_heard: Option<Time>,
    timeline: Timeline,
}

/// Simulates one client until `end`. `host` returns how the host with a port behaves at a time. If the client is
/// connected at `cut`, its connection is closed then.
pub fn simulate(
    scenario: &Scenario,
    seed: u64,
    cut: Option<Duration>,
    end: Duration,
    host: impl Fn(u16, Duration) -> HostBehavior,
) -> Timeline {
    let hosts = (1..=scenario.hosts).map(|port| HostPort::new("h", port)).collect();
    let mut config = Config::new(hosts);
    config.session_timeout = scenario.timeout;
    config.backoff = scenario.backoff;
    let mut simulation = Simulation {
        scenario,
        host,
        to_client: FrameReader::new(config.max_reply),
        session: Session::new(config, seed),
        now: Time::ZERO,
        events: VecDeque::new(),
        to_server: FrameReader::new(1 << 20),
        port: 0,
        is_open: false,
        has_handshake: false,
        last_heard: None,
        timeline: Timeline::default(),
    };
    simulation.session.start(simulation.now);
    simulation.handle_outputs();
    let mut cut = cut.map(Time::from_origin);
    let end = Time::from_origin(end);
    loop {
        let event = simulation.events.front().map(|(at, _)| *at);
        let due = simulation.session.poll_timeout();
        let Some(next) = [event, due, cut].into_iter().flatten().min().filter(|next| *next < end)
        else {
            return simulation.timeline;
        };
        simulation.now = simulation.now.max(next);
        if cut.is_some_and(|at| at <= simulation.now) {
            cut = None;
            simulation.close();
        } else if event.is_some_and(|at| at <= simulation.now) {
            simulation.next_event();
        } else {
            simulation.session.handle_timeout(simulation.now);
        }
        simulation.handle_outputs();
    }
}

impl<F: Fn(u16, Duration) -> HostBehavior> Simulation<'_, F> {
    fn behavior(&self) -> HostBehavior {
        (self.host)(self.port, self.now.since_origin())
    }

    fn after_round_trip(&mut self, event: Event) {
        self.events.push_back((self.now.after(self.scenario.round_trip), event));
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

    /// Handles the outputs of the session.
    fn handle_outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { host, .. } => {
                    self.timeline.attempts.push(self.now.since_origin());
                    self.port = host.port;
                    self.has_handshake = false;
                    self.events.clear();
                    self.to_client = FrameReader::new(self.session.config().max_reply);
                    self.to_server = FrameReader::new(1 << 20);
                    match self.behavior() {
                        HostBehavior::Refuses => self.after_round_trip(Event::Refused),
                        HostBehavior::Hangs => {}
                        HostBehavior::Serves | HostBehavior::RepliesOnce => {
                            self.after_round_trip(Event::Accepted)
                        }
                    }
                }
                Output::Disconnect => {
                    self.is_open = false;
                    self.events.clear();
                }
                Output::State(SessionState::Connected) => {
                    self.timeline.connected.push(self.now.since_origin());
                    self.make_request();
                }
                Output::State(SessionState::Lost) => self.timeline.expired += 1,
                Output::Completed { result: Ok(_), .. } => self.make_request(),
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

    fn make_request(&mut self) {
        if self.scenario.is_busy {
            let exists = Request::Exists(ExistsRequest { path: "/", watch: false.into() });
            drop(self.session.submit(self.now, &Chroot::ROOT, &exists, ()));
        }
    }

    fn serve(&mut self, packet: &Bytes) {
        let closes = self.has_handshake && self.behavior() == HostBehavior::RepliesOnce;
        let mut out = BytesMut::new();
        if self.has_handshake {
            let Ok(header) = RequestHeader::decode(&mut Reader::new(packet)) else { return };
            let err = if header.xid == xid::PING { ErrorCode::Ok } else { ErrorCode::NoNode };
            let reply = ReplyHeader { xid: header.xid, zxid: 1, err };
            write_frame(&mut out, |out| reply.encode(out));
        } else {
            let Ok(request) = ConnectRequest::decode_all(packet) else { return };
            self.has_handshake = true;
            let is_alive =
                self.last_heard.is_some_and(|heard| self.now < heard.after(self.scenario.timeout));
            let timeout = match request.session_id {
                0 => self.scenario.timeout,
                _ if is_alive => self.scenario.timeout,
                _ => Duration::ZERO,
            };
            let response = ConnectResponse {
                protocol_version: 0,
                timeout: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
                session_id: if timeout.is_zero() { 0 } else { 1 },
                password: Secret::new(Some(Bytes::from_static(&[1; 16]))),
                read_only: Some(false.into()),
            };
            write_frame(&mut out, |out| response.encode(out));
        }
        self.last_heard = Some(self.now);
        self.after_round_trip(Event::Bytes(out.to_vec()));
        if closes {
            self.after_round_trip(Event::Closed);
        }
    }
}

// ---- figures --------------------------------------------------------------------------------------

/// How many of `clients` lose their session if the only host that serves refuses connections for half of the
/// session timeout. The other hosts behave as `others`.
#[must_use]
pub fn sessions_lost(scenario: &Scenario, clients: u64, others: HostBehavior) -> usize {
    let lost = |seed: &u64| {
        // At any time between two pings.
        let cut =
            10 * scenario.timeout + scenario.timeout.mul_f64(*seed as f64 / (3 * clients) as f64);
        let back_at = cut + scenario.timeout / 2;
        let end = cut + 3 * scenario.timeout;
        let timeline = simulate(scenario, *seed, Some(cut), end, |port, now| match port {
            1 if now < cut || now >= back_at => HostBehavior::Serves,
            1 => HostBehavior::Refuses,
            _ => others,
        });
        timeline.expired > 0
    };
    (0..clients).filter(lost).count()
}

/// The most attempts to connect that a client makes in `time` if all hosts behave as `host`.
#[must_use]
pub fn most_attempts(scenario: &Scenario, time: Duration, host: HostBehavior) -> usize {
    let attempts = |seed| simulate(scenario, seed, None, time, |_, _| host).attempts_in(time);
    (0..100).map(attempts).max().unwrap_or_default()
}

/// The largest share of `clients` that begins to connect within one second after their common server has died.
#[must_use]
pub fn worst_second(scenario: &Scenario, clients: u64) -> f64 {
    let attempts_of = |seed: u64| {
        let cut = 10 * scenario.timeout
            + scenario
                .timeout
                .min(Duration::from_secs(30))
                .mul_f64(seed as f64 / (3 * clients) as f64);
        let timeline = simulate(scenario, seed, Some(cut), cut + scenario.timeout, |port, now| {
            if (port == 1) == (now < cut) { HostBehavior::Serves } else { HostBehavior::Refuses }
        });
        let attempts = timeline.attempts.iter().filter_map(|at| at.checked_sub(cut));
        attempts.collect::<Vec<_>>()
    };
    let mut attempts: Vec<_> = (0..clients).flat_map(attempts_of).collect();
    attempts.sort_unstable();
    let within_a_second = |(number, from): (usize, &Duration)| {
        let until = *from + Duration::from_secs(1);
        attempts.partition_point(|at| *at < until) - number
    };
    let worst = attempts.iter().enumerate().map(within_a_second).max().unwrap_or_default();
    worst as f64 / clients as f64
}

/// How long a client takes to connect to the first host that it tries, if it does within `time`.
#[must_use]
pub fn connects_in(scenario: &Scenario, time: Duration) -> Option<Duration> {
    simulate(scenario, 0, None, time, |_, _| HostBehavior::Serves).connected.first().copied()
}
