//! Caches of a tree that follow it by persistent watches, while others write.
//!
//! What must hold:
//! - after recovery, each cache is the tree of the server. A cache reads a node when an event names it, and
//!   everything when events may be missing. It does not read again by itself after an error;
//! - between two losses that were said, events are in the order of the changes, and none is missing. This is
//!   checked where events have zxids. After a reconnect, a server that is behind may send an event again;
//! - a queue is never longer than its limit.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use zk_client::{
    AddWatchMode, AddWatchOptions, Client, CreateMode, Error, ErrorCode, ErrorKind, EventType,
    Handler, PersistentWatch, PersistentWatchEvent, WatchedEvent,
};

use crate::{
    Change, Sim,
    clients::{Clients, NO_START_TIMEOUT, SimClient, lock},
};

/// The root of the tree. It is never deleted.
const ROOT: &str = "/tree";
const NODES: [&str; 6] = ["/tree/a", "/tree/a/1", "/tree/a/2", "/tree/b", "/tree/b/1", "/tree"];

/// What a cache has of a node: the zxid of its last write.
type Nodes = Arc<Mutex<BTreeMap<String, i64>>>;

struct Cache {
    client: SimClient,
    mode: AddWatchMode,
    nodes: Nodes,
}

/// Runs the workload.
///
/// # Errors
/// What does not hold.
pub fn persistent_watches(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    sim.create(ROOT);
    let clients = Clients::start(sim, random.usize(1..=4), NO_START_TIMEOUT);
    let end = sim.now() + Duration::from_secs(random.u64(5..40));
    let is_over = Arc::new(Mutex::new(false));
    let mut caches = Vec::new();
    for client in &clients.all {
        for mode in [AddWatchMode::PersistentRecursive, AddWatchMode::Persistent] {
            let nodes = Nodes::default();
            let follower = Follower {
                sim: sim.clone(),
                client: client.clone(),
                mode,
                nodes: nodes.clone(),
                random: sim.random(),
                end,
                is_over: is_over.clone(),
                last_zxid: 0,
                complete: false,
            };
            client.process.spawn(follower.run());
            caches.push(Cache { client: client.clone(), mode, nodes });
        }
        client.process.spawn(write(sim.clone(), client.clone(), sim.random(), end));
        if random.bool() {
            client.process.spawn(read_with_watches(client.clone(), sim.random(), sim.clone(), end));
        }
    }
    clients.run_with_faults(end.saturating_sub(sim.now()), || {})?;
    clients.recover(|| {})?;
    // Nobody writes any more.
    let trees = [AddWatchMode::PersistentRecursive, AddWatchMode::Persistent]
        .map(|mode| (mode, tree(sim, mode, ROOT)));
    let wanted = |mode| trees.iter().find(|(of, _)| *of == mode).map(|(_, tree)| tree);
    let is_right =
        |cache: &Cache| cache.client.is_dead() || Some(&*lock(&cache.nodes)) == wanted(cache.mode);
    let converged = clients.wait_until("all caches are right", clients.session_timeout, || {
        caches.iter().all(is_right)
    });
    if let Some(cache) = caches.iter().find(|cache| !is_right(cache)) {
        return Err(format!(
            "client {}: the cache by {:?} has {:x?}, the server {:x?}",
            cache.client.number,
            cache.mode,
            lock(&cache.nodes),
            wanted(cache.mode)
        ));
    }
    converged?;
    *lock(&is_over) = true;
    // One change more ends the waits of the followers.
    let last = clients.alive().next().map(|client| client.zk.set(ROOT, b"", None));
    sim.run_for(clients.session_timeout, || {})?;
    drop((last, caches));
    clients.check_no_watches()?;
    clients.stop()
}

/// What the server has of what a watch of this mode on the root reports: the tree, or the root and the names
/// of its children.
fn tree(sim: &Sim, mode: AddWatchMode, path: &str) -> BTreeMap<String, i64> {
    let mut nodes = BTreeMap::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Some(stat) = sim.stat(&path) else { continue };
        let is_read = mode == AddWatchMode::PersistentRecursive || path == ROOT;
        if is_read {
            let below = sim.children(&path).unwrap_or_default();
            open.extend(below.iter().map(|name| format!("{path}/{name}")));
        }
        nodes.insert(path, if is_read { stat.mzxid } else { 0 });
    }
    nodes
}

/// Keeps a cache up to date.
struct Follower {
    sim: Sim,
    client: SimClient,
    mode: AddWatchMode,
    nodes: Nodes,
    random: fastrand::Rng,
    end: Duration,
    is_over: Arc<Mutex<bool>>,
    /// The zxid of the last event.
    last_zxid: i64,
    /// Whether no event is missing since then.
    complete: bool,
}

impl Follower {
    async fn run(mut self) {
        while !*lock(&self.is_over) {
            let limit = self.random.usize(1..40);
            let options = AddWatchOptions::new(self.mode).queue_limit(limit);
            match self.client.zk.add_watch(ROOT, options).await {
                Ok(watch) => {
                    self.complete = false;
                    lock(&self.nodes).clear();
                    self.read_all().await;
                    self.follow(watch, limit).await;
                }
                Err(error) => {
                    self.expect(&error);
                    let pause = Duration::from_millis(self.random.u64(1..200));
                    self.client.process.sleep(pause).await;
                }
            }
        }
    }

    /// Follows a watch until it ends, or for a while.
    async fn follow(&mut self, mut watch: PersistentWatch, limit: usize) {
        let mut items = VecDeque::new();
        let is_slow = self.random.u8(..3) == 0;
        loop {
            let Some(item) = watch.next().await else { return };
            items.push_back(item);
            while let Some(item) = watch.try_next() {
                items.push_back(item);
            }
            // The last item is kept in addition.
            if items.len() > limit + 1 {
                let count = items.len();
                self.sim.fail(|| format!("a queue of {limit} items had {count}"));
            }
            while let Some(item) = items.pop_front() {
                self.take(item).await;
                if is_slow {
                    let pause = Duration::from_millis(self.random.u64(..300));
                    self.client.process.sleep(pause).await;
                }
            }
            // Only before the end: the cache that is checked must follow by itself.
            if *lock(&self.is_over) || self.sim.now() < self.end && self.random.u8(..40) == 0 {
                return;
            }
        }
    }

    async fn take(&mut self, item: PersistentWatchEvent) {
        let (client, mode) = (self.client.number, self.mode);
        self.sim.note(|| format!("client {client}, {mode:?}: {item:?}"));
        match item {
            PersistentWatchEvent::Changed(event) => {
                self.check(&event);
                if event.kind == EventType::NodeChildrenChanged
                    || self.mode == AddWatchMode::Persistent
                {
                    self.read_all().await;
                } else {
                    let path = event.path.to_string();
                    self.read(path).await;
                }
            }
            PersistentWatchEvent::Gap { .. } | PersistentWatchEvent::Overflow => {
                self.complete = false;
                self.read_all().await;
            }
            PersistentWatchEvent::Ended(error) => self.expect(&error),
            other => self.sim.fail(|| format!("client {client}: {other:?}")),
        }
    }

    /// Checks that no change is missing between the last event and this one.
    fn check(&mut self, event: &WatchedEvent) {
        let Some(zxid) = event.zxid else { return };
        let (client, mode, last) = (self.client.number, self.mode, self.last_zxid);
        if self.complete {
            if zxid < last || zxid == last && mode == AddWatchMode::PersistentRecursive {
                self.sim.fail(|| format!("client {client}: {event:?} after an event of {last:#x}"));
            }
            let log = self.sim.log();
            let between = log.iter().filter(|it| it.zxid > last && it.zxid < zxid);
            let done = between.filter(|it| it.result == ErrorCode::Ok).flat_map(|it| &it.changes);
            if let Some(missed) = done.clone().find(|change| concerns(change, mode)) {
                self.sim.fail(|| {
                    format!("client {client}, {mode:?}: no event of {missed:?}, before {event:?}")
                });
            }
        }
        (self.last_zxid, self.complete) = (zxid, true);
    }

    /// Reads all that the watch reports. Errors are those of the connection: then a gap follows.
    async fn read_all(&self) {
        let mut read = BTreeMap::new();
        let mut open = vec![ROOT.to_owned()];
        while let Some(path) = open.pop() {
            let is_read = self.mode == AddWatchMode::PersistentRecursive || path == ROOT;
            if !is_read {
                read.insert(path, 0);
                continue;
            }
            let Some(stat) = self.result(self.client.zk.exists(&path)).await else { return };
            let Some(stat) = stat else { continue };
            let names = match self.client.zk.get_children(&path).await {
                Ok(names) => names,
                Err(error) if is_no_node(&error) => continue,
                Err(error) => return self.expect(&error),
            };
            open.extend(names.iter().map(|name| format!("{path}/{name}")));
            read.insert(path, stat.mzxid);
        }
        *lock(&self.nodes) = read;
    }

    async fn read(&self, path: String) {
        match self.result(self.client.zk.exists(&path)).await {
            Some(Some(stat)) => {
                lock(&self.nodes).insert(path, stat.mzxid);
            }
            Some(None) => {
                lock(&self.nodes).remove(&path);
            }
            None => {}
        }
    }

    async fn result<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Option<T> {
        call.await.map_err(|error| self.expect(&error)).ok()
    }

    fn expect(&self, error: &Error) {
        expect(&self.sim, error, &[]);
    }
}

/// Whether a watch of this mode on the root reports a change.
fn concerns(change: &Change, mode: AddWatchMode) -> bool {
    let (path, is_set) = match change {
        Change::Create(path, _) | Change::Delete(path) => (path, false),
        Change::Set(path, _) => (path, true),
    };
    match mode {
        AddWatchMode::PersistentRecursive => path.starts_with(ROOT),
        _ if is_set => path == ROOT,
        _ => path == ROOT || zk_client::path::parent(path) == Some(ROOT),
    }
}

fn is_no_node(error: &Error) -> bool {
    error.kind() == ErrorKind::Server(ErrorCode::NoNode)
}

/// Fails the run if an error is not one of the connection, or one of these of the server.
fn expect(sim: &Sim, error: &Error, allowed: &[ErrorCode]) {
    let is_expected = match error.kind() {
        ErrorKind::ConnectionLoss | ErrorKind::SessionExpired => true,
        ErrorKind::Server(code) => allowed.contains(&code),
        _ => false,
    };
    if !is_expected {
        sim.fail(|| format!("a call ended with {error:?}"));
    }
}

/// Changes the tree now and then.
async fn write(sim: Sim, client: SimClient, mut random: fastrand::Rng, end: Duration) {
    let zk = &client.zk;
    let pace = random.u64(5..1_500);
    while sim.now() < end {
        client.process.sleep(Duration::from_millis(random.u64(..pace))).await;
        let path = NODES[random.usize(..NODES.len())];
        let result = match random.u8(..3) {
            0 if path != ROOT => zk.delete(path, None).await,
            1 if path != ROOT => zk.create(path, b"", CreateMode::Persistent).await.map(drop),
            _ => zk.set(path, b"", None).await.map(drop),
        };
        if let Err(error) = result {
            use ErrorCode::{NoNode, NodeExists, NotEmpty, NotReadOnly};
            expect(&sim, &error, &[NoNode, NodeExists, NotEmpty, NotReadOnly]);
        }
    }
}

/// Arms one-shot watches on the same nodes, and drops them or waits for them.
async fn read_with_watches(client: SimClient, mut random: fastrand::Rng, sim: Sim, end: Duration) {
    let zk: &Client = &client.zk;
    let mut kept = Vec::new();
    let pace = random.u64(5..1_500);
    while sim.now() < end {
        client.process.sleep(Duration::from_millis(random.u64(..pace))).await;
        let path = NODES[random.usize(..NODES.len())];
        let armed = match random.u8(..3) {
            0 => zk.exists_and_watch(path).await.map(|(_, watch)| watch),
            1 => zk.get_and_watch(path).await.map(|(_, _, watch)| watch),
            _ => zk.get_children_and_watch(path).await.map(|(_, _, watch)| watch),
        };
        match armed {
            Ok(watch) if random.bool() => kept.push(watch),
            Ok(_) => {}
            Err(error) => expect(&sim, &error, &[ErrorCode::NoNode]),
        }
        if random.u8(..10) == 0 {
            kept.clear();
        }
    }
}
