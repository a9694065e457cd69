//! What all workloads share: clients, each in a process of its own, a time with faults and a time of recovery,
//! and the rules that hold for every client, whatever it is used for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use zk_client::{CREATOR_ALL_ACL, Client, ClientBuilder, OPEN_ACL_UNSAFE, SessionState};

use crate::{DOWN_HOSTS, Faults, HOSTS, Sim, SimHandler, servers::CREDENTIAL};

/// A client and the process that it runs in.
#[derive(Debug, Clone)]
pub struct SimClient {
    /// Its number among the clients of the run.
    pub number: usize,
    /// The process.
    pub process: SimHandler,
    /// The client itself.
    pub zk: Client,
    sim: Sim,
    observed: Arc<Mutex<Observed>>,
}

/// What the listener of a client has seen.
#[derive(Debug)]
struct Observed {
    state: SessionState,
    changes: usize,
    may_stop: bool,
}

/// The clients of a run.
#[derive(Debug)]
pub struct Clients {
    /// The simulation.
    pub sim: Sim,
    /// The clients, by number.
    pub all: Vec<SimClient>,
    /// The session timeout that they ask for.
    pub session_timeout: Duration,
    /// Their hosts that stay down.
    pub down: Vec<&'static str>,
}

/// A start timeout that is longer than any run.
pub const NO_START_TIMEOUT: Duration = Duration::from_secs(1_000_000);

impl Clients {
    /// Starts `count` clients. The seed decides on their session timeout, whether their hosts include some that
    /// stay down, whether only they themselves have access to what they create, and which of them accept a
    /// read-only connection.
    #[must_use]
    pub fn start(sim: &Sim, count: usize, start_timeout: Duration) -> Self {
        let mut random = sim.random();
        let session_timeout = Duration::from_millis(random.u64(1_000..8_000));
        let acl = if random.bool() { &OPEN_ACL_UNSAFE } else { &CREATOR_ALL_ACL };
        let mut down = DOWN_HOSTS.to_vec();
        random.shuffle(&mut down);
        down.truncate(if random.bool() { 0 } else { random.usize(1..=down.len()) });
        let hosts = [&[HOSTS], &*down].concat();
        let builder = Client::builder()
            .hosts(hosts.join(","))
            .session_timeout(session_timeout)
            .connect_timeout(start_timeout)
            .unwatch_after(Some(Duration::from_millis(random.u64(..4_000))))
            .auth(CREDENTIAL.0, CREDENTIAL.1)
            .default_acl(acl);
        let all = (0..count)
            .map(|number| start_one(sim, number, builder.clone().read_only(random.u8(..4) == 0)))
            .collect();
        Self { sim: sim.clone(), all, session_timeout, down }
    }

    /// The clients whose processes were not killed.
    pub fn alive(&self) -> impl Iterator<Item = &SimClient> {
        self.all.iter().filter(|client| !client.is_dead())
    }

    /// Runs for `time` with faults that the seed draws, and then ends all faults.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_with_faults(&self, time: Duration, check: impl FnMut()) -> Result<(), String> {
        let faults = Faults::draw(&mut self.sim.random(), self.session_timeout);
        self.sim.note(|| format!("session timeout {:?}, {faults:?}", self.session_timeout));
        self.sim.inject(faults);
        self.sim.run_for(time, check)?;
        self.sim.heal();
        Ok(())
    }

    /// Runs until `done` returns true, but no longer than `limit`.
    ///
    /// # Errors
    /// That `done` did not return true, or the first violation.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        done: impl FnMut() -> bool,
    ) -> Result<(), String> {
        if self.sim.run_until(self.sim.now() + limit, done)? {
            return Ok(());
        }
        Err(format!("at {:?}: timed out after {limit:?} waiting until {what}", self.sim.now()))
    }

    fn all_connected(&self) -> bool {
        self.alive().all(|client| client.zk.state() == SessionState::Connected)
    }

    /// Waits until all clients are connected, within a time that follows from the session timeout, and checks
    /// that they stay connected and that their calls succeed. To be called when there are no faults.
    ///
    /// # Errors
    /// What does not hold, or the first violation.
    pub fn recover(&self, mut check: impl FnMut()) -> Result<(), String> {
        // The clients notice silent connections, and an ensemble elects a leader that all members follow.
        self.sim.run_for(self.session_timeout.max(self.sim.settles_in()), &mut check)?;
        // A member may receive the first packet of a connection, and resume its session, long after the client
        // has given the connection up. A client that has lost its session in this way learns of it from the
        // leader.
        let syncs: Vec<_> = self.alive().map(|client| client.zk.sync("/")).collect();
        self.sim.run_for(Duration::from_secs(1), &mut check)?;
        drop(syncs);
        // Hanging attempts to connect time out for each of three names, and a backoff ends.
        let limit = self.session_timeout + Duration::from_secs(10) + self.delay_by_down_hosts();
        self.wait_until("all clients are connected", limit, || {
            check();
            self.all_connected()
        })?;
        let before: Vec<_> = self.alive().map(SimClient::changes).collect();
        // Callbacks take a moment, so one change may still be counted.
        self.sim.run_for(3 * self.session_timeout, check)?;
        for (client, before) in self.alive().zip(before) {
            if client.changes() > before + 1 || client.zk.state() != SessionState::Connected {
                let number = client.number;
                return Err(format!(
                    "the state of client {number} changed though nothing is broken"
                ));
            }
        }
        let calls: Vec<_> = self.alive().map(|client| client.zk.exists("/")).collect();
        self.sim.run_for(Duration::from_secs(1), || {})?;
        for (client, call) in self.alive().zip(calls) {
            if !call.successful() {
                let number = client.number;
                return Err(format!(
                    "a call of client {number} failed though nothing is broken: {call:?}"
                ));
            }
        }
        Ok(())
    }

    /// How much later a client may be connected because of hosts that stay down: for each, the longest attempt
    /// to connect after rounds without success.
    #[must_use]
    pub fn delay_by_down_hosts(&self) -> Duration {
        Duration::from_secs(4) * u32::try_from(self.down.len()).unwrap_or(u32::MAX)
    }

    /// Checks that clients that have dropped all watches re-arm none on their next connection.
    ///
    /// # Errors
    /// That one does, or the first violation.
    pub fn check_no_watches(&self) -> Result<(), String> {
        // A callback may still hold a watch.
        self.sim.run_for(Duration::from_secs(1), || {})?;
        self.wait_for_watches(0)?;
        let _before = self.sim.take_rearmed();
        self.sim.cut_all();
        self.sim.run_for(Duration::from_millis(10), || {})?;
        let limit = self.session_timeout + self.delay_by_down_hosts();
        self.wait_until("all clients are connected again", limit, || self.all_connected())?;
        match self.sim.take_rearmed() {
            0 => Ok(()),
            clients => Err(format!("{clients} clients re-armed watches that they had dropped")),
        }
    }

    /// Waits until the servers have exactly `wanted` watches.
    ///
    /// # Errors
    /// How many watches they have, or the first violation.
    pub fn wait_for_watches(&self, wanted: usize) -> Result<(), String> {
        // A client removes unwanted watches after up to 4 s, and later if a removal got no reply.
        let limit = Duration::from_secs(200);
        let what = "unwanted watches are removed";
        self.wait_until(what, limit, || self.sim.watches() == wanted).map_err(|error| {
            format!("{error}: {} watches on the servers, {wanted} wanted", self.sim.watches())
        })
    }

    /// Stops all clients, and checks that they leave no session, connection, task or timer behind.
    ///
    /// # Errors
    /// What is left, or the first violation.
    pub fn stop(self) -> Result<(), String> {
        let stops: Vec<_> = self
            .alive()
            .map(|client| {
                client.allow_stops();
                client.zk.stop()
            })
            .collect();
        self.wait_until("all clients are stopped", Duration::from_secs(10), || {
            stops.iter().all(|stop| stop.ready())
        })?;
        let sim = self.sim.clone();
        drop(self);
        sim.run_for(Duration::from_secs(5), || {})?;
        let sessions = sim.live_sessions().len();
        let (connections, tasks, timers) = sim.resources();
        if (sessions, connections, tasks, timers) != (0, 0, 0, 0) {
            return Err(format!(
                "left behind: {sessions} sessions, {connections} connections, {tasks} tasks, \
                 {timers} timers"
            ));
        }
        Ok(())
    }
}

impl SimClient {
    /// Allows that the client is stopped from now on, and started again.
    pub fn allow_stops(&self) {
        lock(&self.observed).may_stop = true;
    }

    /// Whether the client may have been stopped.
    #[must_use]
    pub fn may_stop(&self) -> bool {
        lock(&self.observed).may_stop
    }

    /// Whether its process was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.sim.is_dead(&self.process)
    }

    fn changes(&self) -> usize {
        lock(&self.observed).changes
    }
}

fn start_one(sim: &Sim, number: usize, builder: ClientBuilder) -> SimClient {
    let process = sim.process();
    let zk = builder.build_on(process.clone()).expect("the options are valid");
    let observed = Observed { state: SessionState::Lost, changes: 0, may_stop: false };
    let observed = Arc::new(Mutex::new(observed));
    let client = SimClient { number, process, zk, sim: sim.clone(), observed: observed.clone() };
    // The listener must not hold the client, or it would keep it alive.
    let (sim, observed) = (sim.clone(), Arc::downgrade(&observed));
    client.zk.add_listener(move |state| {
        let Some(observed) = observed.upgrade() else { return };
        let mut observed = lock(&observed);
        if !is_legal(observed.state, state, observed.may_stop) {
            sim.fail(|| format!("client {number} went from {} to {state}", observed.state));
        }
        sim.note(|| format!("client {number} is {state}"));
        observed.state = state;
        observed.changes += 1;
    });
    drop(client.zk.start());
    client
}

/// Whether a session state may follow another one. Only a stop may end the session of a connected client.
const fn is_legal(from: SessionState, to: SessionState, may_stop: bool) -> bool {
    use SessionState::{Connected, ConnectedReadOnly, Lost, Suspended};
    match (from, to) {
        (Lost | Suspended, Connected | ConnectedReadOnly)
        | (Connected | ConnectedReadOnly, Suspended)
        | (Suspended, Lost) => true,
        (Connected | ConnectedReadOnly, Lost) => may_stop,
        _ => false,
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
