//! Servers without a quorum: what they grant, and the search for one that takes writes.

use super::{hosts::gaps, *};

fn read_only(hosts: u16) -> World {
    let mut config = config(hosts);
    config.read_only = true;
    let mut world = World::new(config);
    world.start();
    world
}

fn probed(world: &mut World, host: u16, writable: bool) {
    let host = Arc::new(HostPort::new(format!("h{host}"), host));
    let answer = if writable { Probed::Writable } else { Probed::Unusable };
    world.session.handle_probed(world.now, &host, answer);
    world.absorb();
}

/// The host that is probed, if that is what this line of the log tells.
fn probed_host(line: &str) -> Option<u16> {
    line.strip_prefix("probe h").map(|host| host.parse().unwrap())
}

/// The first host that is probed now.
fn probe(world: &mut World) -> Option<u16> {
    world.events().iter().find_map(|line| probed_host(line))
}

/// When each probe went out, and to whom; none of them finds a server that takes writes.
fn probes(world: &mut World, ms: u64) -> Vec<(u64, String)> {
    let from = world.now;
    let mut probes = Vec::new();
    while world.now.since(from) < millis(ms) {
        world.tick(50);
        if !world.read().is_empty() {
            world.pong();
        }
        for (at, line) in world.log.split_off(0) {
            probed(world, probed_host(&line).unwrap(), false);
            probes.push((at, line));
        }
    }
    probes
}

#[test]
fn on_a_read_only_server_the_others_are_probed_with_backoff() {
    let mut world = read_only(3);
    world.greet(welcome(ID, T as i32, Some(true)));
    assert_eq!(world.hellos[0].read_only, Some(true));
    assert_eq!(world.events(), ["connect h1", "CONNECTED_RO"]);
    assert_eq!(world.session.connection_state(), ConnectionState::ConnectedReadOnly);
    let probes = probes(&mut world, 400_000);
    let hosts: Vec<_> = probes.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(hosts[..4], ["probe h2", "probe h3", "probe h2", "probe h3"]);
    let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000];
    assert_eq!(probes[0].0, 100);
    assert_eq!(gaps(&probes)[..11], expected);
}

#[test]
fn one_probe_at_a_time() {
    let mut world = read_only(3);
    world.greet(welcome(ID, T as i32, Some(true)));
    world.events();
    world.idle(100_000);
    assert_eq!(world.events(), ["probe h2"]);
}

#[test]
fn the_only_host_is_not_probed_but_one_that_is_added_is() {
    let mut world = read_only(1);
    world.greet(welcome(ID, T as i32, Some(true)));
    world.events();
    world.idle(1_000);
    assert_eq!(world.events(), [""; 0]);
    let hosts = (1..=2).map(|n| HostPort::new(format!("h{n}"), n)).collect();
    world.session.set_hosts(world.now, hosts);
    world.idle(2_000);
    assert_eq!(world.events(), ["probe h2"]);
}

#[test]
fn the_session_moves_to_a_host_that_takes_writes() {
    let mut world = read_only(3);
    world.greet(welcome(ID, T as i32, Some(true)));
    world.call(&get("/a", true));
    world.read();
    world.reply(1, &data(b""));
    world.idle(400);
    probed(&mut world, 3, false);
    world.events();
    // A host that has left the list meanwhile is not moved to.
    probed(&mut world, 9, true);
    assert_eq!(world.events(), [""; 0]);
    world.delete("/b");
    world.read();
    probed(&mut world, 3, true);
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#2 ConnectionLoss Unknown", "connect h3"]
    );
    world.accept();
    // The session is known to no server but that one, so that it cannot be resumed.
    assert_eq!(world.read(), ["connect 0x0 at 1"]);
    world.send(&welcome(ID + 1, T as i32, Some(false)));
    assert_eq!(world.events(), ["CONNECTED"]);
    assert_eq!(world.read(), [r#"setWatches since 1: ["/a"] [] []"#]);
    probed(&mut world, 2, true);
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn a_read_only_server_keeps_a_session_of_the_quorum() {
    let mut config = config(2);
    config.read_only = true;
    let mut world = World::up_with(config);
    world.cut();
    world.greet(welcome(ID, T as i32, Some(true)));
    assert_eq!(world.hellos[1].id, ID);
    world.tick(100);
    probed(&mut world, 1, true);
    world.connect();
    assert_eq!(world.hellos[2].id, ID);
    assert_eq!(
        world.events(),
        [
            "SUSPENDED",
            "connect h2",
            "CONNECTED_RO",
            "probe h1",
            "disconnect",
            "SUSPENDED",
            "connect h1",
            "CONNECTED"
        ]
    );
}

#[test]
fn a_session_on_a_read_only_server_is_not_held() {
    // It cannot: those that have one expire the session without it.
    let mut config = config(2);
    config.read_only = true;
    let mut world = World::up_with(config);
    assert!(world.session.held_until().is_some() && world.session.ticket().is_some());
    world.cut();
    world.greet(welcome(ID, T as i32, Some(true)));
    assert_eq!(world.session.held_until(), None);
    assert!(world.session.ticket().is_some());
    let mut world = read_only(1);
    world.greet(welcome(ID, T as i32, Some(true)));
    assert_eq!(world.session.held_until(), None);
    assert!(world.session.ticket().is_none());
    assert_eq!(world.session.session_id(), Some(SessionId(ID)));
}

#[test]
fn a_read_only_server_may_return_no_id() {
    let mut world = read_only(1);
    world.greet(welcome(0, T as i32, Some(true)));
    assert_eq!(world.session.state(), SessionState::ConnectedReadOnly);
    assert_eq!(world.session.session_id(), None);
}

#[test]
fn after_probing_the_others_still_come_in_turn() {
    let mut world = read_only(3);
    world.greet(welcome(ID, T as i32, Some(true)));
    world.call(&get("/a", false));
    world.read();
    world.reply(1, &data(b""));
    world.idle(100);
    probed(&mut world, 2, false);
    world.events();
    world.cut();
    world.cut();
    assert_eq!(world.events(), ["SUSPENDED", "connect h2", "connect h3"]);
}

#[test]
fn a_server_that_wrongly_claims_to_take_writes_is_retried_with_backoff() {
    let mut world = read_only(2);
    let mut moves = 0;
    while world.now < Time::from_origin(millis(60_000)) {
        if let Some(host) = probe(&mut world) {
            moves += 1;
            probed(&mut world, host, true);
        }
        if world.host.is_some() && !world.open {
            world.greet(welcome(ID, T as i32, Some(true)));
        }
        world.idle(10);
    }
    // After 0.1, 0.2, 0.4 s and so on.
    assert_eq!(moves, 9);
    // A session on a server that takes writes ends that, once it has proven itself.
    let mut world = read_only(2);
    for round in 0..6 {
        world.greet(welcome(ID, T as i32, Some(true)));
        let found = loop {
            world.idle(10);
            if let Some(host) = probe(&mut world) {
                break host;
            }
        };
        probed(&mut world, found, round < 5);
    }
    world.cut();
    while world.host.is_none() {
        world.tick(10);
    }
    world.connect();
    world.idle(T / 3 + 100);
    world.cut();
    world.greet(welcome(ID, T as i32, Some(true)));
    world.events();
    world.tick(100);
    assert!(world.events()[0].starts_with("probe"));
}
