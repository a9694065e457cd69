//! Prints how clients reconnect after an outage of their servers, and the load that they cause.
//!
//! ```sh
//! cargo run --release -p zk-tests --example reconnect-stats
//! ```
//!
//! All figures but the last are of sessions under virtual time ([`zk_sim::reconnects`]). The last one is of
//! clients on loopback whose server becomes unreachable while they work.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::time::{Duration, Instant};

use zk_client::{Backoff, Client, Error};
use zk_handler_thread::ThreadHandler;
use zk_server::TestServer;
use zk_sim::reconnects::{
    HostBehavior, Scenario, connects_in, most_attempts, sessions_lost, simulate, worst_second,
};
use zk_tests::Proxy;

const CLIENTS: u64 = 2_000;
const FAIL_OVERS: usize = 200;

fn main() -> Result<(), Error> {
    println!("sessions lost of 100, T = 10 s: their host refuses for 5 s, the others stay down");
    for (others, name) in [(HostBehavior::Refuses, "refuse"), (HostBehavior::Hangs, "hang")] {
        for hosts in [1, 3, 5, 7] {
            let scenario = Scenario { hosts, ..Scenario::default() };
            println!("  {hosts} hosts, others {name}: {}", sessions_lost(&scenario, 100, others));
        }
    }

    println!("connects in 5 s, at most, to servers that answer one request and close");
    for hosts in 1..=3 {
        let scenario = Scenario { hosts, is_busy: true, ..Scenario::default() };
        let attempts = most_attempts(&scenario, Duration::from_secs(5), HostBehavior::RepliesOnce);
        println!("  {hosts} hosts: {attempts}");
    }

    println!("attempts in a second, at most, with Backoff {{ min: 0 }}, at one host that refuses");
    for max in [Duration::ZERO, Backoff::default().max] {
        let backoff = Backoff { min: Duration::ZERO, max };
        let scenario = Scenario { hosts: 1, backoff, ..Scenario::default() };
        let attempts = most_attempts(&scenario, Duration::from_secs(1), HostBehavior::Refuses);
        println!("  max {max:?}: {attempts}");
    }

    println!("share of {CLIENTS} idle clients of one server that comes back in its worst second");
    for seconds in [4, 10, 30] {
        let scenario = Scenario { timeout: Duration::from_secs(seconds), ..Scenario::default() };
        println!("  T = {seconds} s: {:.1} %", 100.0 * worst_second(&scenario, CLIENTS));
    }

    println!("time to connect to one of 30 hosts, T = 4 s");
    for millis in [300, 700, 1_500] {
        let round_trip = Duration::from_millis(millis);
        let scenario = Scenario {
            hosts: 30,
            timeout: Duration::from_secs(4),
            round_trip,
            ..Scenario::default()
        };
        match connects_in(&scenario, Duration::from_secs(200)) {
            Some(time) => println!("  round trip {millis} ms: {time:?}"),
            None => println!("  round trip {millis} ms: never"),
        }
    }

    println!("fail-over of one client, T = 10 s");
    let cut = Duration::from_secs(60);
    let idle = (0..CLIENTS).filter_map(|seed| {
        let timeline =
            simulate(&Scenario::default(), seed, Some(cut), 2 * cut, |_, _| HostBehavior::Serves);
        timeline.reconnected_after(cut)
    });
    print_percentiles("idle, in virtual time", idle.collect());
    print_percentiles("at work, on loopback", fail_overs()?);
    Ok(())
}

fn print_percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    let millis = |part| at(part).as_secs_f64() * 1e3;
    println!("  {what}: p50 {:.1} ms, p99 {:.1} ms, of {}", millis(50), millis(99), times.len());
}

/// How long calls fail after the server of a client has become unreachable: three proxies are its hosts, one
/// embedded server behind them.
fn fail_overs() -> Result<Vec<Duration>, Error> {
    let server = TestServer::start().expect("there is a port");
    let proxies: Vec<_> = (0..3).map(|_| Proxy::new(server.address())).collect();
    let hosts: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    let mut times = Vec::new();
    for _ in 0..FAIL_OVERS {
        let zk = Client::builder().hosts(hosts.join(",")).connect_on(ThreadHandler::new()).get()?;
        zk.exists("/").get()?;
        let host = zk.host().expect("it is connected");
        let at = hosts.iter().position(|listed| *listed == host).expect("it is listed");
        let from = Instant::now();
        proxies[at].refuse(true);
        proxies[at].cut_rst();
        // Calls fail until the client notices the end of its connection.
        while zk.exists("/").get().is_err() || zk.host().is_some_and(|now| now == host) {}
        times.push(from.elapsed());
        proxies[at].refuse(false);
        zk.stop().get()?;
    }
    Ok(times)
}
