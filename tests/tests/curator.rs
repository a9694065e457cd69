//! Locks that are shared with Curator, on ZooKeeper and on the embedded server.
//!
//! `tests/java/CuratorClient.java` is a program that uses Curator and executes commands. It needs the jars
//! that `tests/jars/fetch.sh` fetches, and a JDK, so only `tests/extended.sh` runs these tests.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use zk_client::{
    AsyncResult, Client, OPEN_ACL_UNSAFE, ThreadHandler,
    recipes::{Lock, LockGuard, LockOptions, ReadLock, Semaphore, WriteLock},
};
use zk_server::TestServer;
use zk_tests::{java_program, shared_ensemble};

const LIMIT: Duration = Duration::from_secs(60);
/// Timeouts in milliseconds, for an acquire that must fail and for one that must succeed.
const SHORT: &str = "400";
const LONG: &str = "20000";

const THREADS: usize = 4;
const ROUNDS: usize = 25;

/// A process that uses Curator.
struct CuratorProcess {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl CuratorProcess {
    fn connect(hosts: &str) -> Self {
        let mut process = java_program("CuratorClient.java")
            .arg(hosts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java");
        let commands = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut process = Self { process, commands, answers };
        assert_eq!(process.answer(), "ready");
        process
    }

    fn tell(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).expect("Curator listens");
    }

    fn answer(&mut self) -> String {
        loop {
            let line = self.answers.next().expect("Curator answers").expect("a line");
            // Other lines are log output.
            if let Some(answer) = line.strip_prefix("> ") {
                return answer.to_owned();
            }
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }
}

impl Drop for CuratorProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// ZooKeeper or the embedded server, with both clients connected.
struct ServerWithClients {
    zk: Client,
    curator: CuratorProcess,
    _server: Option<TestServer>,
}

impl ServerWithClients {
    fn all() -> [Self; 2] {
        let embedded = TestServer::start().expect("a port");
        [(shared_ensemble().hosts(), None), (embedded.hosts(), Some(embedded))].map(
            |(hosts, server)| {
                let curator = CuratorProcess::connect(&hosts);
                let builder = Client::builder().hosts(hosts).default_acl(&OPEN_ACL_UNSAFE);
                let zk = builder.connect_on(ThreadHandler::new()).get().expect("a session");
                Self { zk, curator, _server: server }
            },
        )
    }
}

/// Starts to acquire a lock of this library. `kind` is Curator's name of the lock.
fn acquire(zk: &Client, kind: &str, path: &str) -> AsyncResult<LockGuard> {
    let options = LockOptions::curator().identifier("ours");
    match kind {
        "mutex" => Lock::with_options(zk, path, options).acquire_timeout(LIMIT),
        "read" => ReadLock::with_options(zk, path, options).acquire_timeout(LIMIT),
        _ => WriteLock::with_options(zk, path, options).acquire_timeout(LIMIT),
    }
}

/// Whether two kinds of locks can be held at once.
fn share(one: &str, other: &str) -> bool {
    (one, other) == ("read", "read")
}

const PAIRS: [(&str, &str); 5] = [
    ("mutex", "mutex"),
    ("write", "write"),
    ("write", "read"),
    ("read", "write"),
    ("read", "read"),
];

#[test]
fn curator_and_this_client_wait_for_each_other() {
    for ServerWithClients { zk, mut curator, _server } in ServerWithClients::all() {
        for (ours, theirs) in PAIRS {
            let path = format!("/each/{ours}-{theirs}");
            let guard = acquire(&zk, ours, &path).get().expect("a free lock");
            let beside = curator.ask(&format!("acquire {theirs} {path} {SHORT}"));
            if share(ours, theirs) {
                assert_eq!(beside, "held", "Curator's {theirs} beside our {ours}");
                assert_eq!(curator.ask(&format!("release {theirs} {path}")), "released");
            } else {
                assert_eq!(beside, "timeout", "Curator's {theirs} beside our {ours}");
            }
            // Curator is notified of the release.
            curator.tell(&format!("acquire {theirs} {path} {LONG}"));
            guard.release().get().expect("a release");
            assert_eq!(curator.answer(), "held", "{theirs} after {ours}");

            let waiting = acquire(&zk, ours, &path);
            if share(ours, theirs) {
                waiting.get().expect("it is shared").release().get().expect("a release");
                assert_eq!(curator.ask(&format!("release {theirs} {path}")), "released");
            } else {
                thread::sleep(Duration::from_millis(300));
                assert!(!waiting.ready(), "our {ours} beside Curator's {theirs}");
                assert_eq!(curator.ask(&format!("release {theirs} {path}")), "released");
                waiting.get().expect("our turn").release().get().expect("a release");
            }
            assert!(zk.get_children(&path).get().expect("the nodes").is_empty());
        }
    }
}

/// Enters and leaves the critical section. Returns whether no other holder was there. `CuratorClient` does
/// the same.
fn visit(directory: &Path, alone: bool) -> bool {
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = if alone { "alone".to_owned() } else { format!("shared-{number}") };
    let own = directory.join(name);
    let made = match fs::File::create_new(&own) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => panic!("{}: {error}", own.display()),
    };
    let others = fs::read_dir(directory).expect("a directory").any(|entry| {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        if alone { name.starts_with("shared-") } else { name == "alone" }
    });
    thread::sleep(Duration::from_millis(1));
    if made {
        fs::remove_file(own).expect("no other holder removes it");
    }
    made && !others
}

/// A new directory for marker files.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// Contends together with Curator. Returns how often the critical section was entered on both sides, and how
/// often another holder was there.
fn contend(
    server: &mut ServerWithClients,
    kind: &str,
    path: &str,
    acquire: fn(&Client, &str, &str) -> AsyncResult<LockGuard>,
) -> (usize, usize) {
    let directory = directory(&path.replace('/', "-"));
    let command = format!("contend {kind} {path} {THREADS} {ROUNDS} {}", directory.display());
    server.curator.tell(&command);
    let overlaps = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (zk, directory, overlaps) = (&server.zk, &directory, &overlaps);
            let kind = match kind {
                "sides" if n % 2 == 0 => "write",
                "sides" => "read",
                kind => kind,
            };
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let guard = acquire(zk, kind, path).get().expect("a turn");
                    if !visit(directory, kind != "read") {
                        overlaps.fetch_add(1, Ordering::Relaxed);
                    }
                    guard.release().get().expect("a release");
                }
            });
        }
    });
    let answer = server.curator.answer();
    let (entries, theirs) = answer.split_once(' ').expect("two numbers");
    let entries: usize = entries.parse().expect("a number");
    let theirs: usize = theirs.parse().expect("a number");
    (entries + THREADS * ROUNDS, theirs + overlaps.into_inner())
}

#[test]
fn holders_never_overlap_under_contention() {
    for mut server in ServerWithClients::all() {
        for kind in ["mutex", "write", "sides"] {
            let (entries, overlaps) =
                contend(&mut server, kind, &format!("/crowd-{kind}"), acquire);
            assert_eq!((entries, overlaps), (2 * THREADS * ROUNDS, 0), "{kind}");
        }
        // The check detects overlaps, here with nodes that Curator does not wait for.
        let blind = |zk: &Client, _: &str, path: &str| {
            let options = LockOptions::default().extra_lock_pattern("-lock-");
            Lock::with_options(zk, path, options).acquire_timeout(LIMIT)
        };
        let (entries, overlaps) = contend(&mut server, "mutex", "/crowd-blind", blind);
        assert_eq!(entries, 2 * THREADS * ROUNDS);
        assert!(overlaps > 0, "Curator waits for kazoo's nodes");
    }
}

#[test]
fn a_curator_semaphore_is_refused() {
    for ServerWithClients { zk, mut curator, _server } in ServerWithClients::all() {
        assert_eq!(curator.ask("lease /curators-semaphore 2"), "held");
        for result in [
            Semaphore::new(&zk, "/curators-semaphore").acquire().get().map(drop),
            Semaphore::new(&zk, "/curators-semaphore").try_acquire().get().map(drop),
            acquire(&zk, "mutex", "/curators-semaphore").get().map(drop),
        ] {
            let error = result.expect_err("it cannot be shared");
            assert_eq!(error.kind(), zk_client::ErrorKind::InvalidInput, "{error}");
        }
        let mut children = zk.get_children("/curators-semaphore").get().expect("the nodes");
        children.sort();
        assert_eq!(children, ["leases", "locks"]);
    }
}
