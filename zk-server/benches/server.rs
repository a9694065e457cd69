//! The cost of the embedded server: starting it, a request, an idle session.
//!
//! ```sh
//! cargo bench -p zk-server
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/client/mod.rs"]
mod client;
#[cfg(target_os = "linux")]
#[path = "../tests/process/mod.rs"]
mod process;

use std::{
    io,
    time::{Duration, Instant},
};

use client::{Client, create, get};
use zk_server::TestServer;

const STARTS: usize = 1_000;
const GETS: usize = 20_000;
const WINDOW: usize = 64;

fn main() -> io::Result<()> {
    println!("start: {:?} (median of {STARTS})", time_to_start()?);
    let server = TestServer::start()?;
    let mut client = Client::open(server.address())?;
    client.call(create("/node", &[b'x'; 100]))?;
    let (median, mean) = one_by_one(&mut client)?;
    println!("get of 100 bytes, one at a time: {median:?} (median of {GETS}), mean {mean:?}");
    let per_second = windows(&mut client)?;
    println!("get of 100 bytes, {WINDOW} at a time: {per_second:.0} per second");
    #[cfg(target_os = "linux")]
    idle_sessions()?;
    Ok(())
}

/// Prints the threads and memory of a server process with idle sessions.
#[cfg(target_os = "linux")]
fn idle_sessions() -> io::Result<()> {
    let count = process::raise_limit_of_files().saturating_sub(100).min(10_000);
    let server = process::Process::start(&[]);
    let figures = || (server.status("Threads"), server.status("VmRSS"));
    let (threads, memory) = figures();
    println!("no connections: {threads} threads, {:.1} MiB", memory as f64 / 1024.0);
    let clients: io::Result<Vec<_>> = (0..count).map(|_| Client::open(server.address)).collect();
    let (threads, with) = figures();
    let each = (with - memory) as f64 / count as f64;
    println!(
        "{count} idle sessions: {threads} threads, {:.1} MiB, {each:.1} KiB for each session",
        with as f64 / 1024.0
    );
    clients.map(drop)
}

fn time_to_start() -> io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = TestServer::start()?;
        times.push(begun.elapsed());
        drop(server);
    }
    Ok(median(times))
}

fn one_by_one(client: &mut Client) -> io::Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for _ in 0..GETS {
        let begun = Instant::now();
        client.call(get("/node"))?;
        times.push(begun.elapsed());
    }
    let mean = times.iter().sum::<Duration>() / GETS as u32;
    Ok((median(times), mean))
}

fn windows(client: &mut Client) -> io::Result<f64> {
    let window = vec![get("/node"); WINDOW];
    let begun = Instant::now();
    for _ in 0..GETS / 4 {
        client.send(&window)?;
        for _ in 0..WINDOW {
            client.reply()?;
        }
    }
    Ok((GETS / 4 * WINDOW) as f64 / begun.elapsed().as_secs_f64())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
