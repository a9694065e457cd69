//! Measures how the client bounds its memory.
//!
//! ```sh
//! cargo bench -p zk-benches --bench bounds
//! ```
//!
//! It prints two tables:
//! - 5,000 sets of 100 kB are called while there is no connection, with the default bound on queued bytes and without
//!   one: how many are queued, the error of the others, and the growth of the process;
//! - 2,000 values of 100 bytes are kept out of many more that are read, or each is read together with one of 60 kB: the
//!   memory that they keep alive.
//!
//! Memory is what is allocated from the heap, and the resident memory of the process (`VmRSS`).
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::{alloc::System, fs, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zk_benches::{DATA_LEN, LARGE_LEN, LARGE_PATH, PATH, Server, block_on, serve_if_asked};
use zk_client::{Client, ClientBuilder, SessionState};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SETS: usize = 5_000;
const SET_LEN: usize = 100_000;

const KEPT: usize = 2_000;

fn main() {
    serve_if_asked();
    println!("{SETS} sets of {SET_LEN} bytes while suspended\n");
    println!(
        "{:<22} {:>6} {:>8} {:>8} {:>8}",
        "bound on bytes", "queued", "refused", "heap MB", "RSS MB"
    );
    suspended("64 MiB (default)", |builder| builder);
    suspended("none", |builder| builder.max_queued_bytes(usize::MAX));
    println!("\n{KEPT} values of {DATA_LEN} bytes are kept\n");
    println!("{:<34} {:>8} {:>8} {:>14}", "out of", "heap MB", "RSS MB", "bytes/value");
    kept("as many reads", 1, false);
    kept("20 reads each, 64 in flight", 20, false);
    kept("500 reads each, 64 in flight", 500, false);
    kept("a read of 60 kB with each", 1, true);
}

/// The growth of memory since its creation.
struct Growth<'a> {
    heap: Region<'a, System>,
    resident: f64,
}

impl Growth<'_> {
    fn new() -> Self {
        Self { heap: Region::new(ALLOCATOR), resident: resident() }
    }

    /// The growth of the heap in bytes, and of the resident memory in megabytes.
    fn get(&self) -> (f64, f64) {
        let change = self.heap.change();
        let heap = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        (heap, resident() - self.resident)
    }
}

fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the figure");
    let kilobytes = line.split_whitespace().next().and_then(|figure| figure.parse::<f64>().ok());
    kilobytes.expect("a number") / 1e3
}

fn suspended(bound: &'static str, option: fn(ClientBuilder) -> ClientBuilder) {
    let server = Server::stub();
    let builder = option(Client::builder().hosts(&server.hosts));
    block_on(0, async move {
        let zk = builder.session_timeout(Duration::from_secs(60)).connect().await;
        let zk = zk.expect("a session");
        let mut states = zk.states();
        drop(server);
        while states.changed().await != Some(SessionState::Suspended) {}
        let data = vec![b'x'; SET_LEN];
        let growth = Growth::new();
        let calls: Vec<_> = (0..SETS).map(|_| zk.set(PATH, &data, None)).collect();
        let errors: Vec<_> = calls.iter().filter_map(|call| call.exception()).collect();
        let (heap, resident) = growth.get();
        let (queued, refused) = (SETS - errors.len(), errors.len());
        println!("{bound:<22} {queued:>6} {refused:>8} {:>8.1} {resident:>8.1}", heap / 1e6);
        if let Some(error) = errors.first() {
            println!("    {:?}: {error}", error.kind());
        }
    });
}

/// Keeps the last of every `reads` values that are read, or each value that is read together with a large one.
fn kept(out_of: &'static str, reads: usize, large: bool) {
    const WINDOW: usize = 64;
    let server = Server::stub();
    let hosts = server.hosts.clone();
    block_on(0, async move {
        let zk = Client::connect(hosts).await.expect("a session");
        // Lets the buffers reach their size.
        for _ in 0..100 {
            let calls: Vec<_> = (0..WINDOW).map(|_| zk.get(PATH)).collect();
            for call in calls {
                call.await.expect("data");
            }
        }
        let mut kept = Vec::with_capacity(KEPT);
        let growth = Growth::new();
        let mut read = 0;
        while kept.len() < KEPT {
            let beside = large.then(|| zk.get(LARGE_PATH));
            let calls: Vec<_> = (0..if large { 1 } else { WINDOW }).map(|_| zk.get(PATH)).collect();
            for call in calls {
                let (data, _) = call.await.expect("data");
                read += 1;
                if read % reads == 0 && kept.len() < KEPT {
                    kept.push(data);
                }
            }
            if let Some(beside) = beside {
                assert_eq!(beside.await.expect("data").0.len(), LARGE_LEN);
            }
        }
        let (heap, resident) = growth.get();
        println!("{out_of:<34} {:>8.1} {resident:>8.1} {:>14.0}", heap / 1e6, heap / KEPT as f64);
        assert!(kept.iter().all(|data| data.len() == DATA_LEN));
    });
    drop(server);
}
