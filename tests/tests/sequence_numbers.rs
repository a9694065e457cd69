//! Sequence numbers at their limit, on ZooKeeper and on the embedded server, and recipes that use them.

use std::time::Duration;

use zk_client::{
    AsyncResult, Client, CreateMode, CreateOptions, Error, ErrorKind, OPEN_ACL_UNSAFE,
    OperationResult, ThreadHandler,
    recipes::{Lease, Lock, LockGuard, ReadLock, Semaphore, WriteLock},
};
use zk_server::TestServer;
use zk_tests::{Ensemble, eventually};

const LIMIT: Duration = Duration::from_secs(20);
/// The number of concurrent acquires.
const CROWD: usize = 20;

enum Server {
    Real(Ensemble),
    Embedded(TestServer),
}

impl Server {
    fn both() -> [Self; 2] {
        let embedded = TestServer::start().expect("a port");
        [Self::Real(Ensemble::standalone()), Self::Embedded(embedded)]
    }

    fn client(&self) -> Client {
        let hosts = match self {
            Self::Real(server) => server.hosts(),
            Self::Embedded(server) => server.hosts(),
        };
        let builder = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE);
        builder.connect_on(ThreadHandler::new()).get().expect("a session")
    }

    /// Sets the sequence number of the next sequential child of `path` to `next`.
    fn set_sequence(&self, path: &str, next: i32) {
        match self {
            Self::Real(server) => server.set_sequence(path, next),
            Self::Embedded(server) => assert!(server.set_sequence(path, next)),
        }
    }
}

/// The result of a call, which is retried until there is a connection.
fn retried<T, R>(zk: &Client, call: impl FnMut(&Client) -> R + Send + 'static) -> Result<T, Error>
where
    T: Clone + Send + 'static,
    R: Future<Output = Result<T, Error>> + Send + 'static,
{
    zk.retry(call).get()
}

#[test]
fn the_counter_stays_at_its_limit_and_wraps_in_a_transaction() {
    let steps = Server::both().map(|server| {
        let zk = server.client();
        zk.create("/l", b"", CreateMode::Persistent).get().expect("a node");
        server.set_sequence("/l", i32::MAX - 1);
        let mut steps = Vec::new();
        let stat = |steps: &mut Vec<String>| {
            let stat = retried(&zk, |zk| zk.exists("/l")).expect("a stat").expect("it is there");
            steps.push(format!("{} {}", stat.cversion, stat.num_children));
        };
        stat(&mut steps);
        for name in ["a", "a", "a", "b"] {
            let path = format!("/l/{name}-");
            let created = zk.create(path, b"", CreateMode::EphemeralSequential).get();
            steps.push(created.map_or_else(|error| format!("{:?}", error.code()), String::from));
            stat(&mut steps);
        }
        let options = CreateOptions::ephemeral().sequence();
        let transaction = zk.transaction().create("/l/a-", b"", &options);
        let transaction =
            transaction.create("/l/c-", b"", &options).delete("/l/b-2147483647", None);
        let results = transaction.create("/l/a-", b"", &options).commit().get().expect("results");
        steps.extend(results.iter().map(|result| match result {
            Ok(OperationResult::Created(path)) => path.to_string(),
            other => format!("{:?}", other.as_ref().map_err(|error| error.code())),
        }));
        stat(&mut steps);
        let transaction = zk.transaction().create("/l/d-", b"", &options);
        let results = transaction.create("/l/d-", b"", &options).commit().get().expect("results");
        steps.extend(results.iter().map(|result| match result {
            Ok(OperationResult::Created(path)) => path.to_string(),
            other => format!("{:?}", other.as_ref().map_err(|error| error.code())),
        }));
        stat(&mut steps);
        steps
    });
    assert!(steps[0].contains(&"/l/d--2147483648".to_owned()), "{:?}", steps[0]);
    assert_eq!(steps[1], steps[0]);
}

/// A lock or a lease that is held.
enum Held {
    Lock(LockGuard),
    Lease(Lease),
}

impl Held {
    fn release(self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.release().get(),
            Self::Lease(lease) => lease.release().get(),
        }
    }
}

/// A lock or a lease that is waited for.
enum Waiting {
    Lock(AsyncResult<LockGuard>),
    Lease(AsyncResult<Lease>),
}

impl Waiting {
    fn get(self) -> Result<Held, Error> {
        match self {
            Self::Lock(lock) => lock.get().map(Held::Lock),
            Self::Lease(lease) => lease.get().map(Held::Lease),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Lock(lock) => lock.ready(),
            Self::Lease(lease) => lease.ready(),
        }
    }
}

type Acquire = fn(&Client, &str) -> Waiting;

/// Each kind of lock: how to acquire it, its path, and the parent of the contenders' nodes.
const RECIPES: [(Acquire, &str, &str); 4] = [
    (|zk, path| Waiting::Lock(Lock::new(zk, path).acquire_timeout(LIMIT)), "/lock", "/lock"),
    (|zk, path| Waiting::Lock(ReadLock::new(zk, path).acquire_timeout(LIMIT)), "/read", "/read"),
    (|zk, path| Waiting::Lock(WriteLock::new(zk, path).acquire_timeout(LIMIT)), "/write", "/write"),
    (
        |zk, path| Waiting::Lease(Semaphore::new(zk, path).acquire_timeout(LIMIT)),
        "/semaphore",
        "/semaphore-__lock__",
    ),
];

fn nodes(zk: &Client, path: &'static str) -> usize {
    retried(zk, move |zk| zk.get_children(path)).expect("the nodes").len()
}

#[test]
fn an_acquire_fails_when_sequence_numbers_are_exhausted() {
    for server in Server::both() {
        let (zk, other) = (server.client(), server.client());
        for (acquire, path, queue) in RECIPES {
            retried(&zk, move |zk| zk.ensure_path(queue)).expect("a parent");
            server.set_sequence(queue, i32::MAX - 2);
            let writer = match path {
                "/read" => WriteLock::new(&zk, path).acquire().get().map(Held::Lock),
                _ => acquire(&zk, path).get(),
            };
            let holder = writer.expect("the number before the last but one");
            let waiter = acquire(&other, path);
            let in_queue = if path == "/semaphore" { 1 } else { 2 };
            eventually(LIMIT, "the last one to wait", || {
                (nodes(&zk, queue) == in_queue).then_some(())
            });
            assert!(!waiter.is_ready());
            // Some of these concurrent acquires get wrapped numbers from ZooKeeper.
            let crowd: Vec<_> = (0..CROWD).map(|_| acquire(&zk, path)).collect();
            for latecomer in crowd {
                let Err(error) = latecomer.get() else { panic!("{path}: two hold it") };
                assert_eq!(error.kind(), ErrorKind::SequenceExhausted, "{error}");
                assert!(error.to_string().contains(&format!("delete {queue} when")), "{error}");
            }
            assert_eq!(nodes(&zk, queue), in_queue, "{path}: what is left of them");
            assert!(!waiter.is_ready(), "{path}");
            holder.release().expect("a release");
            waiter.get().expect("its turn").release().expect("a release");
            assert!(acquire(&zk, path).get().is_err(), "{path}: free, and out of numbers");
            eventually(LIMIT, "no node", || (nodes(&zk, queue) == 0).then_some(()));

            // Deleting the node resets the numbers.
            zk.delete(queue, None).get().expect("it is empty");
            let held = acquire(&zk, path).get().expect("it begins at 0 again");
            held.release().expect("a release");
        }
    }
}
