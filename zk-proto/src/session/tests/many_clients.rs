//! Clients of one server that dies: who comes back at once, and who takes its time.

use super::{hosts::proven_with, *};

/// A session with a number of its own, idle for `idle` milliseconds since its last ping was answered.
fn spread(seed: u64, timeout: u64, idle: u64) -> World {
    let mut config = config(3);
    config.reconnect_spread = Duration::from_secs(5);
    let mut world = World::seeded(config, seed);
    world.start();
    world.greet(welcome(ID, timeout as i32, Some(false)));
    world.idle(timeout / 3 + 100);
    world.tick(idle);
    world.events();
    world
}

/// When it connects again.
fn returns(world: &mut World) -> u64 {
    let from = world.now;
    while world.host.is_none() {
        world.tick(1);
    }
    world.now.since(from).as_millis() as u64
}

#[test]
fn idle_clients_of_a_failed_server_spread_their_reconnects() {
    const CLIENTS: u64 = 2_000;

    for timeout in [10_000, 30_000] {
        let mut times: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                // Their pings are spread over the time between two of them.
                let mut world = spread(seed, timeout, seed * (timeout / 4).min(9_000) / CLIENTS);
                world.cut();
                returns(&mut world)
            })
            .collect();
        times.sort_unstable();
        assert!(*times.last().unwrap() <= 5_000);
        for from in &times {
            let same = times.iter().filter(|at| (*from..from + 1_000).contains(*at)).count();
            assert!(same <= CLIENTS as usize / 4, "{same} within a second, T = {timeout}");
        }
    }
}

#[test]
fn a_busy_client_reconnects_at_once() {
    // A request is under way.
    let mut world = spread(1, T, 0);
    world.delete("/a");
    world.read();
    world.cut();
    assert_eq!(returns(&mut world), 0);
    // One was answered just now, or is long ago.
    let after = |pause| {
        let mut world = spread(1, T, 0);
        world.delete("/a");
        world.read();
        world.ok(1);
        world.tick(pause);
        world.cut();
        returns(&mut world)
    };
    assert_eq!(after(900), 0);
    assert!(after(1_000) > 0);
}

#[test]
fn a_request_ends_the_delay() {
    for ask in [
        |world: &mut World| {
            world.delete("/a");
        },
        |world: &mut World| {
            world.add_auth("1").unwrap();
            world.tick(0);
        },
        |world: &mut World| {
            let hosts = (1..=4).map(|n| HostPort::new(format!("h{n}"), n)).collect();
            world.session.set_hosts(world.now, hosts);
            world.absorb();
        },
    ] {
        let mut world = spread(1, T, 0);
        world.cut();
        world.tick(10);
        assert_eq!(world.events(), ["SUSPENDED"]);
        ask(&mut world);
        assert_eq!(returns(&mut world), 0);
    }
}

#[test]
fn a_request_does_not_skip_the_backoff() {
    let mut config = config(1);
    config.reconnect_spread = Duration::from_secs(5);
    let mut world = proven_with(config);
    world.cut();
    world.delete("/a");
    assert!((50..=100).contains(&returns(&mut world)));
    // Nor is it one later on, when attempts fail.
    world.cut();
    world.tick(50);
    world.delete("/b");
    assert!((50..=150).contains(&returns(&mut world)));
}

#[test]
fn a_delayed_client_reconnects_with_two_fifths_of_the_session_left() {
    for seed in 0..200 {
        let mut world = spread(seed, 6_000, 1_900);
        let left = 6_000 - 1_900;
        world.cut();
        assert!(returns(&mut world) <= left * 3 / 5 + 1);
    }
}
