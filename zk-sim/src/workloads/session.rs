//! Calls and watches of a few clients, compared with what the server has really done.
//!
//! What must hold, besides what [`Stage`] and the tap look at for every world:
//! - a client that was started last is started, whatever it was in the middle of;
//! - each call ends exactly once, and the calls of a client in the order in which they were made;
//! - the server gets the writes of a client in that order, none of them twice;
//! - a write that succeeded, or that the server refused, was done or refused by the server; one that was
//!   not sent was not; one whose outcome is unknown may have been;
//! - what a client reads of a node never goes back, until it is started again;
//! - a watch fires once at most, and only if its node has changed; its event is there before any reply that
//!   shows the change; no change goes by unnoticed; it ends otherwise with its session alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use zk_client::{
    AsyncResult, CreateMode, Error, ErrorCode, ErrorKind, EventType, Handler, Outcome, Stat, Watch,
};

use crate::{
    Change, HOSTS, Sim,
    clients::{Actor, FOREVER, Stage, lock},
    servers::CREDENTIAL,
};

/// Nodes that all clients write to and watch.
const SHARED: [&str; 3] = ["/a", "/b", "/b/c"];

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Done,
    Refused(ErrorCode),
    NotSent,
    Unknown,
}

#[derive(Default)]
struct Ledger {
    /// By client: the ends of its calls, by number.
    calls: Vec<Vec<Option<End>>>,
    /// By client: how often it was started.
    starts: Vec<u32>,
    /// By client: how its last start went.
    started: Vec<AsyncResult<()>>,
    /// By client: the last of its calls that has ended.
    ended: Vec<Option<usize>>,
    /// By client, start and path: the newest change that was seen.
    seen: HashMap<(usize, u32, &'static str), i64>,
    watches: Vec<Armed>,
}

/// A watch that is armed, or was.
struct Armed {
    client: usize,
    path: &'static str,
    kind: Kind,
    /// The newest change of what is watched when it was armed.
    since: i64,
    fired: u32,
    watch: Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Exists,
    Children,
}

/// Runs the world.
///
/// # Errors
/// What broke.
pub fn session(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let is_patient = random.bool();
    let patience = if is_patient { FOREVER } else { Duration::from_millis(random.u64(200..5_000)) };
    let stage = Stage::new(sim, random.usize(1..=4), patience);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let going = Arc::new(Mutex::new(vec![true; stage.actors.len()]));
    let end = sim.now() + Duration::from_secs(random.u64(5..40));
    {
        let mut ledger = lock(&ledger);
        ledger.calls = vec![Vec::new(); stage.actors.len()];
        ledger.ended = vec![None; stage.actors.len()];
        ledger.starts = vec![0; stage.actors.len()];
        ledger.started = stage.actors.iter().map(|actor| actor.client.start()).collect();
    }
    for actor in &stage.actors {
        if !is_patient {
            actor.may_stop();
        }
        let client = Player {
            sim: sim.clone(),
            actor: actor.clone(),
            ledger: ledger.clone(),
            random: sim.random(),
            own: Vec::new(),
        };
        let (going, number) = (going.clone(), actor.number);
        zk_client::Handler::spawn(&actor.handler, async move {
            client.play(end).await;
            lock(&going)[number] = false;
        });
    }
    stage.rough(end.saturating_sub(sim.now()), || {})?;
    stage.calm(|| {})?;
    stage.wait("all have ended", stage.timeout, || {
        stage.alive().all(|actor| !lock(&going)[actor.number])
    })?;
    stage.wait("all calls have ended", stage.timeout, || {
        let calls = &lock(&ledger).calls;
        stage.alive().all(|actor| calls[actor.number].iter().all(Option::is_some))
    })?;
    check_starts(&stage, &lock(&ledger))?;
    check_writes(&stage, &lock(&ledger))?;
    check_watches(&stage, &lock(&ledger))?;
    let watches = std::mem::take(&mut lock(&ledger).watches);
    // Their callbacks want those that have not fired. To the servers, watches on the data of a path and on
    // its being there are one.
    let wanted: BTreeSet<_> = watches
        .iter()
        .filter(|armed| !armed.watch.ready() && !stage.actors[armed.client].is_dead())
        .map(|armed| (armed.client, armed.path, armed.kind == Kind::Children))
        .collect();
    drop(watches);
    stage.watches_are_left(wanted.len())?;
    stage.close()
}

/// One client at work.
struct Player {
    sim: Sim,
    actor: Actor,
    ledger: Arc<Mutex<Ledger>>,
    random: fastrand::Rng,
    /// Paths of its own that it may have created.
    own: Vec<String>,
}

impl Player {
    async fn play(mut self, end: Duration) {
        let pace = self.random.u64(10..600);
        while self.sim.now() < end {
            for _ in 0..self.random.u8(1..4) {
                if self.random.u8(..100) == 0 {
                    self.start_and_stop(end).await;
                }
                if self.random.u8(..50) == 0 {
                    self.change_settings();
                }
                self.call();
            }
            let pause = Duration::from_millis(self.random.u64(..pace));
            self.actor.handler.sleep(pause).await;
            self.keep_started();
        }
        while !self.keep_started() {
            self.actor.handler.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts the client again if that has failed; says whether it is started.
    fn keep_started(&self) -> bool {
        let number = self.actor.number;
        let (is_started, has_failed) = {
            let started = &lock(&self.ledger).started[number];
            (started.successful(), started.exception().is_some())
        };
        if has_failed {
            lock(&self.ledger).starts[number] += 1;
            lock(&self.ledger).started[number] = self.actor.client.start();
        }
        is_started
    }

    /// Starts and stops the client a few times in a row, with or without waiting for that, and in the end
    /// has it running, with another session.
    async fn start_and_stop(&mut self, end: Duration) {
        self.actor.may_stop();
        let client = self.actor.client.clone();
        for _ in 0..self.random.u8(..4) {
            lock(&self.ledger).starts[self.actor.number] += 1;
            let before = client.exists("/");
            let done = match self.random.u8(..3) {
                0 => client.start(),
                1 => client.stop(),
                _ => client.restart(),
            };
            self.call();
            let left = self.actor.handler.sleep(end.saturating_sub(self.sim.now()));
            match self.random.u8(..3) {
                0 => {}
                1 => first_of(done, left).await,
                _ => first_of(before, left).await,
            }
        }
        lock(&self.ledger).starts[self.actor.number] += 1;
        lock(&self.ledger).started[self.actor.number] = client.restart();
    }

    /// Has the client use some of the servers from now on, and prove once more who it is.
    fn change_settings(&mut self) {
        let mut hosts: Vec<_> = HOSTS.split(',').collect();
        self.random.shuffle(&mut hosts);
        hosts.truncate(self.random.usize(1..=hosts.len()));
        if let Err(error) = self.actor.client.set_hosts(&hosts.join(",")) {
            self.sim.fail(|| format!("client {}: {error}", self.actor.number));
        }
        if self.random.bool() {
            let (sim, client) = (self.sim.clone(), self.actor.number);
            self.actor.client.add_auth(CREDENTIAL.0, CREDENTIAL.1).on_complete(move |result| {
                if let Some(error) = result.err().filter(|it| it.kind() == ErrorKind::AuthFailed) {
                    sim.fail(|| format!("client {client}: {error}"));
                }
            });
        }
    }

    fn call(&mut self) {
        let client = self.actor.client.clone();
        let path = SHARED[self.random.usize(..SHARED.len())];
        let number = self.begin();
        let id = format!("{}-{number}", self.actor.number);
        match self.random.u8(..12) {
            0 => {
                let mode = [CreateMode::Persistent, CreateMode::Ephemeral][self.random.usize(..2)];
                let own = format!("/own-{id}");
                self.own.push(own.clone());
                let end = self.end(number);
                let call = client.create(own, &id, mode);
                self.follow(call, move |result| end(result.map(drop)));
            }
            1 => {
                let end = self.end(number);
                let mode = CreateMode::PersistentSequential;
                let call = client.create(format!("/seq-{id}-"), &id, mode);
                self.follow(call, move |result| end(result.map(drop)));
            }
            2 if !self.own.is_empty() => {
                let own = self.own.swap_remove(self.random.usize(..self.own.len()));
                let end = self.end(number);
                self.follow(client.delete(own, None), end);
            }
            3 | 4 => {
                let end = self.end(number);
                let call = client.set(path, &id, None);
                self.follow(call, move |result| end(result.map(drop)));
            }
            5 => {
                let end = self.end(number);
                let call = client.create(path, &id, CreateMode::Persistent);
                self.follow(call, move |result| end(result.map(drop)));
            }
            6 => {
                let end = self.end(number);
                self.follow(client.delete(path, None), end);
            }
            7 => {
                let end = self.end(number);
                let transaction = client.transaction().set(path, &id, None).create(
                    format!("/multi-{id}"),
                    &id,
                    CreateMode::Persistent,
                );
                self.follow(transaction.commit(), move |result| {
                    end(result.and_then(|results| results.committed().map(drop)));
                });
            }
            8 => {
                let (end, arm) = (self.end(number), self.arm(path, Kind::Exists));
                client.exists_and_watch(path).on_complete(move |result| {
                    if let Ok((stat, watch)) = &result {
                        arm(stat.as_ref(), watch);
                    }
                    end(result.map(drop));
                });
            }
            9 => {
                let (end, arm) = (self.end(number), self.arm(path, Kind::Children));
                client.get_children_and_watch(path).on_complete(move |result| {
                    if let Ok((_, stat, watch)) = &result {
                        arm(Some(stat), watch);
                    }
                    end(result.map(drop));
                });
            }
            10 => {
                let (end, arm) = (self.end(number), self.arm(path, Kind::Data));
                client.get_and_watch(path).on_complete(move |result| {
                    if let Ok((_, stat, watch)) = &result {
                        arm(Some(stat), watch);
                    }
                    end(result.map(drop));
                });
            }
            _ => {
                let (end, see) = (self.end(number), self.see(path));
                client.exists(path).on_complete(move |result| {
                    if let Ok(stat) = &result {
                        see(stat.as_ref());
                    }
                    end(result.map(drop));
                });
            }
        }
    }

    /// Has `end` take in the end of a call. Some calls are given up, after a while in which anything may have
    /// become of them.
    fn follow<T: Clone + Send + 'static>(
        &mut self,
        call: AsyncResult<T>,
        end: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) {
        call.on_complete(end);
        if self.random.u8(..8) > 0 {
            return;
        }
        let handler = self.actor.handler.clone();
        let pause = Duration::from_millis(self.random.u64(..100));
        self.actor.handler.spawn(async move {
            handler.sleep(pause).await;
            call.cancel();
        });
    }

    fn begin(&self) -> usize {
        let mut ledger = lock(&self.ledger);
        let calls = &mut ledger.calls[self.actor.number];
        calls.push(None);
        calls.len() - 1
    }

    /// What takes in the end of a call.
    fn end(&self, number: usize) -> impl FnOnce(Result<(), Error>) + Send + 'static {
        let (sim, ledger, client) = (self.sim.clone(), self.ledger.clone(), self.actor.number);
        move |result| {
            sim.note(|| format!("client {client}, call {number}: {result:?}"));
            let end = match &result {
                Ok(()) => End::Done,
                Err(error) if error.kind() == ErrorKind::Server(ErrorCode::NoAuth) => {
                    return sim.fail(|| format!("client {client} could not prove who it is"));
                }
                Err(error) => match (error.kind(), error.outcome()) {
                    (ErrorKind::Server(code), _) => End::Refused(code),
                    (_, Some(Outcome::NotSent)) => End::NotSent,
                    (_, Some(Outcome::Unknown)) => End::Unknown,
                    (_, outcome) => {
                        return sim.fail(|| format!("{outcome:?} of {error}"));
                    }
                },
            };
            let mut ledger = lock(&ledger);
            if ledger.calls[client][number].replace(end).is_some() {
                sim.fail(|| format!("call {number} of client {client} has ended twice"));
            }
            // What is refused at once, or given up, does not wait for its turn.
            let at_once = [ErrorKind::ConnectionClosed, ErrorKind::Cancelled];
            if result.is_err_and(|error| at_once.contains(&error.kind())) {
                return;
            }
            let last = ledger.ended[client].replace(number);
            if last.is_some_and(|last| last > number) {
                sim.fail(|| {
                    format!("call {number} of client {client} has ended after call {last:?}")
                });
            }
        }
    }

    /// What takes in the state of a node.
    fn see(&self, path: &'static str) -> impl Fn(Option<&Stat>) + Send + 'static + use<> {
        let (sim, ledger, client) = (self.sim.clone(), self.ledger.clone(), self.actor.number);
        let start = lock(&ledger).starts[client];
        move |stat| {
            let mut ledger = lock(&ledger);
            let Some(stat) = stat else { return };
            let last = ledger.seen.entry((client, start, path)).or_default();
            if stat.mzxid < *last {
                sim.fail(|| format!("{path} went back for client {client}: {stat:?}, {last:#x}"));
            }
            *last = stat.mzxid;
            for armed in &ledger.watches {
                let shows = match armed.kind {
                    Kind::Data | Kind::Exists => stat.mzxid > armed.since,
                    Kind::Children => stat.pzxid > armed.since,
                };
                if armed.client == client && armed.path == path && shows && !armed.watch.ready() {
                    sim.fail(|| {
                        format!(
                            "client {client} saw {path} at {:#x} before the event of its watch of \
                             {:#x}",
                            stat.mzxid, armed.since
                        )
                    });
                }
            }
        }
    }

    /// What takes in a watch, or drops it at once: then it is to be taken off the server, unless it is
    /// another's as well.
    fn arm(
        &mut self,
        path: &'static str,
        kind: Kind,
    ) -> impl FnOnce(Option<&Stat>, &Watch) + Send + 'static + use<> {
        let wanted = self.random.bool();
        let (ledger, client, see) = (self.ledger.clone(), self.actor.number, self.see(path));
        let sim = self.sim.clone();
        move |stat, watch| {
            see(stat);
            if !wanted {
                return;
            }
            let since = stat.map_or(0, |stat| match kind {
                Kind::Data | Kind::Exists => stat.mzxid,
                Kind::Children => stat.pzxid,
            });
            let mut armed = lock(&ledger);
            let number = armed.watches.len();
            armed.watches.push(Armed { client, path, kind, since, fired: 0, watch: watch.clone() });
            drop(armed);
            let weak = Arc::downgrade(&ledger);
            watch.clone().on_event(move |event| {
                let Some(ledger) = weak.upgrade() else { return };
                sim.note(|| format!("client {client}, watch {number}: {event:?}"));
                let mut ledger = lock(&ledger);
                let Some(armed) = ledger.watches.get_mut(number) else { return };
                armed.fired += 1;
                let fits = match event.kind {
                    EventType::NodeDataChanged => armed.kind != Kind::Children,
                    EventType::NodeChildrenChanged => armed.kind == Kind::Children,
                    EventType::NodeDeleted => true,
                    EventType::NodeCreated => armed.kind == Kind::Exists,
                    _ => false,
                };
                if armed.fired > 1 || !fits || event.path != *path {
                    sim.fail(|| format!("{event:?} for the watch of client {client} on {path}"));
                }
            });
        }
    }
}

/// Completes when one of the two does.
async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        other.as_mut().poll(context)
    })
    .await;
}

/// Whoever starts a client last has it started.
fn check_starts(stage: &Stage, ledger: &Ledger) -> Result<(), String> {
    for actor in stage.alive() {
        let started = &ledger.started[actor.number];
        if !started.successful() {
            return Err(format!("the last start of client {}: {started:?}", actor.number));
        }
    }
    Ok(())
}

/// Compares what the clients believe of their writes with what the server has done.
fn check_writes(stage: &Stage, ledger: &Ledger) -> Result<(), String> {
    // By client and call: what the server has answered.
    let mut answers: BTreeMap<(usize, usize), ErrorCode> = BTreeMap::new();
    // Sessions of a client that was stopped may overlap: what is sent last on one may come after what is sent
    // first on the next.
    let mut last = HashMap::new();
    for record in stage.sim.log() {
        let id = record.changes.iter().find_map(|change| match change {
            Change::Create(_, id) | Change::Set(_, id) => Some(id),
            Change::Delete(_) => None,
        });
        let Some(id) = id else { continue };
        let id = String::from_utf8_lossy(id).into_owned();
        let parsed = id.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some((client, call)) = parsed else { return Err(format!("the server was sent {id}")) };
        let last = last.insert((client, record.session), call);
        if last.is_some_and(|last| last > call) {
            return Err(format!("the server got call {call} of client {client} after {last:?}"));
        }
        if answers.insert((client, call), record.result).is_some() {
            return Err(format!("the server got call {call} of client {client} twice"));
        }
    }
    for ((client, call), answer) in &answers {
        let fits = match ledger.calls[*client].get(*call) {
            Some(Some(End::Done)) => *answer == ErrorCode::Ok,
            Some(Some(End::Refused(code))) => answer == code,
            Some(Some(End::Unknown)) => true,
            // Who was killed cannot say.
            Some(None) => stage.actors[*client].is_dead(),
            Some(Some(End::NotSent)) | None => false,
        };
        if !fits {
            let end = ledger.calls[*client].get(*call);
            return Err(format!("call {call} of client {client}: {answer}, and not {end:?}"));
        }
    }
    Ok(())
}

/// Whoever watches has heard of every change.
fn check_watches(stage: &Stage, ledger: &Ledger) -> Result<(), String> {
    let stats: HashMap<&str, Option<Stat>> =
        SHARED.iter().map(|path| (*path, stage.sim.stat(path))).collect();
    for armed in &ledger.watches {
        let (client, path, kind) = (armed.client, armed.path, armed.kind);
        if stage.actors[client].is_dead() {
            continue;
        }
        let of = |stat: &Stat| if kind == Kind::Children { stat.pzxid } else { stat.mzxid };
        let now = stats[path].as_ref().map_or(0, of);
        match armed.watch.get_nowait() {
            None if now != armed.since => {
                return Err(format!(
                    "client {client} has not heard of a change of {path} ({kind:?}), from {:#x} to \
                     {now:#x}",
                    armed.since
                ));
            }
            Some(Ok(_)) if armed.fired != 1 => {
                return Err(format!("a watch of client {client} fired {} times", armed.fired));
            }
            Some(Err(error)) => {
                let fits = match error.kind() {
                    ErrorKind::SessionExpired => true,
                    ErrorKind::ConnectionClosed => stage.actors[client].was_stopped(),
                    _ => false,
                };
                if !fits {
                    return Err(format!("a watch of client {client} ended with {error}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
