//! Compares the handlers: the cost of a request, and of an idle session.
//!
//! ```sh
//! cargo bench -p zk-benches --bench runtimes              # the tables of docs/runtimes.md
//! cargo bench -p zk-benches --bench runtimes -- --quick   # short rounds
//! ```
//!
//! Each figure is from a process with one handler. The server is a stub in another process, which answers at once. Rounds
//! of the handlers alternate; the figures are the medians of the rounds. A request reads a znode of 100 bytes. All share
//! one connection, and are sent by a task of the runtime or, in the rows "blocking calls", by the main thread, which
//! blocks on the results. Depth is the number of requests in flight. Processor time is that of the client's process.
//! tokio has two workers, smol has one thread, its default, and async-std has a thread for each processor, or one. Memory
//! is the resident memory of the process.
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::{
    env, fs,
    future::pending,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};
use zk_benches::{Ours, Server, Until, Usage, keep_in_flight, median, percentile, serve_if_asked};
use zk_client::Client;
use zk_handler::Handler;
use zk_handler_async_std::AsyncStdHandler;
use zk_handler_smol::SmolHandler;
use zk_handler_thread::ThreadHandler;
use zk_handler_tokio::TokioHandler;
use zk_tests::tasks::block_on;

/// The runtimes on which requests are measured.
const BUSY: [&str; 8] = [
    "tokio",
    "tokio, current-thread",
    "smol",
    "async-std",
    "async-std, one thread",
    "thread",
    "tokio, blocking calls",
    "thread, blocking calls",
];

/// The runtimes on which idle sessions are measured, and the numbers of sessions.
const IDLE: [&str; 6] =
    ["tokio", "tokio, current-thread", "smol", "async-std", "thread, shared", "thread"];
const SESSIONS: [usize; 3] = [1, 100, 1000];

fn main() {
    serve_if_asked();
    let args: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => tables(5, 1500),
        ["--quick"] => tables(3, 300),
        [runtime, hosts, measure, amount] => {
            let amount = amount.parse().expect("a number");
            let figures = measure_on(runtime, hosts, measure, amount);
            println!("{}", figures.map(|figure| figure.to_string()).join(" "));
        }
        _ => panic!("unknown arguments: {args:?}"),
    }
}

/// Runs `rounds` of `millis` milliseconds on each runtime, and prints the tables.
fn tables(rounds: usize, millis: usize) {
    let server = Server::stub();
    println!(
        "{} processors, {rounds} rounds of {millis} ms\n",
        thread::available_parallelism().map_or(0, usize::from)
    );
    let mut of_rounds: [Vec<[f64; 4]>; BUSY.len()] = Default::default();
    for _ in 0..rounds {
        for (runtime, figures) in BUSY.iter().zip(&mut of_rounds) {
            figures.push(in_process(runtime, &server.hosts, "requests", millis));
        }
    }
    println!(
        "| runtime | depth 1: p50 µs | p99 µs | depth 256: requests/s | processor µs/request |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (runtime, rounds) in BUSY.iter().zip(&of_rounds) {
        let [p50, p99, requests, cpu] = std::array::from_fn(|figure| {
            median(rounds.iter().map(|round| round[figure]).collect())
        });
        println!("| {runtime} | {p50:.0} | {p99:.0} | {requests:.0} | {cpu:.2} |");
    }

    println!(
        "\n| runtime | memory with 1 session | 100 | 1000 | threads with 1 session | 100 | 1000 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for runtime in IDLE {
        let idle =
            SESSIONS.map(|sessions| in_process(runtime, &server.hosts, "sessions", sessions));
        let [one, hundred, thousand] = idle.map(|[memory, ..]| format!("{:.1} MB", memory / 1e3));
        print!("| {runtime} | {one} | {hundred} | {thousand} ");
        let [one, hundred, thousand] = idle.map(|[_, threads, ..]| threads);
        println!("| {one} | {hundred} | {thousand} |");
    }
}

/// Runs one measurement in a process of its own.
fn in_process(runtime: &str, hosts: &str, measure: &str, amount: usize) -> [f64; 4] {
    let own = env::current_exe().expect("this program");
    let mut command = Command::new(own);
    if runtime == "async-std, one thread" {
        command.env("ASYNC_STD_THREAD_COUNT", "1");
    }
    let output = command
        .args([runtime, hosts, measure, &amount.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<_> = text.split_whitespace().flat_map(str::parse).collect();
    figures
        .try_into()
        .unwrap_or_else(|_| panic!("{measure} on {runtime} printed no figures: {text}"))
}

fn measure_on(name: &str, hosts: &str, measure: &str, amount: usize) -> [f64; 4] {
    let measure = match measure {
        "requests" => Measure::Requests(Duration::from_millis(amount as u64)),
        "sessions" => Measure::Sessions(amount),
        other => panic!("unknown measurement {other}"),
    };
    match name {
        "tokio" | "tokio, blocking calls" => {
            let runtime = enabled(Builder::new_multi_thread().worker_threads(2));
            let call: Caller = if name == "tokio" { in_task } else { in_thread };
            measure.on(hosts, || TokioHandler::new(runtime.handle().clone()), call)
        }
        "tokio, current-thread" => {
            let runtime = enabled(&mut Builder::new_current_thread());
            let handler = TokioHandler::new(runtime.handle().clone());
            thread::spawn(move || runtime.block_on(pending::<()>()));
            measure.on(hosts, || handler.clone(), in_task)
        }
        "smol" => measure.on(hosts, || SmolHandler, in_task),
        "async-std" | "async-std, one thread" => measure.on(hosts, || AsyncStdHandler, in_task),
        "thread" => measure.on(hosts, ThreadHandler::new, in_task),
        "thread, blocking calls" => measure.on(hosts, ThreadHandler::new, in_thread),
        "thread, shared" => {
            let handler = ThreadHandler::new();
            measure.on(hosts, || handler.clone(), in_task)
        }
        other => panic!("unknown runtime {other}"),
    }
}

fn enabled(builder: &mut Builder) -> Runtime {
    builder.enable_all().build().expect("a runtime")
}

/// How requests are sent.
type Caller = fn(&Client, usize, Duration) -> Vec<u32>;

fn in_task(zk: &Client, depth: usize, time: Duration) -> Vec<u32> {
    let requests = keep_in_flight(Ours(zk.clone()), depth, Until::Elapsed(time));
    zk.spawn(async { Ok(requests.await) }).get().expect("the latencies")
}

fn in_thread(zk: &Client, depth: usize, time: Duration) -> Vec<u32> {
    block_on(keep_in_flight(Ours(zk.clone()), depth, Until::Elapsed(time)))
}

/// A measurement.
enum Measure {
    /// Requests for this time at each depth: p50 and p99 in µs at depth 1, requests per second and processor time per
    /// request in µs at depth 256.
    Requests(Duration),
    /// This number of idle sessions: memory in kB, and threads.
    Sessions(usize),
}

impl Measure {
    fn on<H: Handler>(self, hosts: &str, handler: impl Fn() -> H, call: Caller) -> [f64; 4] {
        let connect = || Client::builder().hosts(hosts).connect_on(handler());
        match self {
            Self::Requests(time) => {
                let zk = connect().get().expect("a session");
                call(&zk, 256, time / 3);
                let mut latencies = call(&zk, 1, time);
                latencies.sort_unstable();
                let (before, start) = (Usage::now(), Instant::now());
                let requests = call(&zk, 256, time).len() as f64;
                let (elapsed, used) = (start.elapsed(), Usage::now().since(before));
                [
                    f64::from(percentile(&latencies, 50)) / 1e3,
                    f64::from(percentile(&latencies, 99)) / 1e3,
                    requests / elapsed.as_secs_f64(),
                    used.cpu.as_secs_f64() * 1e6 / requests,
                ]
            }
            Self::Sessions(count) => {
                let mut clients = Vec::with_capacity(count);
                while clients.len() < count {
                    // In batches, so that the server's backlog does not overflow.
                    let batch: Vec<_> =
                        (0..(count - clients.len()).min(50)).map(|_| connect()).collect();
                    clients.extend(batch.into_iter().map(|zk| zk.get().expect("a session")));
                }
                // Lets the runtime end the threads that it has started for connecting.
                thread::sleep(Duration::from_secs(2));
                [status("VmRSS:"), status("Threads:"), 0.0, 0.0]
            }
        }
    }
}

/// A figure of this process from `/proc`.
fn status(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the figure");
    line.split_whitespace().next().and_then(|figure| figure.parse().ok()).expect("a number")
}
