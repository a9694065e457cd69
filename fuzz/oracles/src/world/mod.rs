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

mod event;
mod predict;
mod ledger;
mod ops;
mod route;
mod server;
mod wire;

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use arbitrary::Unstructured;
use bytes::BytesMut;
use zk_proto::{
    Chroot, HostPort, Request, Time, WatcherType,
    frame::FrameReader,
    session::{
        Backoff, Config, ConnectionState, Credential, Outcome, Output, RequestId, Session,
        SessionState,
    },
};

pub use event::watch_event;
pub(crate) use ops::{Ask, path_of};

use predict::Seen;
use ledger::{Arms, Call, Ledger};
use ops::{Op, Setup};
use route::Route;
use server::{Sent, Server};
use wire::Arrived;

/// An input of more operations tells nothing new.
const MAX_OPS: usize = 256;

/// Far more than one input brings about.
const MAX_OUTPUTS: usize = 100_000;

/// For how long a watch must have been unwanted before it is removed.
const GRACE: Duration = Duration::from_millis(700);

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
    world.heal();
    world.finish();
    world.trace.finish()
}

/// The connection, as far as it can be seen from outside.
#[derive(Debug)]
enum Link {
    Idle,
    /// None; what comes next is not known yet.
    Down,
    Waiting {
        until: Time,
    },
    /// Asked for, and from `opened` on there.
    Connecting {
        deadline: Time,
        opened: Option<Time>,
    },
    Up(Up),
    Ended,
}

/// A connection with a session on it.
#[derive(Debug)]
struct Up {
    read_only: bool,
    /// When the last answer came, or on a tainted connection, the last bytes: it may be that they were one.
    heard: Time,
    /// When something was handed out last.
    sent: Time,
    /// When what was acknowledged last was handed out, and submitted.
    acked: Time,
    acked_submitted: Time,
    auths_acked: usize,
    /// Packets of watches that are not acknowledged.
    rearming: usize,
    closing: Option<Time>,
    /// Pings that must be among the next bytes.
    pings: usize,
}

/// A credential of the session.
#[derive(Debug)]
struct Registered {
    credential: Credential,
    /// The requests that wait for it to be taken.
    waiters: Vec<u64>,
    /// Whether it has ever arrived.
    sent: bool,
}

impl Registered {
    const fn new(credential: Credential) -> Self {
        Self { credential, waiters: Vec::new(), sent: false }
    }
}

struct World {
    /// The token of each request is its id.
    session: Session<u64>,
    now: Time,
    /// How the server's bytes are cut.
    chunk: usize,
    reader: FrameReader,
    link: Link,
    ledger: Ledger,
    route: Route,
    /// The session timeout: granted, or to be asked for.
    timeout: Duration,
    /// The session that must not be swapped for another without a word.
    resumable: Option<i64>,
    /// Each once.
    credentials: Vec<Registered>,
    server: Server,
    arrived: Arrived,
    last_xid: i32,
    last_id: u64,
    /// What the server has said and the client has not heard.
    outbox: VecDeque<Sent>,
    /// What the client hears now.
    in_transit: VecDeque<Sent>,
    foretold: VecDeque<Seen>,
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
        config.unwatch_after = Some(GRACE);
        Self {
            now: Time::ZERO,
            chunk,
            reader: FrameReader::new(config.max_reply),
            link: Link::Idle,
            ledger: Ledger::new(),
            route: Route::new(ports, config.backoff),
            timeout: config.session_timeout,
            resumable: None,
            credentials: config.auth.iter().cloned().map(Registered::new).collect(),
            server: Server::new(Duration::from_millis(u64::from(setup.grant) + 300)),
            arrived: Arrived::default(),
            last_xid: 0,
            last_id: 0,
            outbox: VecDeque::new(),
            in_transit: VecDeque::new(),
            foretold: VecDeque::new(),
            tainted: false,
            ever_tainted: false,
            probed: None,
            last_zxid: 0,
            trace: DefaultHasher::new(),
            log: std::env::var_os("ZK_FUZZ_LOG").is_some(),
            session: Session::new(config, setup.seed.into()),
        }
    }

    /// Puts what came out into the trace.
    fn note(&mut self, output: &Output<u64>) {
        self.tell(format_args!("{output:?}"));
        self.trace.write_u128(self.now.since_origin().as_nanos());
        // A hasher takes any text.
        let _ = write!(Hashed(&mut self.trace), "{output:?}");
        if let Output::Completed { result: Ok(reply), .. } = output {
            // Which shows no data.
            let mut body = BytesMut::new();
            reply.response.encode_body(&mut body);
            self.trace.write(&body);
        }
    }

    /// Tells what happens, if that was asked for.
    fn tell(&self, what: fmt::Arguments<'_>) {
        if self.log {
            #[expect(clippy::print_stderr, reason = "it was asked for")]
            {
                eprintln!("{:?} {what}", self.now.since_origin());
            }
        }
    }

    // ---- the user ---------------------------------------------------------------------------------

    fn start(&mut self) {
        self.foretell_attempt();
        self.link = Link::Down;
        self.session.start(self.now);
        self.absorb();
    }

    /// Why nothing more is taken.
    const fn is_over(&self) -> bool {
        match &self.link {
            Link::Up(up) => up.closing.is_some(),
            Link::Ended => true,
            _ => false,
        }
    }

    fn submit(&mut self, chroot: &Chroot, request: &Request<'_>, arms: Option<Arms>) {
        self.foretell_silence();
        let submitted = self.session.submit(self.now, chroot, request, self.last_id + 1);
        self.absorb_outputs();
        let room = self.ledger.waiting() < MAX_IN_FLIGHT;
        match submitted {
            Ok(RequestId(id)) => {
                assert!(!self.is_over() && room, "{request:?} is taken");
                assert_eq!(id, self.last_id + 1);
                self.last_id = id;
                let mut body = BytesMut::new();
                request.encode_body_in_chroot(chroot, &mut String::new(), &mut body);
                self.ledger.calls.push_back(Call {
                    own: false,
                    id,
                    op: request.op(),
                    path: request.path().map(Into::into),
                    chroot: chroot.clone(),
                    body: body.freeze(),
                    arms,
                    wanted: true,
                    removes: match request {
                        Request::RemoveWatches(remove) => Some(remove.watcher_type),
                        _ => None,
                    },
                    submitted: self.now,
                    xid: None,
                });
            }
            Err(failure) => {
                assert!(self.is_over() || !room, "{failure}");
                assert_eq!(failure.outcome, Outcome::NotSent);
                assert_eq!(failure.path.as_deref(), request.path());
            }
        }
        self.absorb();
    }

    fn unwatch(&mut self, id: u64) {
        self.ledger.unwatch(self.now, id);
        self.session.unwatch(self.now, RequestId(id));
        self.absorb();
    }

    fn add_auth(&mut self, credential: Credential) {
        match self.session.add_auth(credential.clone(), self.last_id + 1) {
            Ok(RequestId(id)) => {
                assert!(!self.is_over(), "a credential is taken");
                assert_eq!(id, self.last_id + 1);
                self.last_id = id;
                self.foretell_credential(credential, id);
            }
            Err(failure) => {
                assert!(self.is_over(), "{failure}");
                assert_eq!(failure.outcome, Outcome::NotSent);
            }
        }
        self.absorb();
    }

    fn close(&mut self) {
        let until = self.now.after(self.session.config().close_timeout);
        match &mut self.link {
            Link::Up(up) => {
                up.closing.get_or_insert(until);
            }
            Link::Ended => {}
            Link::Connecting { .. } => {
                self.foretell(Seen::Disconnect);
                self.foretell_end("closed");
            }
            _ => self.foretell_end("closed"),
        }
        self.session.close(self.now);
        self.absorb();
    }

    fn set_hosts(&mut self, ports: Vec<u16>) {
        let hosts = ports.iter().map(|port| HostPort::new("h", *port)).collect();
        let (listed, has_new) =
            if ports.is_empty() { (true, false) } else { self.route.replace(ports) };
        if has_new && matches!(self.link, Link::Waiting { .. }) {
            self.link = Link::Down;
            self.foretell_connect();
        }
        let stays = match &self.link {
            Link::Connecting { .. } => listed,
            Link::Up(up) => listed || up.closing.is_some(),
            _ => true,
        };
        if !stays {
            self.foretell_loss(true);
        }
        self.session.set_hosts(self.now, hosts);
        self.absorb();
    }

    // ---- the network ------------------------------------------------------------------------------

    const fn is_open(&self) -> bool {
        matches!(self.link, Link::Connecting { opened: Some(_), .. } | Link::Up(_))
    }

    /// The connection that was asked for is there.
    fn accept(&mut self) {
        if let Link::Connecting { opened: opened @ None, .. } = &mut self.link {
            *opened = Some(self.now);
            self.session.handle_connected(self.now);
            self.absorb();
        }
    }

    /// The connection, or the attempt at one, is gone.
    fn cut(&mut self) {
        if matches!(self.link, Link::Connecting { .. } | Link::Up(_)) {
            self.foretell_loss(false);
            self.hang_up();
            self.session.handle_disconnected(self.now, "cut");
            self.absorb();
        }
    }

    /// From here on the server is not honest on this connection.
    fn taint(&mut self) {
        self.tainted = true;
        self.ever_tainted = true;
        self.route.forget();
    }

    /// What was on the way is lost.
    fn hang_up(&mut self) {
        self.ledger.connection_lost();
        self.link = Link::Down;
        self.outbox.clear();
        self.in_transit.clear();
        self.arrived = Arrived::default();
        self.server.hang_up();
    }

    /// The answer to the search for a server that takes writes.
    fn probed(&mut self, writable: bool) {
        let Some(host) = self.probed.take() else { return };
        let moves = matches!(&self.link, Link::Up(up) if up.read_only && up.closing.is_none());
        if writable && moves && self.route.hosts.contains(&host.port) {
            self.server.quorum = true;
            self.route.prefer(Some(host.port));
            self.foretell_loss(true);
        }
        self.session.handle_probed(self.now, &host, writable);
        self.absorb();
    }

    // ---- time -------------------------------------------------------------------------------------

    /// Time goes by, and the session is woken whenever it asked for it.
    fn tick(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        let mut turns = 0;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wake();
            turns += 1;
            assert!(turns < 2_000, "the session spins");
        }
        self.freeze(end);
    }

    /// Time goes by unnoticed, as when the process is stopped.
    fn freeze(&mut self, until: Time) {
        self.now = until;
        if self.server.expire(self.now, false) {
            self.cut();
        }
    }

    fn wake(&mut self) {
        match &mut self.link {
            Link::Waiting { until } if *until <= self.now => {
                self.link = Link::Down;
                self.foretell_connect();
            }
            Link::Connecting { deadline, .. } if *deadline <= self.now => self.foretell_loss(true),
            Link::Up(up) if up.closing.is_some_and(|until| until <= self.now) => {
                self.foretell_loss(true);
            }
            Link::Up(_) => self.wake_up(),
            _ => {}
        }
        self.session.handle_timeout(self.now);
        self.absorb();
        let due = self.session.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "due again at once");
    }

    fn wake_up(&mut self) {
        if self.foretell_silence() {
            return;
        }
        if let Link::Up(up) = &mut self.link
            && up.ping_due(self.timeout) <= self.now
        {
            up.pings += 1;
            up.sent = self.now;
        }
    }

    // ---- what came out ----------------------------------------------------------------------------

    /// Takes in all outputs after an input that is over.
    fn absorb(&mut self) {
        self.absorb_outputs();
        // What makes no output is over, too.
        while let Some(sent) = self.in_transit.pop_front() {
            assert!(self.foretold.is_empty(), "missing: {:?}", self.foretold);
            self.foretell_frame(sent);
        }
        assert!(self.foretold.is_empty(), "missing: {:?}", self.foretold);
        self.ledger.expect_removals(self.now, self.session.removing());
        if self.session.end_reason().is_some() {
            self.link = Link::Ended;
            self.ledger.ended = true;
        } else if let Link::Down = self.link {
            let until = self.session.poll_timeout().expect("the session goes on");
            let delay = self.route.delay(self.now, self.timeout);
            self.route.is_open = false;
            let found = until.since(self.now);
            assert!(delay.contains(&found), "waits {found:?} of {delay:?}");
            self.link = Link::Waiting { until };
        }
        self.check();
    }

    /// Takes in the outputs that are there.
    fn absorb_outputs(&mut self) {
        let mut count = 0;
        while let Some(output) = self.session.poll_output() {
            count += 1;
            assert!(count <= MAX_OUTPUTS, "endless");
            self.note(&output);
            self.compare(&output);
            self.ledger.observe(&output);
            self.follow(&output);
        }
    }

    /// What an output means for the connection.
    fn follow(&mut self, output: &Output<u64>) {
        match output {
            Output::Connect { host, deadline } => {
                assert!(matches!(self.link, Link::Down), "two connections: {:?}", self.link);
                assert!(self.route.hosts.contains(&host.port), "{host} is not listed");
                if self.tainted {
                    self.timeout = self.session.session_timeout();
                    self.resumable = self.session.ticket().map(|ticket| ticket.id.0);
                }
                if !self.route.is_known() {
                    self.route.took(host.port);
                }
                let timeout = self.timeout.min(self.session.config().session_timeout);
                let patience = self.route.patience(self.now, timeout);
                let found = deadline.since(self.now);
                assert!(patience.contains(&found), "{found:?} for {host}, not {patience:?}");
                self.route.begins(self.now, found);
                self.tainted = false;
                self.reader = FrameReader::new(self.session.config().max_reply);
                self.link = Link::Connecting { deadline: *deadline, opened: None };
            }
            Output::Disconnect => {
                let connected = matches!(self.link, Link::Connecting { .. } | Link::Up(_));
                assert!(connected, "nothing to disconnect");
                if let Link::Up(up) = &self.link
                    && let Some(expiry) = self.expiry(up)
                {
                    self.route.set_expiry(Some(expiry));
                }
                self.hang_up();
            }
            Output::Probe { host, .. } => {
                assert!(self.route.hosts.contains(&host.port), "{host} is not listed");
                assert_ne!(Some(host.port), self.route.current, "it is known");
                assert!(matches!(&self.link, Link::Up(up) if up.read_only));
                self.probed = Some(host.clone());
            }
            Output::Gap { since, .. } => {
                // One that cannot read an event has a gap on a connection that goes on.
                let latest =
                    if self.tainted { self.session.last_zxid() } else { self.ledger.since };
                let range = self.ledger.since..=latest;
                assert!(range.contains(since), "the gap begins elsewhere: {since}, not {range:?}");
            }
            Output::State(SessionState::Lost) => {
                self.resumable = None;
                self.route.set_expiry(None);
            }
            Output::State(state) if state.is_connected() => self.comes_up(*state),
            _ => {}
        }
    }

    fn comes_up(&mut self, state: SessionState) {
        let Link::Connecting { opened: Some(opened), .. } = self.link else {
            panic!("{state} without a connection")
        };
        if self.tainted {
            self.timeout = self.session.session_timeout();
        }
        assert_eq!(self.session.session_timeout(), self.timeout, "not what was granted");
        let id = self.session.session_id().map(|id| id.0);
        if self.resumable.is_some() {
            assert_eq!(id, self.resumable, "another session without a word");
        }
        let read_only = state == SessionState::ConnectedReadOnly;
        if !read_only {
            self.resumable = id;
        }
        self.arrived.begin(&self.ledger.watches, self.credentials.len());
        self.link = Link::Up(Up {
            read_only,
            heard: self.now,
            sent: self.now,
            acked: opened,
            acked_submitted: opened,
            auths_acked: 0,
            rearming: usize::from(!self.ledger.watches.is_empty()),
            closing: None,
            pings: 0,
        });
    }

    /// What holds at any time.
    fn check(&mut self) {
        let session = &self.session;
        assert_eq!(session.state(), self.ledger.state);
        assert_eq!(session.armed(), self.ledger.watches.len(), "watches");
        let closing = matches!(&self.link, Link::Up(up) if up.closing.is_some());
        assert_eq!(session.in_flight(), self.ledger.waiting() + usize::from(closing));
        assert!(self.ever_tainted || session.last_zxid() >= self.last_zxid, "zxid falls");
        self.last_zxid = session.last_zxid();
        assert!(self.ever_tainted || self.last_zxid <= self.server.zxid());
        let client = session.connection_state();
        let up = matches!(client, ConnectionState::Connected | ConnectionState::ConnectedReadOnly);
        assert_eq!(up, self.ledger.state.is_connected(), "{client:?}");
        let due = session.poll_timeout();
        match &self.link {
            Link::Idle | Link::Down | Link::Ended => assert_eq!(due, None),
            Link::Waiting { until } => assert_eq!(due, Some(*until)),
            Link::Connecting { deadline, .. } => assert_eq!(due, Some(*deadline)),
            Link::Up(up) => self.check_up(up),
        }
        if self.is_quiet() {
            for watch in &self.ledger.watches {
                assert!(self.server.has_watch(watch.kind, &watch.path), "lost: {watch:?}");
            }
        }
    }

    fn check_up(&self, up: &Up) {
        let own = [self.dead_at(up), up.ping_due(self.timeout)];
        let due = own.into_iter().chain(up.closing).min();
        let found = self.session.poll_timeout();
        // A better server is to be looked for, or an unwanted watch to be removed.
        let earlier = up.read_only || !self.ledger.forgotten.is_empty() || self.tainted;
        assert!(if earlier { found <= due } else { found == due }, "{found:?}, not {due:?}");
        let held = self.session.held_until();
        assert_eq!(held.is_none(), up.read_only);
        if let Some(held) = held {
            let lease = self.timeout - self.timeout / 4;
            let at_most = if self.tainted { up.acked.max(up.sent) } else { up.acked };
            assert!(held <= at_most.after(lease), "held for longer than was acknowledged");
            assert!(held >= up.acked_submitted.after(lease), "acknowledged, and not held");
        }
    }

    /// The earliest and the latest time at which the session can expire if this connection is lost now; `None` on a
    /// read-only server, which does not keep the session alive.
    fn expiry(&self, up: &Up) -> Option<(Time, Time)> {
        // An answer of a dishonest server may acknowledge anything that was sent.
        let acked = if self.tainted { up.acked.max(up.sent) } else { up.acked };
        let range = [up.acked_submitted, acked.max(up.acked_submitted)];
        let [earliest, latest] = range.map(|acked| acked.after(self.timeout));
        (!up.read_only).then_some((earliest, latest))
    }

    fn dead_at(&self, up: &Up) -> Time {
        let asked = self.session.config().session_timeout;
        let timeout = self.timeout.min(asked.max(Duration::from_secs(60)));
        up.heard.after(timeout - timeout / 3)
    }

    /// Whether nothing is on the way, so that both ends must agree.
    fn is_quiet(&self) -> bool {
        let Link::Up(up) = &self.link else { return false };
        !self.ever_tainted
            && up.rearming == 0
            && self.ledger.calls.is_empty()
            && !self.session.wants_transmit()
            && self.arrived.is_done()
            && self.outbox.is_empty()
            && self.in_transit.is_empty()
    }

    // ---- the end ----------------------------------------------------------------------------------

    /// With a server that is well again, and soon, all that waits is done.
    fn heal(&mut self) {
        if !std::mem::replace(&mut self.server.quorum, true) {
            self.cut();
        }
        for _ in 0..64 {
            self.settle();
            let done = self.ledger.calls.is_empty() && self.ledger.auths.is_empty();
            if self.is_over() {
                return;
            }
            if done && self.ledger.state == SessionState::Connected {
                return self.check_unwanted();
            }
            let due = self.session.poll_timeout().expect("the session goes on");
            self.tick(due.since(self.now).as_millis() as u64 + 1);
        }
        assert!(self.ever_tainted, "the session does not come back");
    }

    /// In time, no watch is left on the server that nobody wants.
    fn check_unwanted(&mut self) {
        let lost = self.ledger.removals_lost.unwrap_or_default();
        if self.ever_tainted || lost > 4 {
            return;
        }
        // Twice the time, as what was forgotten while its path stood in the queue waits once more.
        for _ in 0..=(2 * (GRACE.as_millis() << lost) / 50) {
            self.tick(50);
            self.settle();
            if self.is_over() || self.ledger.state != SessionState::Connected {
                return;
            }
        }
        for (kind, path) in self.server.watches() {
            let wants = |watch: &ledger::Watch| {
                watch.path == path
                    && (kind == WatcherType::Any || ledger::group(watch.kind) == kind)
            };
            assert!(self.ledger.watches.iter().any(wants), "left on the server: {kind:?} {path}");
        }
    }

    /// Whatever has happened, a close brings it to an end.
    fn finish(&mut self) {
        self.close();
        self.tick(3_000);
        let Ledger { calls, auths, watches, state, .. } = &self.ledger;
        assert_eq!((calls.len(), auths.len(), watches.len()), (0, 0, 0), "not ended");
        assert_eq!(*state, SessionState::Lost);
        assert!(self.session.end_reason().is_some() && !self.session.wants_transmit());
        self.submit(&Chroot::ROOT, &Request::Ping, None);
    }
}

/// Text goes into a hash.
struct Hashed<'h>(&'h mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Up {
    fn ping_due(&self, timeout: Duration) -> Time {
        self.sent.after((timeout / 3).min(Duration::from_secs(10)))
    }
}
