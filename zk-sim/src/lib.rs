//! Whole clusters in one thread: real clients of `zk-client` and the server of `zk-server`, under virtual
//! time, on a network in memory, with faults. One seed decides everything that could come out in more than
//! one way, so that a run can be replayed step by step.
//!
//! `docs/simulation.md` says what is simulated and what is not, and how to write a world for a new recipe.
//!
//! | module | what it is for |
//! |---|---|
//! | `executor` | tasks, timers, processes, the order of things |
//! | `network`, `faults` | connections, and what goes wrong |
//! | `host`, `ensemble` | the servers: one, or three that agree |
//! | `heard` | what clients hear, and that they leave a connection without an answer |
//! | `tap`, `log` | what they are asked and answer: the rules for it, and what it changed |
//! | `handler` | a process as a [`Handler`](zk_handler::Handler) |
//! | [`stage`], [`worlds`] | what happens, and what must hold |
//! | [`coming_back`] | sessions without clients, for figures over thousands of them |

pub mod coming_back;
mod ensemble;
mod executor;
mod faults;
mod handler;
mod heard;
mod host;
mod log;
mod network;
pub mod stage;
mod tap;
mod trace;
pub mod worlds;

use std::{fmt, sync::Arc, time::Duration};

use zk_client::{Acl, OPEN_ACL_UNSAFE, Stat};
use zk_proto::{
    CreateMode, Request, Response,
    records::{CreateRequest, ExistsRequest, GetChildrenRequest, SetAclRequest},
};
use zk_server::{ConnectionId, SessionId};

use crate::{
    ensemble::{Ensemble, Entry},
    executor::Shared,
    network::Cut,
    trace::Trace,
};

pub use faults::{Faults, KINDS, Kind};
pub use handler::{SimHandler, SimStream, yield_now};
pub use log::{Change, Record};
pub use trace::Print;

/// The hosts: the members of an ensemble, or three names for one server.
pub const HOSTS: &str = "zk1:2181,zk2:2181,zk3:2181";

/// Hosts that stay down: every other one never answers, the rest refuse connections.
pub const DOWN: [&str; 4] = ["zk4:2181", "zk5:2181", "zk6:2181", "zk7:2181"];

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

impl Sim {
    /// A world in which all is well, with a server that is empty, or an ensemble of three: that is for the seed
    /// to say. `print` gets a line for every step.
    #[must_use]
    pub fn new(seed: u64, print: Option<Print>) -> Self {
        Self { shared: Shared::new(seed, Trace::new(print)) }
    }

    /// A process of its own, to run a client on.
    #[must_use]
    pub fn process(&self) -> SimHandler {
        let process = self.shared.lock().add_process();
        SimHandler::new(self.shared.clone(), process)
    }

    /// A source of random numbers for somebody in this world.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.shared.lock().random.u64(..))
    }

    /// The time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.lock().now
    }

    /// Lets `time` pass, or less if something breaks. `look` is called whenever nothing more happens
    /// before time passes.
    ///
    /// # Errors
    /// What broke.
    pub fn run_for(&self, time: Duration, mut look: impl FnMut()) -> Result<(), String> {
        let until = self.now() + time;
        self.run_until(until, || {
            look();
            false
        })?;
        Ok(())
    }

    /// As [`run_for`](Self::run_for), no longer than until `done` says so; whether it did.
    ///
    /// # Errors
    /// What broke.
    pub fn run_until(
        &self,
        until: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, String> {
        loop {
            if self.shared.is_idle() && done() {
                return Ok(true);
            }
            let more = self.shared.step(until);
            if let Some(violation) = self.shared.lock().violations.first() {
                return Err(violation.clone());
            }
            if !more {
                return Ok(done());
            }
        }
    }

    /// Runs beside other threads, at the speed of the real time, for as long as `is_over` is false: for
    /// tests of the handler itself.
    pub fn run_in_real_time(&self, is_over: impl Fn() -> bool) {
        self.shared.run_in_real_time(is_over);
    }

    /// Breaks things from now on.
    pub fn break_things(&self, faults: Faults) {
        self.shared.lock().begin_faults(faults);
    }

    /// Has a member of the ensemble learn of what was agreed on as late as after `lag`; zero has it catch up.
    pub fn set_lag(&self, member: usize, lag: Duration) {
        self.shared.lock().set_lag(member, lag);
    }

    /// Whether there is an ensemble of three, and not one server.
    #[must_use]
    pub fn is_ensemble(&self) -> bool {
        self.shared.lock().host.ensemble.is_some()
    }

    /// Ends all faults; what is lost stays lost.
    pub fn heal(&self) {
        self.shared.lock().heal();
    }

    /// Says what is broken, which ends the run.
    pub fn fail(&self, what: impl FnOnce() -> String) {
        // Not under the lock: it may ask the world for the time.
        let what = what();
        self.shared.lock().fail(|| what);
    }

    /// Writes a line to the trace, if somebody reads it.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if !self.shared.lock().trace.is_read() {
            return;
        }
        let text = text();
        let mut core = self.shared.lock();
        let now = core.now;
        core.trace.note(now, || text);
    }

    /// All that was to be changed, and what came of it, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Record> {
        self.shared.lock().host.log.records.clone()
    }

    /// Whether a session was ended behind its owner's back: by force, or while a member that had lost touch
    /// with the leader, or was late to learn of it, still answered the owner.
    #[must_use]
    pub fn was_ended(&self, session: SessionId) -> bool {
        self.shared.lock().host.ended.contains(&session)
    }

    /// Ends a session as if it had expired, behind its owner's back.
    pub fn end_session(&self, session: SessionId) {
        self.shared.lock().end_session(session);
    }

    /// The sessions that live.
    #[must_use]
    pub fn live_sessions(&self) -> Vec<SessionId> {
        self.shared.lock().host.agreed().sessions().collect()
    }

    /// Makes a node, past the network, on all servers.
    pub fn create(&self, path: &str) {
        let acl = Some(OPEN_ACL_UNSAFE.as_slice().into());
        let flags = CreateMode::Persistent;
        let create = Request::Create(CreateRequest { path, data: None, acl, flags });
        let result = self.shared.lock().query_all(&create);
        if let Err(error) = result {
            self.fail(|| format!("{path} is not to be made: {error}"));
        }
    }

    /// Has the next sequential child of the node at `path` get the number `next`, on all servers.
    pub fn set_sequence(&self, path: &str, next: i32) {
        self.shared.lock().agree_on(Entry::Count { path: path.to_owned(), next });
    }

    /// Sets the access list of a node, past the network, if the node is there.
    pub fn set_acl(&self, path: &str, acl: &[Acl]) {
        let request = SetAclRequest { path, acl: Some(acl.into()), version: -1 };
        let _missing = self.shared.lock().query(&Request::SetAcl(request));
    }

    /// What the server has of a node, or a majority of the ensemble.
    #[must_use]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        let request = Request::Exists(ExistsRequest { path, watch: false.into() });
        match self.shared.lock().query(&request) {
            Ok(Response::Exists(response)) => Some(response),
            _ => None,
        }
    }

    /// The names of the children that the server, or a majority of the ensemble, has of a node.
    #[must_use]
    pub fn children(&self, path: &str) -> Option<Vec<String>> {
        let request = Request::GetChildren(GetChildrenRequest { path, watch: false.into() });
        match self.shared.lock().query(&request) {
            Ok(Response::GetChildren(response)) => {
                Some(response.children.iter().map(ToString::to_string).collect())
            }
            _ => None,
        }
    }

    /// Whether a process was killed.
    #[must_use]
    pub fn is_dead(&self, process: &SimHandler) -> bool {
        self.shared.lock().is_dead(process.process())
    }

    /// Resets all connections, and has all attempts to connect refused, or no longer. The servers live on.
    pub fn set_unreachable(&self, is_unreachable: bool) {
        self.shared.lock().is_unreachable = is_unreachable;
        if is_unreachable {
            self.cut_all();
        }
    }

    /// Has all servers close each connection after their first answers, or no longer.
    pub fn set_answers_once(&self, answers_once: bool) {
        let mut core = self.shared.lock();
        for machine in 0..core.host.machines.len() {
            core.set_answers_once(machine, answers_once);
        }
        drop(core);
        if answers_once {
            self.cut_all();
        }
    }

    /// How often a process has begun to connect.
    #[must_use]
    pub fn attempts(&self, process: &SimHandler) -> usize {
        self.shared.lock().processes[process.process()].attempts
    }

    /// Resets all connections.
    pub fn cut_all(&self) {
        let mut core = self.shared.lock();
        for connection in core.network.open() {
            core.cut(connection, Cut::Reset);
        }
    }

    /// How many watches the servers have for connections that are open.
    #[must_use]
    pub fn watches(&self) -> usize {
        let core = self.shared.lock();
        core.network.open().into_iter().map(|id| core.host.watches_of(ConnectionId(id))).sum()
    }

    /// On how many connections watches were armed again, since this was asked last.
    #[must_use]
    pub fn take_armed_again(&self) -> usize {
        self.shared.lock().host.tap.take_armed()
    }

    /// How long all servers need at most to be well again once all faults are over.
    #[must_use]
    pub const fn settles_in(&self) -> Duration {
        Ensemble::SETTLES_IN
    }

    /// How many connections, tasks and timers there are.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        let core = self.shared.lock();
        (core.network.left(), core.task_count(), core.timer_count())
    }

    /// A number that tells runs apart: two with the same one went the same way.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.shared.lock().trace.hash()
    }

    /// How many sessions were opened.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.shared.lock().host.log.sessions
    }

    /// How many steps there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.shared.lock().trace.steps()
    }

    /// Ends all tasks; the world stands still.
    pub fn end(&self) {
        self.shared.end();
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim({:?}, {:#x})", self.now(), self.hash())
    }
}
