//! A session, the other end of its wire and a clock, with no socket anywhere.
//!
//! [`World`] drives a session by operations ([`ops`]) and holds what comes out of it against a small
//! model:
//! - [`ledger`]: requests end once, in order, and say truly whether they were sent; states change along
//!   legal edges; watches are armed, fire and go, each for a reason;
//! - [`route`]: which host comes next, and when;
//! - [`server`]: an honest server, which learns nothing but by the bytes that arrive;
//! - [`predict`]: while the server is honest, every output is known before it comes, and in which order.
//!
//! Once the server was not honest ([`ops::Hostile`]), what holds for any server is still checked, and the
//! rest again from the next connection on.

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

/// An input of more operations tells nothing new.
const MAX_OPS: usize = 256;

/// Far more than one input brings about.
const MAX_OUTPUTS: usize = 100_000;

/// For how long a watch must have been unwanted before it is removed.
const UNWATCH_AFTER: Duration = Duration::from_millis(700);

/// How many requests may wait.
const MAX_IN_FLIGHT: usize = 40;

/// The session against an honest server, which may hang up, lose its quorum, and expire sessions: every
/// output is known before it comes.
///
/// The input is read as what the session is made with and a list of operations, as that of [`session`]
/// is. It is run twice, the server's bytes as they come and one by one: both must give the same.
///
/// # Panics
/// When something does not hold.
pub fn session_model(input: &[u8]) {
    run(input, true);
}

/// The session against a server that may say anything: what holds for any server is checked, as in
/// [`session_model`].
///
/// # Panics
/// When something does not hold.
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
    assert_eq!(whole, bytewise, "bytes one by one give something else");
}

/// One run. Gives a hash of all that came out, and when.
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
    /// How the server's bytes are cut.
    chunk: usize,
    reader: FrameReader,
    phase: Phase,
    ledger: Ledger,
    route: Route,
    /// The session timeout: granted, or to be asked for.
    timeout: Duration,
    /// The session that must not be swapped for another without a word.
    resumable: Option<i64>,
    /// Each once.
    credentials: Vec<Registered>,
    server: Server,
    received: Received,
    last_xid: i32,
    last_id: u64,
    /// What the server has said and the client has not heard.
    outbox: VecDeque<Sent>,
    /// What the client hears now.
    in_transit: VecDeque<Sent>,
    predicted: VecDeque<Expected>,
    /// Something dishonest was heard on this connection, and on any.
    tainted: bool,
    ever_tainted: bool,
    probed: Option<Arc<HostPort>>,
    last_zxid: i64,
    trace: DefaultHasher,
    /// Whether to write what happens to stderr, for who looks into a failure: `ZK_FUZZ_LOG`.
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
