//! What the embedded server costs: to start, to ask, and to keep connections.
//!
//! ```sh
//! cargo bench -p zk-server
//! ```
#![allow(clippy::print_stdout, reason = "figures are what this is for")]

#[path = "../tests/client/mod.rs"]
mod client;

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
    println!("start: {:?}, the median of {STARTS}", time_to_start()?);
    let server = TestServer::start()?;
    let mut client = Client::open(server.address())?;
    client.ask(create("/node", &[b'x'; 100]))?;
    let (median, mean) = one_by_one(&mut client)?;
    println!("get of 100 bytes, one by one: {median:?}, the median of {GETS}; mean {mean:?}");
    let per_second = windows(&mut client)?;
    println!("get of 100 bytes, {WINDOW} at once: {per_second:.0} a second");
    Ok(())
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
        client.ask(get("/node"))?;
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
