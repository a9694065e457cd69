//! What TLS costs a client, beside what rustls costs by itself.
//!
//! ```sh
//! cargo bench -p zk-benches --bench tls              # the tables of docs/performance.md
//! cargo bench -p zk-benches --bench tls -- --quick   # short rounds
//! ```
//!
//! The client reads znodes from a stub in another process, without TLS and with it. The echo has no ZooKeeper in it: a
//! blocking thread sends requests of 40 bytes to another process and gets as many bytes for each as the znode has, over a
//! socket, and over a socket with rustls' own stream. Rounds alternate; each figure is the median of the rounds.
//! Processor time is that of this process. The ratios are those that TLS is held to: at most 1.5 times the processor time
//! for 100 bytes with 64 requests in flight, and at least 70 % of the throughput for 100 kB.
//!
//! Options: `--workers N` sets the number of workers of the client's runtime (default 0: the current-thread runtime).
//! `--profile plain` and `--profile tls` run one client with 100 bytes for a number of requests, to count instructions:
//! the cost of a request is the difference between two runs, divided by the difference between their numbers of requests.
//! `--profile plain-large` and `--profile tls-large` do so with 100 kB.
//!
//! ```sh
//! cargo bench -p zk-benches --bench tls --no-run
//! valgrind --tool=callgrind target/release/deps/tls-* --profile tls 20000
//! valgrind --tool=callgrind target/release/deps/tls-* --profile tls 40000
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::{
    collections::VecDeque,
    env, thread,
    time::{Duration, Instant},
};

use zk_benches::{
    DATA_LEN, Echo, HUGE_LEN, HUGE_PATH, PATH, Server, Usage, block_on, median, serve_if_asked,
};
use zk_client::{Client, TlsOptions, rustls};
use zk_tests::{Certificates, Holder};

struct Options {
    rounds: usize,
    round: Duration,
    workers: usize,
}

/// Throughput, and processor time in µs per request.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu: f64,
}

impl Figures {
    fn since(before: Usage, start: Instant, requests: usize) -> Self {
        let (elapsed, used) = (start.elapsed(), Usage::now().since(before));
        let requests = requests as f64;
        Self {
            rate: requests / elapsed.as_secs_f64(),
            cpu: used.cpu.as_secs_f64() * 1e6 / requests,
        }
    }
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    serve_if_asked();
    let mut options = Options { rounds: 9, round: Duration::from_secs(1), workers: 0 };
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--bench" => {}
            "--quick" => (options.rounds, options.round) = (3, Duration::from_millis(300)),
            "--workers" => options.workers = number(args.next()),
            "--profile" => {
                let what = args.next().unwrap_or_default();
                return profile(
                    what.starts_with("tls"),
                    what.ends_with("large"),
                    number(args.next()),
                );
            }
            other => panic!("unknown option {other}"),
        }
    }
    println!(
        "{} processors, {} workers, {} rounds of {:?} each\n",
        thread::available_parallelism().map_or(0, usize::from),
        options.workers,
        options.rounds,
        options.round,
    );
    println!(
        "| | plain: requests/s | processor µs | TLS: requests/s | processor µs | throughput | processor |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, path, length, depth) in
        [("100 B, depth 64", PATH, DATA_LEN, 64), ("100 kB, depth 16", HUGE_PATH, HUGE_LEN, 16)]
    {
        compare(&options, name, path, length, depth);
    }
}

fn number(text: Option<String>) -> usize {
    text.and_then(|text| text.parse().ok()).expect("a number")
}

fn server(with_tls: bool) -> Server {
    let files = Certificates::shared();
    match with_tls {
        true => Server::stub_with_tls(&files.chain(Holder::Server), &files.key(Holder::Server)),
        false => Server::stub(),
    }
}

async fn connect(hosts: String, with_tls: bool) -> Client {
    let mut builder = Client::builder().hosts(hosts);
    if with_tls {
        builder =
            builder.tls(TlsOptions::new().authorities_file(Certificates::shared().authority()));
    }
    builder.connect().await.expect("a session")
}

fn compare(options: &Options, name: &str, path: &'static str, length: usize, depth: usize) {
    let servers = [false, true].map(server);
    let hosts = servers.each_ref().map(|server| server.hosts.clone());
    let (rounds, round) = (options.rounds, options.round);
    let client = block_on(options.workers, async move {
        let [plain, tls] = hosts;
        let clients = [connect(plain, false).await, connect(tls, true).await];
        for zk in &clients {
            measure(read(zk, path, length, depth, round / 3)).await;
        }
        let mut figures: [Vec<Figures>; 2] = Default::default();
        for _ in 0..rounds {
            for (zk, figures) in clients.iter().zip(&mut figures) {
                figures.push(measure(read(zk, path, length, depth, round)).await);
            }
        }
        figures
    });
    row(&format!("client, {name}"), client);

    let files = Certificates::shared();
    let (chain, key) = (files.chain(Holder::Server), files.key(Holder::Server));
    let mut echoes = [Echo::plain(length), Echo::tls(length, &files.authority(), &chain, &key)];
    for echo in &mut echoes {
        echo.run(depth, round / 3);
    }
    let mut figures: [Vec<Figures>; 2] = Default::default();
    for _ in 0..rounds {
        for (echo, figures) in echoes.iter_mut().zip(&mut figures) {
            let (before, start) = (Usage::now(), Instant::now());
            let answers = echo.run(depth, round);
            figures.push(Figures::since(before, start, answers));
        }
    }
    row(&format!("echo, {name}"), figures);
}

fn row(name: &str, figures: [Vec<Figures>; 2]) {
    let [plain, tls] = figures.each_ref().map(|figures| Figures {
        rate: median(figures.iter().map(|one| one.rate).collect()),
        cpu: median(figures.iter().map(|one| one.cpu).collect()),
    });
    println!(
        "| {name} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
        plain.rate,
        plain.cpu,
        tls.rate,
        tls.cpu,
        tls.rate / plain.rate,
        tls.cpu / plain.cpu
    );
}

/// Runs `load`, which returns a number of requests.
async fn measure(load: impl Future<Output = usize>) -> Figures {
    let (before, start) = (Usage::now(), Instant::now());
    let requests = load.await;
    Figures::since(before, start, requests)
}

/// Keeps `depth` reads in flight for `time`.
async fn read(zk: &Client, path: &str, length: usize, depth: usize, time: Duration) -> usize {
    let end = Instant::now() + time;
    read_while(zk, path, length, depth, || Instant::now() < end).await
}

async fn read_while(
    zk: &Client,
    path: &str,
    length: usize,
    depth: usize,
    mut goes_on: impl FnMut() -> bool,
) -> usize {
    let mut in_flight: VecDeque<_> = (0..depth).map(|_| zk.get(path)).collect();
    let mut requests = 0;
    while let Some(reply) = in_flight.pop_front() {
        let (data, _) = reply.await.expect("the data");
        assert_eq!(data.len(), length);
        requests += 1;
        if goes_on() {
            in_flight.push_back(zk.get(path));
        }
    }
    requests
}

fn profile(with_tls: bool, is_large: bool, requests: usize) {
    let (path, length, depth) = match is_large {
        true => (HUGE_PATH, HUGE_LEN, 16),
        false => (PATH, DATA_LEN, 64),
    };
    let server = server(with_tls);
    let hosts = server.hosts.clone();
    block_on(0, async move {
        let zk = connect(hosts, with_tls).await;
        let mut left = requests;
        let goes_on = || {
            left = left.saturating_sub(1);
            left > 0
        };
        read_while(&zk, path, length, depth, goes_on).await;
    });
    drop(server);
}
