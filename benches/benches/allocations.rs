//! Counts the allocations of each client per request, against the stub.
//!
//! ```sh
//! cargo bench -p zk-benches --bench allocations
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints tables")]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zk_benches::{Load, Ours, Peer, Server, Theirs, Until, block_on, serve_if_asked};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 100_000;

fn main() {
    serve_if_asked();
    let server = Server::stub();
    println!("{:<6} {:<17} {:>14} {:>9}", "load", "client", "allocations/op", "bytes/op");
    for window in [1, 64, 256] {
        let load = Load { tasks: 1, window };
        count::<Ours>(&server, load);
        count::<Theirs>(&server, load);
    }
}

fn count<P: Peer>(server: &Server, load: Load) {
    let hosts = server.hosts.clone();
    let (allocations, bytes) = block_on(0, async move {
        let peer = P::connect(&hosts).await;
        load.run(&peer, Until::Sent(REQUESTS / 10)).await;
        let region = Region::new(ALLOCATOR);
        let latencies = load.run(&peer, Until::Sent(REQUESTS)).await;
        let change = region.change();
        // The load itself allocates only the latencies.
        let bytes = change.bytes_allocated - latencies.capacity() * size_of::<u32>();
        (change.allocations + change.reallocations, bytes)
    });
    let requests = REQUESTS as f64;
    let (allocations, bytes) = (allocations as f64 / requests, bytes as f64 / requests);
    println!("{load:<6} {:<17} {allocations:>14.3} {bytes:>9.0}", P::NAME);
}
