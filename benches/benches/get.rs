//! Reads a znode of 100 bytes over one connection, in comparison with the crate `zookeeper-client`.
//!
//! ```sh
//! cargo bench -p zk-benches --bench get              # everything
//! cargo bench -p zk-benches --bench get -- --quick   # short rounds
//! ZK_HOSTS=127.0.0.1:2181 cargo bench -p zk-benches --bench get
//! ```
//!
//! There are two servers: a stub that answers at once, in a process of its own, so that the client dominates what is
//! measured, and ZooKeeper, which is started or is that of `ZK_HOSTS`. The load `2x64` is two tasks with 64 requests in
//! flight each. Rounds of the two clients alternate; each figure is the median of the rounds. Processor time and context
//! switches are those of this process, which runs the client.
//!
//! Options: `--workers N` sets the number of workers of the runtime (default 2; 0 means the current-thread runtime).
//! `--server stub` and `--server zookeeper` select one server.
//!
//! To count instructions and system calls, run one client against the stub, on one thread, for a number of requests. The
//! default is `--load 1x64`; `--client zookeeper-client` selects the other client. The cost of a request is the difference
//! between two runs, divided by the difference between their numbers of requests:
//!
//! ```sh
//! cargo bench -p zk-benches --bench get --no-run
//! valgrind --tool=callgrind target/release/deps/get-* --profile 20000
//! valgrind --tool=callgrind target/release/deps/get-* --profile 40000
//! strace -f -c target/release/deps/get-* --profile 100000
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::{env, thread, time::Duration};

use zk_benches::{
    Load, Ours, Peer, Server, Theirs, Until, Usage, block_on, median, percentile, serve_if_asked,
};
use zk_tests::Ensemble;

const LOADS: [Load; 4] = [
    Load { tasks: 1, window: 1 },
    Load { tasks: 1, window: 64 },
    Load { tasks: 1, window: 256 },
    Load { tasks: 64, window: 1 },
];

struct Options {
    rounds: usize,
    round: Duration,
    workers: usize,
    server: Option<String>,
    profile: Option<usize>,
    load: Load,
    client: String,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            rounds: 5,
            round: Duration::from_millis(1500),
            workers: 2,
            server: None,
            profile: None,
            load: LOADS[1],
            client: Ours::NAME.to_owned(),
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match &*arg {
                "--bench" => {}
                "--quick" => {
                    options.rounds = 3;
                    options.round = Duration::from_millis(300);
                }
                "--workers" => options.workers = number(&value()),
                "--server" => options.server = Some(value()),
                "--profile" => options.profile = Some(number(&value())),
                "--load" => {
                    let load = value();
                    let (tasks, window) = load.split_once('x').expect("a load such as 1x64");
                    options.load = Load { tasks: number(tasks), window: number(window) };
                }
                "--client" => options.client = value(),
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

fn main() {
    serve_if_asked();
    let options = Options::from_args();
    if let Some(requests) = options.profile {
        return profile(&options, requests);
    }
    println!("{}", env::args().collect::<Vec<_>>().join(" "));
    println!(
        "{} processors, {} workers, {} rounds of {:?} each\n",
        thread::available_parallelism().map_or(0, usize::from),
        options.workers,
        options.rounds,
        options.round,
    );
    println!(
        "{:<10} {:<6} {:<17} {:>9} {:>9} {:>9} {:>10} {:>12}",
        "server", "load", "client", "ops/s", "p50 us", "p99 us", "cpu us/op", "switches/op"
    );
    let wanted = |name: &str| options.server.as_deref().is_none_or(|only| only == name);
    if wanted("stub") {
        compare(&options, &Server::stub());
    }
    if wanted("zookeeper") {
        compare(&options, &Server::zookeeper(Ensemble::standalone, Ensemble::hosts));
    }
}

/// Runs one client against the stub.
fn profile(options: &Options, requests: usize) {
    let server = Server::stub();
    let (hosts, load) = (server.hosts.clone(), options.load);
    let theirs = options.client == Theirs::NAME;
    block_on(0, async move {
        if theirs {
            load.run(&Theirs::connect(&hosts).await, Until::Sent(requests)).await;
        } else {
            load.run(&Ours::connect(&hosts).await, Until::Sent(requests)).await;
        }
    });
}

/// Measures both clients on `server` under each load, in alternating rounds.
fn compare(options: &Options, server: &Server) {
    for load in LOADS {
        let (hosts, rounds, round) = (server.hosts.clone(), options.rounds, options.round);
        let (ours, theirs) = block_on(options.workers, async move {
            let (ours, theirs) = (Ours::connect(&hosts).await, Theirs::connect(&hosts).await);
            measure(&ours, load, round / 3).await;
            measure(&theirs, load, round / 3).await;
            let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                of_ours.push(measure(&ours, load, round).await);
                of_theirs.push(measure(&theirs, load, round).await);
            }
            (Figures::median(&of_ours), Figures::median(&of_theirs))
        });
        for (client, figures) in [(Ours::NAME, &ours), (Theirs::NAME, &theirs)] {
            println!("{:<10} {load:<6} {client:<17} {}", server.name, figures.row(0, 1));
        }
        println!("{:<10} {:<6} {:<17} {}\n", "", "", "ratio", ours.over(&theirs).row(2, 2));
    }
}

/// The figures of a round, or the medians of several.
struct Figures([f64; 5]);

async fn measure<P: Peer>(peer: &P, load: Load, round: Duration) -> Figures {
    let before = Usage::now();
    let start = std::time::Instant::now();
    let mut latencies = load.run(peer, Until::Elapsed(round)).await;
    let elapsed = start.elapsed();
    let used = Usage::now().since(before);
    latencies.sort_unstable();
    let requests = latencies.len() as f64;
    let micros = |percent| f64::from(percentile(&latencies, percent)) / 1e3;
    Figures([
        requests / elapsed.as_secs_f64(),
        micros(50),
        micros(99),
        used.cpu.as_secs_f64() * 1e6 / requests,
        used.switches as f64 / requests,
    ])
}

impl Figures {
    fn median(rounds: &[Self]) -> Self {
        Self(std::array::from_fn(|figure| {
            median(rounds.iter().map(|round| round.0[figure]).collect())
        }))
    }

    fn over(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|figure| self.0[figure] / other.0[figure]))
    }

    fn row(&self, whole: usize, part: usize) -> String {
        let [ops, p50, p99, cpu, switches] = self.0;
        format!("{ops:>9.whole$} {p50:>9.part$} {p99:>9.part$} {cpu:>10.2} {switches:>12.3}")
    }
}
