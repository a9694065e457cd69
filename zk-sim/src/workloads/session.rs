//! Calls and watches of a few clients, compared with what the servers have really done.
//!
//! What must hold, besides the rules for every workload:
//! - the last start of a client succeeds, whatever state the client was in;
//! - each call ends exactly once, and the calls of a client end in the order in which they were made;
//! - the server receives the writes of a client in that order, and none twice;
//! - a write that succeeded or was refused by the server was so on the server; one that was not sent never reached
//!   the server; one whose outcome is unknown may have;
//! - what a client reads of a node never goes back in time, until the client is started again;
//! - a watch fires at most once, and only if its node has changed; its event comes before any reply that shows
//!   the change; no change goes unnoticed; otherwise the watch ends with its session only.

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
    clients::{Clients, NO_START_TIMEOUT, SimClient, lock},
    servers::CREDENTIAL,
};

/// Nodes that all clients write to and watch.
const SHARED_PATHS: [&str; 3] = ["/a", "/b", "/b/c"];

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CallResult {
    Succeeded,
    Refused(ErrorCode),
    NotSent,
    Unknown,
}

#[derive(Default)]
struct History {
    /// By client and call: how the call ended.
    calls: Vec<Vec<Option<CallResult>>>,
    /// By client: how often it was started.
    starts: Vec<u32>,
    /// By client: its last start.
    started: Vec<AsyncResult<()>>,
    /// By client: the last of its calls that has ended.
    ended: Vec<Option<usize>>,
    /// By client, start and path: the newest change that was read, by zxid.
    seen: HashMap<(usize, u32, &'static str), i64>,
    watches: Vec<WatchState>,
}

/// A watch.
struct WatchState {
    client: usize,
    path: &'static str,
    kind: WatchKind,
    /// The newest change of what is watched when the watch was set, by zxid.
    since: i64,
    fired: u32,
    watch: Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchKind {
    Data,
    Exists,
    Children,
}

/// Runs the workload.
///
/// # Errors
/// What does not hold.
pub fn session(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let has_timeout = random.bool();
    let start_timeout =
        if has_timeout { Duration::from_millis(random.u64(200..5_000)) } else { NO_START_TIMEOUT };
    let clients = Clients::start(sim, random.usize(1..=4), start_timeout);
    let history = Arc::new(Mutex::new(History::default()));
    let running = Arc::new(Mutex::new(vec![true; clients.all.len()]));
    let end = sim.now() + Duration::from_secs(random.u64(5..40));
    {
        let mut history = lock(&history);
        history.calls = vec![Vec::new(); clients.all.len()];
        history.ended = vec![None; clients.all.len()];
        history.starts = vec![0; clients.all.len()];
        history.started = clients.all.iter().map(|client| client.zk.start()).collect();
    }
    for client in &clients.all {
        if has_timeout {
            client.allow_stops();
        }
        let user = User {
            sim: sim.clone(),
            client: client.clone(),
            history: history.clone(),
            random: sim.random(),
            own: Vec::new(),
        };
        let (running, number) = (running.clone(), client.number);
        client.process.spawn(async move {
            user.run(end).await;
            lock(&running)[number] = false;
        });
    }
    clients.run_with_faults(end.saturating_sub(sim.now()), || {})?;
    clients.recover(|| {})?;
    clients.wait_until("all users have ended", clients.session_timeout, || {
        clients.alive().all(|client| !lock(&running)[client.number])
    })?;
    clients.wait_until("all calls have ended", clients.session_timeout, || {
        let calls = &lock(&history).calls;
        clients.alive().all(|client| calls[client.number].iter().all(Option::is_some))
    })?;
    check_starts(&clients, &lock(&history))?;
    check_writes(&clients, &lock(&history))?;
    check_watches(&clients, &lock(&history))?;
    let watches = std::mem::take(&mut lock(&history).watches);
    // The callbacks of watches that have not fired want them. For the servers, a watch on the data of a path
    // and one on its existence are the same.
    let wanted: BTreeSet<_> = watches
        .iter()
        .filter(|state| !state.watch.ready() && !clients.all[state.client].is_dead())
        .map(|state| (state.client, state.path, state.kind == WatchKind::Children))
        .collect();
    drop(watches);
    clients.wait_for_watches(wanted.len())?;
    clients.stop()
}

/// Uses a client.
struct User {
    sim: Sim,
    client: SimClient,
    history: Arc<Mutex<History>>,
    random: fastrand::Rng,
    /// Paths of its own that it may have created.
    own: Vec<String>,
}

impl User {
    async fn run(mut self, end: Duration) {
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
            self.client.process.sleep(pause).await;
            self.keep_started();
        }
        while !self.keep_started() {
            self.client.process.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts the client again if its last start failed. Returns whether the client is started.
    fn keep_started(&self) -> bool {
        let number = self.client.number;
        let (is_started, has_failed) = {
            let started = &lock(&self.history).started[number];
            (started.successful(), started.exception().is_some())
        };
        if has_failed {
            lock(&self.history).starts[number] += 1;
            lock(&self.history).started[number] = self.client.zk.start();
        }
        is_started
    }

    /// Starts and stops the client a few times, with or without waiting for the result, and starts it with
    /// another session at last.
    async fn start_and_stop(&mut self, end: Duration) {
        self.client.allow_stops();
        let zk = self.client.zk.clone();
        for _ in 0..self.random.u8(..4) {
            lock(&self.history).starts[self.client.number] += 1;
            let before = zk.exists("/");
            let done = match self.random.u8(..3) {
                0 => zk.start(),
                1 => zk.stop(),
                _ => zk.restart(),
            };
            self.call();
            let left = self.client.process.sleep(end.saturating_sub(self.sim.now()));
            match self.random.u8(..3) {
                0 => {}
                1 => first_of(done, left).await,
                _ => first_of(before, left).await,
            }
        }
        lock(&self.history).starts[self.client.number] += 1;
        lock(&self.history).started[self.client.number] = zk.restart();
    }

    /// Changes the hosts of the client. It may reconnect, and may add its credential once more.
    fn change_settings(&mut self) {
        let mut hosts: Vec<_> = HOSTS.split(',').collect();
        self.random.shuffle(&mut hosts);
        hosts.truncate(self.random.usize(1..=hosts.len()));
        if let Err(error) = self.client.zk.set_hosts(&hosts.join(",")) {
            self.sim.fail(|| format!("client {}: {error}", self.client.number));
        }
        if self.random.bool() {
            drop(self.client.zk.reconnect());
        }
        if self.random.bool() {
            let (sim, client) = (self.sim.clone(), self.client.number);
            self.client.zk.add_auth(CREDENTIAL.0, CREDENTIAL.1).on_complete(move |result| {
                if let Some(error) = result.err().filter(|it| it.kind() == ErrorKind::AuthFailed) {
                    sim.fail(|| format!("client {client}: {error}"));
                }
            });
        }
    }

    fn call(&mut self) {
        let zk = self.client.zk.clone();
        let path = SHARED_PATHS[self.random.usize(..SHARED_PATHS.len())];
        let number = self.begin();
        let id = format!("{}-{number}", self.client.number);
        match self.random.u8(..12) {
            0 => {
                let mode = [CreateMode::Persistent, CreateMode::Ephemeral][self.random.usize(..2)];
                let own = format!("/own-{id}");
                self.own.push(own.clone());
                let end = self.end(number);
                let call = zk.create(own, &id, mode);
                self.follow(call, move |result| end(result.map(drop)));
            }
            1 => {
                let end = self.end(number);
                let mode = CreateMode::PersistentSequential;
                let call = zk.create(format!("/seq-{id}-"), &id, mode);
                self.follow(call, move |result| end(result.map(drop)));
            }
            2 if !self.own.is_empty() => {
                let own = self.own.swap_remove(self.random.usize(..self.own.len()));
                let end = self.end(number);
                self.follow(zk.delete(own, None), end);
            }
            3 | 4 => {
                let end = self.end(number);
                let call = zk.set(path, &id, None);
                self.follow(call, move |result| end(result.map(drop)));
            }
            5 => {
                let end = self.end(number);
                let call = zk.create(path, &id, CreateMode::Persistent);
                self.follow(call, move |result| end(result.map(drop)));
            }
            6 => {
                let end = self.end(number);
                self.follow(zk.delete(path, None), end);
            }
            7 => {
                let end = self.end(number);
                let transaction = zk.transaction().set(path, &id, None).create(
                    format!("/multi-{id}"),
                    &id,
                    CreateMode::Persistent,
                );
                self.follow(transaction.commit(), move |result| {
                    end(result.and_then(|results| results.committed().map(drop)));
                });
            }
            8 => {
                let (end, record) = (self.end(number), self.record_watch(path, WatchKind::Exists));
                zk.exists_and_watch(path).on_complete(move |result| {
                    if let Ok((stat, watch)) = &result {
                        record(stat.as_ref(), watch);
                    }
                    end(result.map(drop));
                });
            }
            9 => {
                let (end, record) =
                    (self.end(number), self.record_watch(path, WatchKind::Children));
                zk.get_children_and_watch(path).on_complete(move |result| {
                    if let Ok((_, stat, watch)) = &result {
                        record(Some(stat), watch);
                    }
                    end(result.map(drop));
                });
            }
            10 => {
                let (end, record) = (self.end(number), self.record_watch(path, WatchKind::Data));
                zk.get_and_watch(path).on_complete(move |result| {
                    if let Ok((_, stat, watch)) = &result {
                        record(Some(stat), watch);
                    }
                    end(result.map(drop));
                });
            }
            _ => {
                let (end, record) = (self.end(number), self.record_stat(path));
                zk.exists(path).on_complete(move |result| {
                    if let Ok(stat) = &result {
                        record(stat.as_ref());
                    }
                    end(result.map(drop));
                });
            }
        }
    }

    /// Passes the result of a call to `end`. Some calls are cancelled after a while.
    fn follow<T: Clone + Send + 'static>(
        &mut self,
        call: AsyncResult<T>,
        end: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) {
        call.on_complete(end);
        if self.random.u8(..8) > 0 {
            return;
        }
        let handler = self.client.process.clone();
        let pause = Duration::from_millis(self.random.u64(..100));
        self.client.process.spawn(async move {
            handler.sleep(pause).await;
            call.cancel();
        });
    }

    fn begin(&self) -> usize {
        let mut history = lock(&self.history);
        let calls = &mut history.calls[self.client.number];
        calls.push(None);
        calls.len() - 1
    }

    /// Returns a function that records the result of a call.
    fn end(&self, number: usize) -> impl FnOnce(Result<(), Error>) + Send + 'static {
        let (sim, history, client) = (self.sim.clone(), self.history.clone(), self.client.number);
        move |result| {
            sim.note(|| format!("client {client}, call {number}: {result:?}"));
            let end = match &result {
                Ok(()) => CallResult::Succeeded,
                Err(error) if error.kind() == ErrorKind::Server(ErrorCode::NoAuth) => {
                    return sim.fail(|| format!("client {client} was not authenticated"));
                }
                Err(error) => match (error.kind(), error.outcome()) {
                    (ErrorKind::Server(code), _) => CallResult::Refused(code),
                    (_, Some(Outcome::NotSent)) => CallResult::NotSent,
                    (_, Some(Outcome::Unknown)) => CallResult::Unknown,
                    (_, outcome) => {
                        return sim.fail(|| format!("outcome {outcome:?} of {error}"));
                    }
                },
            };
            let mut history = lock(&history);
            if history.calls[client][number].replace(end).is_some() {
                sim.fail(|| format!("call {number} of client {client} ended twice"));
            }
            // A call that fails at once or is cancelled does not wait for the calls before it.
            let at_once = [ErrorKind::ConnectionClosed, ErrorKind::Cancelled];
            if result.is_err_and(|error| at_once.contains(&error.kind())) {
                return;
            }
            let last = history.ended[client].replace(number);
            if last.is_some_and(|last| last > number) {
                sim.fail(|| format!("call {number} of client {client} ended after call {last:?}"));
            }
        }
    }

    /// Returns a function that records the stat of a node.
    fn record_stat(&self, path: &'static str) -> impl Fn(Option<&Stat>) + Send + 'static + use<> {
        let (sim, history, client) = (self.sim.clone(), self.history.clone(), self.client.number);
        let start = lock(&history).starts[client];
        move |stat| {
            let mut history = lock(&history);
            let Some(stat) = stat else { return };
            let last = history.seen.entry((client, start, path)).or_default();
            if stat.mzxid < *last {
                sim.fail(|| {
                    format!("client {client} read an older {path}: {stat:?} after {last:#x}")
                });
            }
            *last = stat.mzxid;
            for state in &history.watches {
                let shows = match state.kind {
                    WatchKind::Data | WatchKind::Exists => stat.mzxid > state.since,
                    WatchKind::Children => stat.pzxid > state.since,
                };
                if state.client == client && state.path == path && shows && !state.watch.ready() {
                    sim.fail(|| {
                        format!(
                            "client {client} read {path} at {:#x} before the event of its watch, set \
                             at {:#x}",
                            stat.mzxid, state.since
                        )
                    });
                }
            }
        }
    }

    /// Returns a function that records a watch, or drops it at once. A dropped watch has to be removed from the server,
    /// unless there is another one on the same path.
    fn record_watch(
        &mut self,
        path: &'static str,
        kind: WatchKind,
    ) -> impl FnOnce(Option<&Stat>, &Watch) + Send + 'static + use<> {
        let wanted = self.random.bool();
        let (history, client, record_stat) =
            (self.history.clone(), self.client.number, self.record_stat(path));
        let sim = self.sim.clone();
        move |stat, watch| {
            record_stat(stat);
            if !wanted {
                return;
            }
            let since = stat.map_or(0, |stat| match kind {
                WatchKind::Data | WatchKind::Exists => stat.mzxid,
                WatchKind::Children => stat.pzxid,
            });
            let mut locked = lock(&history);
            let number = locked.watches.len();
            locked.watches.push(WatchState {
                client,
                path,
                kind,
                since,
                fired: 0,
                watch: watch.clone(),
            });
            drop(locked);
            let weak = Arc::downgrade(&history);
            watch.clone().on_event(move |event| {
                let Some(history) = weak.upgrade() else { return };
                sim.note(|| format!("client {client}, watch {number}: {event:?}"));
                let mut history = lock(&history);
                let Some(state) = history.watches.get_mut(number) else { return };
                state.fired += 1;
                let fits = match event.kind {
                    EventType::NodeDataChanged => state.kind != WatchKind::Children,
                    EventType::NodeChildrenChanged => state.kind == WatchKind::Children,
                    EventType::NodeDeleted => true,
                    EventType::NodeCreated => state.kind == WatchKind::Exists,
                    _ => false,
                };
                if state.fired > 1 || !fits || event.path != *path {
                    sim.fail(|| format!("{event:?} for the watch of client {client} on {path}"));
                }
            });
        }
    }
}

/// Completes as soon as one of the two does.
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

/// Checks that the last start of each client has succeeded.
fn check_starts(clients: &Clients, history: &History) -> Result<(), String> {
    for client in clients.alive() {
        let started = &history.started[client.number];
        if !started.successful() {
            return Err(format!("the last start of client {}: {started:?}", client.number));
        }
    }
    Ok(())
}

/// Compares the results of the clients' writes with what the servers have done.
fn check_writes(clients: &Clients, history: &History) -> Result<(), String> {
    // By client and call: the result on the server.
    let mut results: BTreeMap<(usize, usize), ErrorCode> = BTreeMap::new();
    // Sessions of a client that was stopped may overlap: its last request in one may arrive after its first one in
    // the next.
    let mut last = HashMap::new();
    for record in clients.sim.log() {
        let id = record.changes.iter().find_map(|change| match change {
            Change::Create(_, id) | Change::Set(_, id) => Some(id),
            Change::Delete(_) => None,
        });
        let Some(id) = id else { continue };
        let id = String::from_utf8_lossy(id).into_owned();
        let parsed = id.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some((client, call)) = parsed else {
            return Err(format!("the server received the data {id}"));
        };
        let last = last.insert((client, record.session), call);
        if last.is_some_and(|last| last > call) {
            return Err(format!(
                "the server received call {call} of client {client} after call {last:?}"
            ));
        }
        if results.insert((client, call), record.result).is_some() {
            return Err(format!("the server received call {call} of client {client} twice"));
        }
    }
    for ((client, call), result) in &results {
        let fits = match history.calls[*client].get(*call) {
            Some(Some(CallResult::Succeeded)) => *result == ErrorCode::Ok,
            Some(Some(CallResult::Refused(code))) => result == code,
            Some(Some(CallResult::Unknown)) => true,
            // A client that was killed does not know.
            Some(None) => clients.all[*client].is_dead(),
            Some(Some(CallResult::NotSent)) | None => false,
        };
        if !fits {
            let end = history.calls[*client].get(*call);
            return Err(format!(
                "call {call} of client {client}: {result} on the server, but {end:?} for the client"
            ));
        }
    }
    Ok(())
}

/// Checks that watches have fired for every change.
fn check_watches(clients: &Clients, history: &History) -> Result<(), String> {
    let stats: HashMap<&str, Option<Stat>> =
        SHARED_PATHS.iter().map(|path| (*path, clients.sim.stat(path))).collect();
    for state in &history.watches {
        let (client, path, kind) = (state.client, state.path, state.kind);
        if clients.all[client].is_dead() {
            continue;
        }
        let of = |stat: &Stat| if kind == WatchKind::Children { stat.pzxid } else { stat.mzxid };
        let now = stats[path].as_ref().map_or(0, of);
        match state.watch.get_nowait() {
            None if now != state.since => {
                return Err(format!(
                    "a watch of client {client} on {path} ({kind:?}) did not fire for a change from \
                     {:#x} to {now:#x}",
                    state.since
                ));
            }
            Some(Ok(_)) if state.fired != 1 => {
                return Err(format!("a watch of client {client} fired {} times", state.fired));
            }
            Some(Err(error)) => {
                let fits = match error.kind() {
                    ErrorKind::SessionExpired => true,
                    ErrorKind::ConnectionClosed => clients.all[client].may_stop(),
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
