//! [`Sim`]: a simulation, for tests and workloads.

use std::{fmt, sync::Arc, time::Duration};

use zk_client::{Acl, OPEN_ACL_UNSAFE, Stat};
use zk_proto::{
    CreateMode, Request, Response,
    records::{CreateRequest, ExistsRequest, GetChildrenRequest, SetAclRequest},
};
use zk_server::SessionId;

use crate::{
    executor::{Executor, Scheduler},
    faults::Faults,
    handler::SimHandler,
    servers::{Hosts, Record},
    trace::{Print, Trace},
    world::World,
};

/// A simulation. Clones are the same simulation.
#[derive(Clone)]
pub struct Sim {
    executor: Arc<Executor<World>>,
}

impl Sim {
    /// A simulation without faults, with either one empty server or an ensemble of three: the seed decides.
    /// `print` gets a line for every step.
    #[must_use]
    pub fn new(seed: u64, print: Option<Print>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new(&mut random);
        Self { executor: Executor::new(Scheduler::new(random, Trace::new(print)), world) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Scheduler, &mut World) -> T) -> T {
        let state = &mut *self.executor.lock();
        act(&mut state.scheduler, &mut state.environment)
    }

    /// Adds a process, to run a client in.
    #[must_use]
    pub fn process(&self) -> SimHandler {
        let process = self.with(|scheduler, _| scheduler.add_process());
        SimHandler::new(self.executor.clone(), process)
    }

    /// A source of random numbers that depends on the seed.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        self.with(|scheduler, _| scheduler.random.fork())
    }

    /// The simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.with(|scheduler, _| scheduler.now)
    }

    // ---- running -----------------------------------------------------------------------------------

    /// Runs for `time`. `check` is called whenever time has to pass before anything else happens.
    ///
    /// # Errors
    /// The first violation, which ends the run.
    pub fn run_for(&self, time: Duration, mut check: impl FnMut()) -> Result<(), String> {
        let until = self.now() + time;
        self.run_until(until, || {
            check();
            false
        })?;
        Ok(())
    }

    /// Runs until `done` returns true, but no longer than `until`. Returns whether `done` did.
    ///
    /// # Errors
    /// The first violation, which ends the run.
    pub fn run_until(
        &self,
        until: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, String> {
        loop {
            if self.executor.is_idle() && done() {
                return Ok(true);
            }
            let more = self.executor.step(until);
            if let Some(violation) = self.with(|it, _| it.violations.first().cloned()) {
                return Err(violation);
            }
            if !more {
                return Ok(done());
            }
        }
    }

    /// Runs beside other threads at the speed of real time until `is_over` returns true. For tests of the
    /// handler itself.
    pub fn run_in_real_time(&self, is_over: impl Fn() -> bool) {
        self.executor.run_in_real_time(is_over);
    }

    /// Drops all tasks and connections. Nothing can run any more.
    pub fn end(&self) {
        self.executor.end();
        self.with(|_, world| world.clear());
    }

    // ---- violations and the trace ------------------------------------------------------------------

    /// Reports a violation, which ends the run.
    pub fn fail(&self, what: impl FnOnce() -> String) {
        // Not under the lock: it may ask the simulation for the time.
        let what = what();
        self.with(|scheduler, _| scheduler.fail(what));
    }

    /// Writes a line to the trace, if there is a reader.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.with(|scheduler, _| scheduler.trace.has_reader()) {
            let text = text();
            self.with(|scheduler, _| scheduler.trace.note(scheduler.now, || text));
        }
    }

    /// A hash of all steps: two runs with the same hash took the same course.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.with(|scheduler, _| scheduler.trace.hash())
    }

    /// How many steps there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.with(|scheduler, _| scheduler.trace.steps())
    }

    // ---- faults ------------------------------------------------------------------------------------

    /// Injects faults from now on.
    pub fn inject(&self, faults: Faults) {
        self.with(|scheduler, world| world.begin_faults(scheduler, faults));
    }

    /// Ends all faults. What was lost stays lost.
    pub fn heal(&self) {
        self.with(|scheduler, world| world.heal(scheduler));
    }

    /// How long it takes at most until all servers serve, once all faults are over.
    #[must_use]
    pub const fn settles_in(&self) -> Duration {
        Hosts::SETTLES_IN
    }

    /// Resets all connections.
    pub fn cut_all(&self) {
        self.with(|scheduler, world| world.cut_all(scheduler));
    }

    /// Resets all connections and has all attempts to connect refused, or lets clients connect again. The
    /// servers keep running.
    pub fn set_unreachable(&self, is_unreachable: bool) {
        self.with(|_, world| world.set_unreachable(is_unreachable));
        if is_unreachable {
            self.cut_all();
        }
    }

    /// Has all servers close each connection after their first replies, or not.
    pub fn set_close_early(&self, closes_early: bool) {
        self.with(|_, world| world.set_close_early(closes_early));
        if closes_early {
            self.cut_all();
        }
    }

    /// Sets how long a member of the ensemble may take to learn of what was agreed on. With zero it learns of
    /// all at once.
    pub fn set_lag(&self, member: usize, lag: Duration) {
        self.with(|scheduler, world| world.set_lag(scheduler, member, lag));
    }

    /// Ends a session as if it had expired.
    pub fn end_session(&self, session: SessionId) {
        self.with(|scheduler, world| world.end_session(scheduler, session));
    }

    // ---- servers -----------------------------------------------------------------------------------

    /// Whether there is an ensemble of three instead of one server.
    #[must_use]
    pub fn is_ensemble(&self) -> bool {
        self.with(|_, world| world.hosts().is_ensemble())
    }

    /// Creates a node past the network, on all servers.
    pub fn create(&self, path: &str) {
        let acl = Some(OPEN_ACL_UNSAFE.as_slice().into());
        let flags = CreateMode::Persistent;
        let create = Request::Create(CreateRequest { path, data: None, acl, flags });
        let result = self.with(|scheduler, world| world.query_all(scheduler, &create));
        if let Err(error) = result {
            self.fail(|| format!("{path} could not be created: {error}"));
        }
    }

    /// Has the next sequential child of the node at `path` get the number `next`, on all servers.
    pub fn set_sequence(&self, path: &str, next: i32) {
        self.with(|scheduler, world| world.set_sequence(scheduler, path, next));
    }

    /// Sets the ACL of a node past the network, if the node exists.
    pub fn set_acl(&self, path: &str, acl: &[Acl]) {
        let request = SetAclRequest { path, acl: Some(acl.into()), version: -1 };
        let _missing =
            self.with(|scheduler, world| world.query(scheduler, &Request::SetAcl(request)));
    }

    /// The stat that the server, or the majority of the ensemble, has of a node.
    #[must_use]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        let request = Request::Exists(ExistsRequest { path, watch: false.into() });
        match self.with(|scheduler, world| world.query(scheduler, &request)) {
            Ok(Response::Exists(response)) => Some(response),
            _ => None,
        }
    }

    /// The names of the children that the server, or the majority of the ensemble, has of a node.
    #[must_use]
    pub fn children(&self, path: &str) -> Option<Vec<String>> {
        let request = Request::GetChildren(GetChildrenRequest { path, watch: false.into() });
        match self.with(|scheduler, world| world.query(scheduler, &request)) {
            Ok(Response::GetChildren(response)) => {
                Some(response.children.iter().map(ToString::to_string).collect())
            }
            _ => None,
        }
    }

    /// All writes that the servers were asked for and their results, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Record> {
        self.with(|_, world| world.hosts().log().records.clone())
    }

    /// How many sessions were created.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.with(|_, world| world.hosts().log().sessions)
    }

    /// The sessions that are alive.
    #[must_use]
    pub fn live_sessions(&self) -> Vec<SessionId> {
        self.with(|_, world| world.hosts().sessions())
    }

    /// Whether a session ended in a way that its owner could not know of: by force, or while a member that had
    /// lost the leader, or was late to learn of the end, still replied to the owner.
    #[must_use]
    pub fn ended_early(&self, session: SessionId) -> bool {
        self.with(|_, world| world.hosts().log().ended_early.contains(&session))
    }

    /// How many watches the servers have for connections that are open.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.with(|_, world| world.watches())
    }

    /// On how many connections watches were re-armed since the last call.
    #[must_use]
    pub fn take_rearmed(&self) -> usize {
        self.with(|_, world| world.take_rearmed())
    }

    // ---- processes ---------------------------------------------------------------------------------

    /// Whether a process was killed.
    #[must_use]
    pub fn is_dead(&self, process: &SimHandler) -> bool {
        self.with(|scheduler, _| scheduler.is_dead(process.process()))
    }

    /// How often a process has begun to connect.
    #[must_use]
    pub fn connect_attempts(&self, process: &SimHandler) -> usize {
        self.with(|_, world| world.attempts(process.process()))
    }

    /// How many connections, tasks and timers there are.
    #[must_use]
    pub fn resources(&self) -> (usize, usize, usize) {
        self.with(|scheduler, world| {
            (world.network().leaked(), scheduler.task_count(), scheduler.timer_count())
        })
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim({:?}, {:#x})", self.now(), self.hash())
    }
}
