//! Many contenders for one lock, in comparison with kazoo: the time from a release to the next acquisition, and the
//! number of events that the server sends.
//!
//! ```sh
//! cargo bench -p zk-benches --bench locks               # 1,000 contenders
//! cargo bench -p zk-benches --bench locks -- 100        # 100 contenders
//! ```
//!
//! The contenders are spread over ten sessions. All wait for one holder; after its release, each contender releases the
//! lock as soon as it has acquired it. The server is standalone and does not sync its writes to the disk.
//!
//! `events` is the number of watch events per release that the server counts. This client has one more in total, because
//! the first holder holds the lock long enough to watch its own node. Handing over the lock takes a delete, an event, and
//! a list of the contenders. `delete` and `children` are the round trips of a delete and of such a list, measured alone
//! before the contest, with as many children as there are contenders. They are the same for both clients.
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use zk_benches::{block_on, percentile};
use zk_client::{
    Client, CreateMode, OPEN_ACL_UNSAFE,
    recipes::{Lock, LockGuard},
};
use zk_tests::Ensemble;

const CLIENTS: usize = 10;
/// How many times a round trip is measured.
const SAMPLES: usize = 300;

/// When a contender acquired the lock and when it released it, on a monotonic clock.
type Holding = (Duration, Duration);

fn main() {
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    let contenders = args.next().map_or(1000, |count| count.parse().expect("a number"));
    let server = Ensemble::standalone();
    println!(
        "{contenders} contenders\n{:<10} {:>10} {:>10} {:>10} {:>14}",
        "client", "p50 us", "p99 us", "events", "p50/(d+c)"
    );
    let hosts = server.hosts();
    let (delete, children) = block_on(2, {
        let hosts = hosts.clone();
        async move { round_trips(&hosts, contenders).await }
    });
    let mut medians = Vec::new();
    let before = events(&server);
    let ours = block_on(2, async move { contest(&hosts, contenders).await });
    medians.push(row("zk-client", &ours, events(&server) - before, delete + children));
    let before = events(&server);
    let kazoo = kazoo(&server.hosts(), contenders);
    medians.push(row("kazoo", &kazoo, events(&server) - before, delete + children));
    println!("{:<10} {:>10.2}", "ratio", medians[0] / medians[1]);
    println!("\nround trips, p50: delete {delete:.0} us, children {children:.0} us");
}

/// Prints the time that a handover takes. Returns the median.
fn row(name: &str, holdings: &[Holding], events: u64, trips: f64) -> f64 {
    let mut handed: Vec<u32> = holdings
        .windows(2)
        .map(|pair| pair[1].0.saturating_sub(pair[0].1))
        .map(|gap| u32::try_from(gap.as_nanos()).unwrap_or(u32::MAX))
        .collect();
    handed.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| f64::from(percentile(&handed, percent)) / 1e3);
    let per_release = events as f64 / handed.len() as f64;
    println!("{name:<10} {p50:>10.0} {p99:>10.0} {per_release:>10.3} {:>14.2}", p50 / trips);
    p50
}

/// The number of watch events that the server has sent so far.
fn events(server: &Ensemble) -> u64 {
    let mntr = server.node(0).four_letter_word("mntr");
    let of = |event: &str| {
        let key = format!("zk_sum_node_{event}_watch_count\t");
        let line = mntr.lines().find_map(|line| line.strip_prefix(&key));
        line.and_then(|sum| sum.parse::<u64>().ok()).expect("the server counts events")
    };
    ["created", "deleted", "changed", "children"].map(of).iter().sum()
}

async fn connect(hosts: &str) -> Client {
    let zk = Client::builder().hosts(hosts).session_timeout(Duration::from_secs(30));
    zk.default_acl(&OPEN_ACL_UNSAFE).connect().await.expect("a session")
}

/// The median round trips of a delete and of a list of `count` children, in microseconds.
async fn round_trips(hosts: &str, count: usize) -> (f64, f64) {
    let zk = connect(hosts).await;
    zk.create("/trips", b"", CreateMode::Persistent).await.expect("a node");
    // Names as long as those of contenders.
    let name = |number: usize| format!("/trips/{:032x}__lock__{number:010}", id_like(number));
    let made: Vec<_> =
        (0..count + SAMPLES).map(|n| zk.create(name(n), b"", CreateMode::Ephemeral)).collect();
    for node in made {
        node.await.expect("a node");
    }
    let (mut deletes, mut reads) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        let start = Instant::now();
        zk.delete(name(number), None).await.expect("a node to delete");
        deletes.push(elapsed(start));
    }
    for _ in 0..SAMPLES {
        let start = Instant::now();
        zk.get_children("/trips").await.expect("the children");
        reads.push(elapsed(start));
    }
    zk.stop().await.expect("a stop");
    deletes.sort_unstable();
    reads.sort_unstable();
    let median = |trips: &[u32]| f64::from(percentile(trips, 50)) / 1e3;
    (median(&deletes), median(&reads))
}

/// A number that looks like a random id.
const fn id_like(number: usize) -> u128 {
    (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn elapsed(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// Runs the contest with this client: a task for each contender.
async fn contest(hosts: &str, contenders: usize) -> Vec<Holding> {
    let mut zks = Vec::new();
    for _ in 0..CLIENTS {
        zks.push(connect(hosts).await);
    }
    let first: LockGuard = Lock::new(&zks[0], "/ours").acquire().await.expect("a free lock");
    let origin = Instant::now();
    let waiting: Vec<_> = (0..contenders)
        .map(|number| {
            let lock = Lock::new(&zks[number % CLIENTS], "/ours");
            tokio::spawn(async move {
                let guard: LockGuard = lock.acquire().await.expect("the lock");
                let acquired = origin.elapsed();
                let holding = (acquired, origin.elapsed());
                guard.release().await.expect("a release");
                holding
            })
        })
        .collect();
    while zks[0].get_children("/ours").await.expect("the contenders").len() <= contenders {
        tokio::task::yield_now().await;
    }
    // Lets the last contenders set their watches.
    tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(1))).await.expect("a pause");
    let mut holdings = vec![(origin.elapsed(), origin.elapsed())];
    first.release().await.expect("a release");
    for contender in waiting {
        holdings.push(contender.await.expect("a contender"));
    }
    holdings.sort_unstable();
    for zk in zks {
        zk.stop().await.expect("a stop");
    }
    holdings
}

/// Runs the contest with kazoo: a thread for each contender, in a process of its own.
fn kazoo(hosts: &str, contenders: usize) -> Vec<Holding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let setup = Command::new(root.join("../tests/kazoo/setup.sh")).output().expect("a shell");
    let python = String::from_utf8(setup.stdout).expect("a path");
    assert!(setup.status.success(), "no Python with kazoo: {python}");
    let mut peer = Command::new(python.trim())
        .arg(root.join("kazoo_lock.py"))
        .args([hosts, "/kazoo", &CLIENTS.to_string(), &contenders.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kazoo");
    let mut lines = BufReader::new(peer.stdout.take().expect("a pipe")).lines();
    let ready = lines.next().expect("a line").expect("a line");
    assert_eq!(ready, "ready");
    peer.stdin.take().expect("a pipe").write_all(b"go\n").expect("a write");
    let nanos = |word: &str| Duration::from_nanos(word.parse().expect("a moment"));
    let mut holdings: Vec<_> = lines
        .map(|line| {
            let line = line.expect("a line");
            let (acquired, releasing) = line.split_once(' ').expect("two moments");
            (nanos(acquired), nanos(releasing))
        })
        .collect();
    assert!(peer.wait().expect("the process ends").success(), "kazoo failed");
    holdings.sort_unstable();
    holdings
}
