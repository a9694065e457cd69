//! What a client's tasks must not take for granted when they run late: meanwhile the session that they worked in
//! has expired, and the next one is there.

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

/// A process whose tasks can be held up, all but the first: that one drives its client.
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

    /// Runs `task` while this is open.
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

/// Lets time pass until `done`.
#[track_caller]
fn until(sim: &Sim, done: impl FnMut() -> bool) {
    assert_eq!(sim.run_until(sim.now() + LIMIT, done), Ok(true));
}

/// A client that is connected.
#[track_caller]
fn connected(sim: &Sim, handler: impl Handler) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(handler).expect("options that can be");
    drop(client.start());
    until(sim, || client.connected());
    client
}

/// Ends the session of `client`, and waits for the next one.
#[track_caller]
fn lose_session(sim: &Sim, client: &Client) {
    let session = client.session_id().expect("it has a session");
    sim.end_session(session);
    until(sim, || client.connected() && client.session_id() != Some(session));
}

/// The next session is held as well, but not what was held in the one before.
#[test]
fn the_next_session_holds_no_lock_of_the_last() {
    let sim = Sim::new(0, None);
    let process = Gated::new(&sim);
    let client = connected(&sim, process.clone());
    let acquiring = Lock::new(&client, "/lock").acquire();
    until(&sim, || acquiring.ready());
    let guard = acquiring.value().expect("it is free");
    assert!(guard.is_held());
    // Nobody has told the guard that its session is lost.
    process.shut();
    lose_session(&sim, &client);
    assert!(!guard.lost().is_set() && !client.held_for().is_zero());
    assert!(!guard.is_held() && guard.held_for().is_zero());
    process.open();
    until(&sim, || guard.lost().is_set());
    assert!(!guard.is_held());
    sim.end();
}

/// A contender who learns of its node only in the next session does not hold by it, though it is the first in line:
/// an ensemble may tell of the end of a session before the nodes are gone.
#[test]
fn a_node_of_the_last_session_is_no_turn() {
    let sim = Sim::new(0, None);
    let process = Gated::new(&sim);
    let (client, other) = (connected(&sim, process.clone()), connected(&sim, sim.process()));
    sim.create("/lock");
    let acquiring = Lock::new(&client, "/lock").acquire();
    let nodes = || sim.children("/lock").expect("it is there");
    until(&sim, || nodes().len() == 1);
    let node = nodes().remove(0);
    // The reply is under way.
    process.shut();
    lose_session(&sim, &client);
    assert_eq!(nodes(), [""; 0]);
    // It takes the place of what the embedded server has deleted at once.
    let remains = other.create(format!("/lock/{node}"), b"", CreateMode::Ephemeral);
    until(&sim, || remains.ready());
    process.open();
    until(&sim, || nodes().len() == 2);
    sim.run_for(LIMIT, || {}).expect("all is well");
    assert!(!acquiring.ready());
    drop(other.delete(format!("/lock/{node}"), None));
    until(&sim, || acquiring.ready());
    assert!(acquiring.value().expect("its turn").is_held());
    sim.end();
}
