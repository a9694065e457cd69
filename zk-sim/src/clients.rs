//! What worlds have in common: clients, each in a process of its own, through a time of faults and into
//! one of calm, and what must hold for every client whatever it is used for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use zk_client::{CREATOR_ALL_ACL, Client, ClientBuilder, OPEN_ACL_UNSAFE, SessionState};

use crate::{DOWN, Faults, HOSTS, Sim, SimHandler, servers::CREDENTIAL};

/// A client and the process that it runs in.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Its number on this stage.
    pub number: usize,
    /// The process.
    pub handler: SimHandler,
    /// The client.
    pub client: Client,
    sim: Sim,
    told: Arc<Mutex<Told>>,
}

/// What an actor's listener heard last.
#[derive(Debug)]
struct Told {
    state: SessionState,
    changes: usize,
    is_stopped: bool,
}

/// Clients in a world.
#[derive(Debug)]
pub struct Stage {
    /// The world.
    pub sim: Sim,
    /// The clients.
    pub actors: Vec<Actor>,
    /// Their session timeout.
    pub timeout: Duration,
    /// Their hosts that stay down.
    pub down: Vec<&'static str>,
}

/// A time that no start takes.
pub const FOREVER: Duration = Duration::from_secs(1_000_000);

impl Stage {
    /// `count` clients, which start to connect, for no longer than `patience`. They may be content with a
    /// server that can only be read; and what they make may be for those alone who can prove who they are,
    /// as all of them can.
    #[must_use]
    pub fn new(sim: &Sim, count: usize, patience: Duration) -> Self {
        let mut random = sim.random();
        let timeout = Duration::from_millis(random.u64(1_000..8_000));
        let acl = if random.bool() { &OPEN_ACL_UNSAFE } else { &CREATOR_ALL_ACL };
        let mut down = DOWN.to_vec();
        random.shuffle(&mut down);
        down.truncate(if random.bool() { 0 } else { random.usize(1..=down.len()) });
        let hosts = [&[HOSTS], &*down].concat();
        let builder = Client::builder()
            .hosts(hosts.join(","))
            .session_timeout(timeout)
            .connect_timeout(patience)
            .unwatch_after(Some(Duration::from_millis(random.u64(..4_000))))
            .auth(CREDENTIAL.0, CREDENTIAL.1)
            .default_acl(acl);
        let actors = (0..count)
            .map(|number| actor(sim, number, builder.clone().read_only(random.u8(..4) == 0)))
            .collect();
        Self { sim: sim.clone(), actors, timeout, down }
    }

    /// The clients whose processes were not killed.
    pub fn alive(&self) -> impl Iterator<Item = &Actor> {
        self.actors.iter().filter(|actor| !actor.is_dead())
    }

    /// Breaks things for `time`, with faults that the seed draws.
    ///
    /// # Errors
    /// What broke that must not.
    pub fn rough(&self, time: Duration, look: impl FnMut()) -> Result<(), String> {
        let faults = Faults::draw(&mut self.sim.random(), self.timeout);
        self.sim.note(|| format!("session timeout {:?}, {faults:?}", self.timeout));
        self.sim.inject(faults);
        self.sim.run_for(time, look)?;
        self.sim.heal();
        Ok(())
    }

    /// Lets time pass until `done`, no longer than `limit`.
    ///
    /// # Errors
    /// That it was not done by then, or what else broke.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        done: impl FnMut() -> bool,
    ) -> Result<(), String> {
        if self.sim.run_until(self.sim.now() + limit, done)? {
            return Ok(());
        }
        Err(format!("at {:?}: not within {limit:?}: {what}", self.sim.now()))
    }

    /// Waits for all clients to be connected, as they must be in a time that follows from their
    /// session timeout, and to stay so.
    ///
    /// # Errors
    /// That one is not, or what else broke.
    pub fn calm(&self, mut look: impl FnMut()) -> Result<(), String> {
        // Silent connections are noticed; an ensemble has a leader whom all know.
        self.sim.run_for(self.timeout.max(self.sim.settles_in()), &mut look)?;
        // A member may have got the first packet of a connection long after it was given up, and the session
        // with it. Who has lost it so learns of it from the leader.
        let syncs: Vec<_> = self.alive().map(|actor| actor.client.sync("/")).collect();
        self.sim.run_for(Duration::from_secs(1), &mut look)?;
        drop(syncs);
        // Attempts that hang are given up, on each of three names; a pause between attempts is over.
        let limit = self.timeout + Duration::from_secs(10) + self.detours();
        self.wait("all clients are connected", limit, || {
            look();
            self.alive().all(|actor| actor.client.state() == SessionState::Connected)
        })?;
        let before: Vec<_> = self.alive().map(Actor::changes).collect();
        // Those that have heard of it by now: callbacks take a moment.
        self.sim.run_for(3 * self.timeout, look)?;
        for (actor, before) in self.alive().zip(before) {
            if actor.changes() > before + 1 || actor.client.state() != SessionState::Connected {
                return Err(format!("client {} has changed its state in calm", actor.number));
            }
        }
        let calls: Vec<_> = self.alive().map(|actor| actor.client.exists("/")).collect();
        self.sim.run_for(Duration::from_secs(1), || {})?;
        for (actor, call) in self.alive().zip(calls) {
            if !call.successful() {
                return Err(format!("a call of client {} in calm: {call:?}", actor.number));
            }
        }
        Ok(())
    }

    /// How long hosts that stay down may keep a client from the others: each for as long as a host may
    /// take after rounds in vain.
    #[must_use]
    pub fn detours(&self) -> Duration {
        Duration::from_secs(4) * u32::try_from(self.down.len()).unwrap_or(u32::MAX)
    }

    /// Sees that clients whose watches were all dropped arm none again on their next connection.
    ///
    /// # Errors
    /// That one does, or what else broke.
    pub fn watch_no_more(&self) -> Result<(), String> {
        // Who was told last lets go of its watch.
        self.sim.run_for(Duration::from_secs(1), || {})?;
        self.watches_are_left(0)?;
        let _before = self.sim.take_reregistered();
        self.sim.cut_all();
        self.sim.run_for(Duration::from_millis(10), || {})?;
        let limit = self.timeout + self.detours();
        self.wait("all clients are connected again", limit, || {
            self.alive().all(|actor| actor.client.state() == SessionState::Connected)
        })?;
        match self.sim.take_reregistered() {
            0 => Ok(()),
            armed => Err(format!("{armed} clients have watches that nobody waits for")),
        }
    }

    /// Waits until the servers have so many watches: those that are wanted.
    ///
    /// # Errors
    /// What is left.
    pub fn watches_are_left(&self, wanted: usize) -> Result<(), String> {
        // Those that are unwanted stay for 4 s, and longer after a removal that nobody has answered.
        let limit = Duration::from_secs(200);
        let found = self.wait("unwanted watches are gone", limit, || self.sim.watches() == wanted);
        found.map_err(|error| {
            format!("{error}: {} watches on the servers, {wanted} wanted", self.sim.watches())
        })
    }

    /// Stops all clients, and sees that nothing is left of them: no session, connection, task or timer.
    ///
    /// # Errors
    /// What is left.
    pub fn close(self) -> Result<(), String> {
        let stops: Vec<_> = self
            .alive()
            .map(|actor| {
                lock(&actor.told).is_stopped = true;
                actor.client.stop()
            })
            .collect();
        self.wait("all clients are stopped", Duration::from_secs(10), || {
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

impl Actor {
    /// From now on the client may be stopped, and started again.
    pub fn may_stop(&self) {
        lock(&self.told).is_stopped = true;
    }

    /// Whether the client was ever stopped, or may have been.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        lock(&self.told).is_stopped
    }

    /// Whether its process was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.sim.is_dead(&self.handler)
    }

    fn changes(&self) -> usize {
        lock(&self.told).changes
    }
}

fn actor(sim: &Sim, number: usize, builder: ClientBuilder) -> Actor {
    let handler = sim.process();
    let client = builder.build_on(handler.clone()).expect("options that can be");
    let told = Told { state: SessionState::Lost, changes: 0, is_stopped: false };
    let told = Arc::new(Mutex::new(told));
    let actor = Actor { number, handler, client, sim: sim.clone(), told: told.clone() };
    let (world, shared) = (sim.clone(), Arc::downgrade(&told));
    // Without the client: it would keep itself.
    actor.client.add_listener(move |state| {
        let Some(told) = shared.upgrade() else { return };
        let mut told = lock(&told);
        let legal = match (told.state, state) {
            (
                SessionState::Lost | SessionState::Suspended,
                SessionState::Connected | SessionState::ConnectedReadOnly,
            )
            | (
                SessionState::Connected | SessionState::ConnectedReadOnly,
                SessionState::Suspended,
            )
            | (SessionState::Suspended, SessionState::Lost) => true,
            (SessionState::Connected | SessionState::ConnectedReadOnly, SessionState::Lost) => {
                told.is_stopped
            }
            _ => false,
        };
        if !legal {
            world.fail(|| format!("client {number} went from {} to {state}", told.state));
        }
        world.note(|| format!("client {number} is {state}"));
        told.state = state;
        told.changes += 1;
    });
    drop(actor.client.start());
    actor
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
