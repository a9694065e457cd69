//! Tasks of a client that run late, after the session that they worked in has expired and the next one is there.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use zk_client::{Client, CreateMode, Handler, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{HOSTS, Sim, SimHandler, SimStream};

/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(5);

/// A process whose tasks can be delayed, except for the first one, which is the driver of the client.
#[derive(Clone)]
struct Gated {
    process: SimHandler,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    has_driver: AtomicBool,
    is_shut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gated {
    fn new(sim: &Sim) -> Self {
        Self { process: sim.process(), gate: Arc::default() }
    }

    fn shut(&self) {
        self.gate.is_shut.store(true, Ordering::Relaxed);
    }

    fn open(&self) {
        self.gate.is_shut.store(false, Ordering::Relaxed);
        self.gate.waiting().drain(..).for_each(Waker::wake);
    }
}

impl Gate {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `task` while the gate is open.
    async fn pass(&self, task: impl Future<Output = ()>) {
        let mut task = pin!(task);
        poll_fn(|context| {
            if self.is_shut.load(Ordering::Relaxed) {
                self.waiting().push(context.waker().clone());
                return Poll::Pending;
            }
            task.as_mut().poll(context)
        })
        .await;
    }
}

impl Handler for Gated {
    type Stream = SimStream;

    fn name(&self) -> &'static str {
        self.process.name()
    }

    fn now(&self) -> Duration {
        self.process.now()
    }

    fn random(&self) -> u64 {
        self.process.random()
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        self.process.connect(address).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.process.resolve(host, port).await
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.process.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.gate.has_driver.swap(true, Ordering::Relaxed) {
            let gate = self.gate.clone();
            self.process.spawn(async move { gate.pass(task).await });
        } else {
            self.process.spawn(task);
        }
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.process.dispatch(job);
    }
}

/// Runs until `done` returns true.
#[track_caller]
fn run_until(sim: &Sim, done: impl FnMut() -> bool) {
    assert_eq!(sim.run_until(sim.now() + LIMIT, done), Ok(true));
}

/// Returns a connected client.
#[track_caller]
fn connected(sim: &Sim, handler: impl Handler) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(handler).expect("the options are valid");
    drop(client.start());
    run_until(sim, || client.connected());
    client
}

/// Ends the session of `client`, and waits for the next one.
#[track_caller]
fn lose_session(sim: &Sim, client: &Client) {
    let session = client.session_id().expect("the client has a session");
    sim.end_session(session);
    run_until(sim, || client.connected() && client.session_id() != Some(session));
}

/// A lock that was held in one session is not held in the next one.
#[test]
fn lock_is_not_held_in_the_next_session() {
    let sim = Sim::new(0, None);
    let process = Gated::new(&sim);
    let client = connected(&sim, process.clone());
    let acquiring = Lock::new(&client, "/lock").acquire();
    run_until(&sim, || acquiring.ready());
    let guard = acquiring.value().expect("the lock is free");
    assert!(guard.is_held());
    // The task that tells the guard of the loss of its session is delayed.
    process.shut();
    lose_session(&sim, &client);
    assert!(!guard.lost().is_set() && !client.held_for().is_zero());
    assert!(!guard.is_held() && guard.held_for().is_zero());
    process.open();
    run_until(&sim, || guard.lost().is_set());
    assert!(!guard.is_held());
    sim.end();
}

/// A contender that learns of its node only in the next session does not hold the lock, even if the node is the first
/// in line: an ensemble may report the end of a session before its nodes are deleted.
#[test]
fn node_of_the_last_session_does_not_hold_the_lock() {
    let sim = Sim::new(0, None);
    let process = Gated::new(&sim);
    let (client, other) = (connected(&sim, process.clone()), connected(&sim, sim.process()));
    sim.create("/lock");
    let acquiring = Lock::new(&client, "/lock").acquire();
    let nodes = || sim.children("/lock").expect("the path exists");
    run_until(&sim, || nodes().len() == 1);
    let node = nodes().remove(0);
    // The reply is in transit.
    process.shut();
    lose_session(&sim, &client);
    assert_eq!(nodes(), [""; 0]);
    // Stands in for the node, which the embedded server has deleted at once.
    let remains = other.create(format!("/lock/{node}"), b"", CreateMode::Ephemeral);
    run_until(&sim, || remains.ready());
    process.open();
    run_until(&sim, || nodes().len() == 2);
    sim.run_for(LIMIT, || {}).expect("no rule is violated");
    assert!(!acquiring.ready());
    drop(other.delete(format!("/lock/{node}"), None));
    run_until(&sim, || acquiring.ready());
    assert!(acquiring.value().expect("the lock is free").is_held());
    sim.end();
}
