//! Runs the servers and the workers, and injects faults.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    mem,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use zk_client::{OPEN_ACL_UNSAFE, blocking::Client};
use zk_handler::boottime;
use zk_handler_thread::ThreadHandler;
use zk_tests::{Direction, Ensemble, Proxy, eventually};

use crate::{
    FENCED, LOCK, SESSION_TIMEOUT,
    checker::{Checker, Summary},
    held_lock::LockKind,
};

const RUNTIMES: [&str; 4] = ["tokio", "smol", "async-std", "thread"];

/// The timeout of every wait after the faults.
const LIMIT: Duration = Duration::from_secs(90);

/// The seed of the faults, and how long they last.
pub(crate) struct FaultPlan {
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
}

/// A process with clients, and its own proxies in front of the servers.
struct Worker {
    process: Mutex<Child>,
    proxies: Vec<Proxy>,
}

struct FaultRun {
    ensemble: Ensemble,
    workers: Vec<Worker>,
    checker: Mutex<Checker>,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    over: AtomicBool,
    deadline: Instant,
}

/// Runs the workload under faults, and checks it.
pub(crate) fn run(plan: &FaultPlan, kind: LockKind, clients: usize) -> Summary {
    let ensemble = Ensemble::of(3);
    let zk = connect(&ensemble);
    zk.ensure_path(LOCK).expect("a node");
    zk.ensure_path(FENCED).expect("a node");
    zk.stop().expect("a stop");

    let mut readers = Vec::new();
    let workers = RUNTIMES
        .iter()
        .map(|runtime| {
            let proxies: Vec<_> =
                ensemble.nodes().iter().map(|node| Proxy::new(node.address())).collect();
            let hosts: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
            let mut process = Command::new(env::current_exe().expect("this program"))
                .args(["--clients", &clients.to_string(), "--lock", kind.name()])
                .args(["--worker", runtime, &hosts.join(",")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a worker");
            readers.extend(process.stdout.take());
            Worker { process: Mutex::new(process), proxies }
        })
        .collect();
    let run = FaultRun {
        ensemble,
        workers,
        checker: Mutex::default(),
        faults: Mutex::default(),
        over: AtomicBool::new(false),
        deadline: Instant::now() + plan.duration,
    };
    thread::scope(|scope| {
        for (worker, output) in readers.into_iter().enumerate() {
            let checker = &run.checker;
            scope.spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let event = line.parse().unwrap_or_else(|_| panic!("no event: {line}"));
                    lock(checker).take(worker, event);
                }
            });
        }
        run.wait_for_progress(clients, "at first").unwrap_or_else(|error| panic!("{error}"));
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let to_clients = random.fork();
        thread::scope(|scope| {
            scope.spawn(|| run.inject_server_faults(random));
            scope.spawn(|| run.inject_client_faults(to_clients));
            while Instant::now() < run.deadline && !run.over.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(500));
                let broken = !lock(&run.checker).violations().is_empty();
                run.over.store(broken, Ordering::Release);
            }
            run.over.store(true, Ordering::Release);
        });
        let found = lock(&run.checker).violations();
        let left = if found.is_empty() { run.finish(clients) } else { run.abandon() };
        let faults = mem::take(&mut *lock(&run.faults));
        lock(&run.checker).summary(faults, left)
    })
}

impl FaultRun {
    /// Waits for `duration`. Returns whether to inject more faults.
    fn continue_after(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            if self.over.load(Ordering::Acquire) {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        !self.over.load(Ordering::Acquire)
    }

    fn count(&self, fault: &'static str) {
        *lock(&self.faults).entry(fault).or_default() += 1;
    }

    /// Kills or pauses one server at a time, so that there is a quorum most of the time.
    fn inject_server_faults(&self, mut random: fastrand::Rng) {
        while self.continue_after(session_timeouts(&mut random, 1.0, 3.0)) {
            let leads = random.bool();
            let leader = self.ensemble.leader();
            let at = if leads { leader } else { (leader + 1) % self.ensemble.len() };
            let node = self.ensemble.node(at);
            if random.u8(..) < 160 {
                self.count(if leads { "leader killed" } else { "follower killed" });
                node.kill();
                self.continue_after(session_timeouts(&mut random, 0.2, 1.0));
                node.start();
            } else {
                self.count(if leads { "leader paused" } else { "follower paused" });
                node.pause();
                self.continue_after(session_timeouts(&mut random, 0.3, 1.5));
                node.resume();
            }
            self.ensemble.wait_serving();
        }
    }

    fn inject_client_faults(&self, mut random: fastrand::Rng) {
        while self.continue_after(session_timeouts(&mut random, 0.1, 0.8)) {
            // Mostly the worker that holds the lock.
            let holder = lock(&self.checker).holder;
            let at = if random.u8(..) < 192 { holder } else { random.usize(..self.workers.len()) };
            let worker = &self.workers[at];
            match random.u8(..100) {
                0..40 => {
                    self.count("cut in a frame");
                    let direction =
                        if random.bool() { Direction::ToClient } else { Direction::ToServer };
                    let proxy = &worker.proxies[random.usize(..worker.proxies.len())];
                    proxy.drop_after(direction, random.usize(1..500));
                }
                40..50 => {
                    self.count("reset");
                    worker.proxies[random.usize(..worker.proxies.len())].cut_rst();
                }
                50..60 => {
                    self.count("session closed");
                    self.end_a_session(&mut random);
                }
                60..80 => {
                    self.count("network stalled");
                    for proxy in &worker.proxies {
                        proxy.hold(Direction::ToServer);
                        proxy.hold(Direction::ToClient);
                    }
                    self.continue_after(session_timeouts(&mut random, 0.3, 2.0));
                    worker.proxies.iter().for_each(Proxy::release);
                }
                _ => {
                    self.count("process paused");
                    worker.signal(Signal::STOP);
                    self.continue_after(session_timeouts(&mut random, 1.5, 2.5));
                    worker.signal(Signal::CONT);
                }
            }
        }
    }

    /// Closes a client's session on the servers.
    fn end_a_session(&self, random: &mut fastrand::Rng) {
        let (id, password) = {
            let mut checker = lock(&self.checker);
            let mut sessions: Vec<_> = checker.sessions.values().cloned().collect();
            sessions.sort_unstable();
            let Some((id, password)) = random.choice(sessions) else { return };
            checker.will_end(id, boottime());
            (id, password)
        };
        // It may have expired just now.
        let resumed = self.ensemble.nodes().iter().find_map(|node| {
            zk_tests::minimal_client::Session::resume(node.address(), id, &password).ok().flatten()
        });
        if let Some(session) = resumed {
            let _ = session.close();
        }
    }

    /// Waits until every client has acquired the lock once more.
    fn wait_for_progress(&self, clients: usize, when: &str) -> Result<(), String> {
        let before = lock(&self.checker).acquired.clone();
        let ids = (0..self.workers.len()).flat_map(|worker| (0..clients).map(move |c| (worker, c)));
        let mut waiting: Vec<_> = ids.collect();
        let deadline = Instant::now() + LIMIT;
        loop {
            let acquired = lock(&self.checker).acquired.clone();
            waiting.retain(|id| acquired.get(id) <= before.get(id));
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("no progress {when}: {waiting:?} do not get the lock"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills all workers, because there is a violation already.
    fn abandon(&self) -> Vec<String> {
        self.workers.iter().for_each(Worker::kill);
        Vec::new()
    }

    /// Stops all clients, and returns what they have left behind.
    fn finish(&self, clients: usize) -> Vec<String> {
        let mut broken = Vec::new();
        self.ensemble.wait_serving();
        broken.extend(self.wait_for_progress(clients, "after the faults").err());
        for worker in &self.workers {
            drop(lock(&worker.process).stdin.take());
        }
        for (worker, runtime) in self.workers.iter().zip(RUNTIMES) {
            let ended = || lock(&worker.process).try_wait().ok()?;
            let status = eventually(LIMIT, "a worker to end", ended);
            if !status.success() {
                broken.push(format!("the worker on {runtime} left something behind: {status}"));
            }
        }
        for node in self.ensemble.nodes() {
            let watches = node.four_letter_word("wchs");
            if !watches.contains("Total watches:0") {
                broken.push(format!("watches are left on a server: {watches}"));
            }
        }
        let nodes = self.nodes_left();
        if !nodes.is_empty() {
            broken.push(format!("nodes are left: {nodes:?}"));
        }
        broken
    }

    fn nodes_left(&self) -> Vec<String> {
        let zk = connect(&self.ensemble);
        zk.sync(LOCK).expect("a sync");
        let left = zk.get_children(LOCK).expect("the children");
        zk.stop().expect("a stop");
        left.iter().map(ToString::to_string).collect()
    }
}

impl Worker {
    fn kill(&self) {
        let mut process = lock(&self.process);
        let _ = process.kill();
        let _ = process.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(lock(&self.process).id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("a signal to an own child");
    }
}

impl Drop for Worker {
    /// There is a worker left only if something has failed.
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that is connected to the servers directly.
fn connect(ensemble: &Ensemble) -> Client {
    let zk = zk_client::Client::builder().hosts(ensemble.hosts()).default_acl(&OPEN_ACL_UNSAFE);
    zk.connect_on(ThreadHandler::new()).get().map(Client::from).expect("a session")
}

/// A random duration from `least` to `most` session timeouts.
fn session_timeouts(random: &mut fastrand::Rng, least: f64, most: f64) -> Duration {
    SESSION_TIMEOUT.mul_f64(least + (most - least) * random.f64())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
