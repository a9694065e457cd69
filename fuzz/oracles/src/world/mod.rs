//! A session, the server at the other end and a clock, without sockets.
//!
//! [`World`] drives a session with operations ([`ops`]) and compares its outputs with a small model:
//! - [`ledger`]: requests complete once, in order, with the right outcome; state changes are legal; watches are armed,
//!   fire and end for a reason;
//! - [`route`]: the next host, and when it is tried;
//! - [`server`]: an honest server, which knows only the bytes that arrive;
//! - [`predict`]: while the server is honest, every output and their order is predicted.
//!
//! After the server was dishonest ([`ops::Hostile`]), only what holds for any server is checked, until the next
//! connection.

mod connection;
mod event;
mod invariants;
mod ledger;
mod ops;
mod outputs;
mod predict;
mod route;
mod server;
mod time;
mod user;
mod watch_kind;
mod wire;

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use arbitrary::Unstructured;
use zk_proto::{
    HostPort, Time,
    frame::FrameReader,
    session::{Backoff, Config, Credential, Session},
};

pub use event::watch_event;
pub(crate) use ops::{UserRequest, path_of};

use connection::Phase;
use ledger::Ledger;
use ops::{Op, Setup};
use predict::Expected;
use route::Route;
use server::{Sent, Server};
use user::Registered;
use wire::Received;

/// The maximum number of operations of a run.
const MAX_OPS: usize = 256;

/// More outputs than any input can cause.
const MAX_OUTPUTS: usize = 100_000;

/// How long a watch must be unwanted before the session removes it.
const UNWATCH_AFTER: Duration = Duration::from_millis(700);

/// The maximum number of open requests.
const MAX_IN_FLIGHT: usize = 40;

/// Runs the session against an honest server, which may close connections, lose its quorum and expire sessions. Every
/// output is predicted.
///
/// The input is the configuration and a list of operations, as in [`session`]. It is run twice, with the server's bytes
/// in one piece and one by one. Both runs must have the same outputs.
///
/// # Panics
/// Panics if the session violates the model.
pub fn session_model(input: &[u8]) {
    run(input, true);
}

/// Runs the session against a server that may send anything, as in [`session_model`]. Only what holds for any server is
/// checked.
///
/// # Panics
/// Panics if the session violates the model.
pub fn session(input: &[u8]) {
    run(input, false);
}

fn run(input: &[u8], honest: bool) {
    let mut input = Unstructured::new(input);
    let Ok(setup) = input.arbitrary::<Setup>() else { return };
    let mut ops = Vec::new();
    while ops.len() < MAX_OPS && !input.is_empty() {
        ops.extend(input.arbitrary::<Op>());
    }
    let whole = play(&setup, &ops, honest, usize::MAX);
    let bytewise = play(&setup, &ops, honest, 1);
    assert_eq!(whole, bytewise, "single bytes give a different result");
}

/// One run. Returns a hash of all outputs and their times.
fn play(setup: &Setup, ops: &[Op], honest: bool, chunk: usize) -> u64 {
    let mut world = World::new(setup, chunk);
    world.start();
    for op in ops {
        world.perform(op, honest);
    }
    world.recover();
    world.finish();
    world.trace.finish()
}

struct World {
    /// The token of each request is its id.
    session: Session<u64>,
    now: Time,
    /// The maximum number of bytes per read.
    chunk: usize,
    reader: FrameReader,
    phase: Phase,
    ledger: Ledger,
    route: Route,
    /// The session timeout: granted, or to be requested.
    timeout: Duration,
    /// The session that must be resumed, or reported as lost.
    resumable: Option<i64>,
    /// All credentials, without duplicates.
    credentials: Vec<Registered>,
    server: Server,
    received: Received,
    last_xid: i32,
    last_id: u64,
    /// What the server has sent and the session has not received.
    outbox: VecDeque<Sent>,
    /// What the session receives now.
    in_transit: VecDeque<Sent>,
    predicted: VecDeque<Expected>,
    /// The server was dishonest on this connection, and on any connection.
    tainted: bool,
    ever_tainted: bool,
    probed: Option<Arc<HostPort>>,
    last_zxid: i64,
    trace: DefaultHasher,
    /// Whether to write a log to stderr: `ZK_FUZZ_LOG` is set.
    log: bool,
}

impl World {
    fn new(setup: &Setup, chunk: usize) -> Self {
        let ports: Vec<u16> = (1..=u16::from(setup.hosts % 3) + 1).collect();
        let mut config = Config::new(ports.iter().map(|port| HostPort::new("h", *port)).collect());
        config.randomize_hosts = false;
        config.session_timeout = Duration::from_millis(u64::from(setup.timeout) + 900);
        config.read_only = setup.read_only;
        config.renew_expired = !setup.for_one_session;
        config.max_in_flight = MAX_IN_FLIGHT;
        config.max_reply = if setup.small_replies { 120 } else { 4 << 20 };
        config.auth.extend(setup.credential.then(|| Credential::digest("ann", "1")));
        config.backoff = Backoff::default();
        config.reconnect_spread = Duration::ZERO;
        config.unwatch_after = Some(UNWATCH_AFTER);
        Self {
            now: Time::ZERO,
            chunk,
            reader: FrameReader::new(config.max_reply),
            phase: Phase::Idle,
            ledger: Ledger::new(),
            route: Route::new(ports, config.backoff),
            timeout: config.session_timeout,
            resumable: None,
            credentials: config.auth.iter().cloned().map(Registered::new).collect(),
            server: Server::new(Duration::from_millis(u64::from(setup.grant) + 300)),
            received: Received::default(),
            last_xid: 0,
            last_id: 0,
            outbox: VecDeque::new(),
            in_transit: VecDeque::new(),
            predicted: VecDeque::new(),
            tainted: false,
            ever_tainted: false,
            probed: None,
            last_zxid: 0,
            trace: DefaultHasher::new(),
            log: std::env::var_os("ZK_FUZZ_LOG").is_some(),
            session: Session::new(config, setup.seed.into()),
        }
    }
}
