//! Which host is tried, when; and servers without a quorum.

use super::*;

/// When and where a session that is cut at once was connecting, over `rounds` attempts.
fn attempts(world: &mut World, rounds: usize, fail: fn(&mut World)) -> Vec<(u64, String)> {
    let mut attempts = Vec::new();
    for _ in 0..rounds {
        while world.host.is_none() {
            world.tick(1);
        }
        let host = world.host.as_ref().unwrap().host.clone();
        attempts.push((world.now.since_origin().as_millis() as u64, host));
        fail(world);
    }
    attempts
}

fn gaps(attempts: &[(u64, String)]) -> Vec<u64> {
    attempts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

#[test]
fn after_a_loss_the_other_hosts_are_tried_at_once_in_turn() {
    let mut world = World::up(4);
    world.tick(T / 3);
    world.read();
    world.pong();
    world.cut();
    let attempts = attempts(&mut world, 5, World::cut);
    let hosts: Vec<_> = attempts.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["h2", "h3", "h4", "h1", "h2"]);
    let gaps = gaps(&attempts);
    assert_eq!(gaps[..2], [0, 0]);
    assert!((50..=101).contains(&gaps[2]), "{gaps:?}");
}

#[test]
fn a_server_that_accepts_and_closes_is_tried_ever_more_rarely() {
    let mut world = World::new(config(1));
    world.start();
    let attempts = attempts(&mut world, 200, |world| {
        world.accept();
        world.read();
        world.cut();
    });
    let mut ceiling: u64 = 100;
    for gap in gaps(&attempts) {
        assert!((ceiling / 2..=ceiling + 1).contains(&gap), "{gap} of {ceiling}");
        ceiling = (ceiling * 2).min(10_000 / 3);
    }
}

#[test]
fn an_answered_request_makes_the_delay_short_again() {
    let mut world = World::new(config(1));
    world.start();
    attempts(&mut world, 20, World::cut);
    let slow = |world: &mut World| {
        let from = world.now;
        while world.host.is_none() {
            world.tick(1);
        }
        world.now.since(from) > millis(1_000)
    };
    assert!(slow(&mut world));
    // To be granted a session is not enough, only to be served is.
    world.connect();
    world.cut();
    assert!(slow(&mut world));
    world.connect();
    world.delete("/a");
    world.read();
    world.ok(1);
    world.cut();
    assert!(!slow(&mut world));
}

#[test]
fn seeds_shuffle_hosts_and_the_same_seed_does_the_same() {
    let first = |seed| {
        let mut config = config(5);
        config.randomize_hosts = true;
        let mut world = World::seeded(config, seed);
        world.start();
        attempts(&mut world, 20, World::cut)
    };
    let mut orders: Vec<_> = (0..50).map(first).collect();
    assert_eq!(first(7), orders[7]);
    for order in &orders {
        let mut hosts: Vec<_> = order[..5].iter().map(|(_, host)| host).collect();
        hosts.sort();
        assert_eq!(hosts, ["h1", "h2", "h3", "h4", "h5"]);
    }
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 40);
}

#[test]
fn a_host_that_is_listed_twice_counts_once() {
    let mut config = config(2);
    config.hosts.extend(config.hosts.clone());
    let mut world = World::new(config);
    world.start();
    let attempts = attempts(&mut world, 4, World::cut);
    let hosts: Vec<_> = attempts.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["h1", "h2", "h1", "h2"]);
    let gaps = gaps(&attempts);
    assert!(gaps[0] == 0 && gaps[1] >= 50, "{gaps:?}");
}

#[test]
fn another_list_keeps_a_connection_whose_host_it_has() {
    let mut world = World::up(2);
    let hosts = |ports: &[u16]| ports.iter().map(|n| HostPort::new(format!("h{n}"), *n)).collect();
    world.session.set_hosts(world.now, hosts(&[3, 1]));
    world.session.set_hosts(world.now, Vec::new());
    world.absorb();
    assert_eq!(world.events(), [""; 0]);
    world.delete("/a");
    world.read();
    world.session.set_hosts(world.now, hosts(&[3, 4]));
    world.absorb();
    assert_eq!(
        world.events(),
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss Unknown", "connect h3"]
    );
    world.session.set_hosts(world.now, hosts(&[4]));
    world.absorb();
    assert_eq!(world.events()[0], "disconnect");
    while world.host.is_none() {
        world.tick(10);
    }
    world.connect();
    assert_eq!(world.events(), ["connect h4", "CONNECTED"]);
    assert_eq!(world.session.config().hosts, hosts(&[4]));
}

#[test]
fn another_list_is_no_reason_to_hurry() {
    let mut world = World::new(config(2));
    world.start();
    let attempts = attempts(&mut world, 100, |world| {
        world.cut();
        let hosts = (1..=3).map(|n| HostPort::new(format!("h{n}"), n)).collect();
        world.session.set_hosts(world.now, hosts);
        world.absorb();
    });
    assert!(attempts.last().unwrap().0 > 90 * 1_600);
}

#[test]
fn a_session_without_hosts_waits() {
    let mut world = World::new(config(0));
    world.start();
    world.tick(100_000);
    assert_eq!(world.events(), [""; 0]);
    world.session.set_hosts(world.now, vec![HostPort::new("h1", 1)]);
    world.tick(10_000);
    assert_eq!(world.events(), ["connect h1"]);
}

// ---- read-only ------------------------------------------------------------------------------------

fn read_only(hosts: u16) -> World {
    let mut config = config(hosts);
    config.read_only = true;
    let mut world = World::new(config);
    world.start();
    world
}

fn probed(world: &mut World, host: u16, writable: bool) {
    let host = Arc::new(HostPort::new(format!("h{host}"), host));
    world.session.handle_probed(world.now, &host, writable);
    world.absorb();
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
            probes.push((at, line.clone()));
            let host = line.strip_prefix("probe h").unwrap().parse().unwrap();
            probed(world, host, false);
        }
    }
    probes
}

#[test]
fn without_a_quorum_the_other_hosts_are_asked_ever_more_rarely() {
    let mut world = read_only(3);
    world.greet(welcome(ID, T as i32, Some(true)));
    assert_eq!(world.hellos[0].read_only, Some(true));
    assert_eq!(world.events(), ["connect h1", "CONNECTED_RO"]);
    assert_eq!(world.session.client_state(), ClientState::ConnectedReadOnly);
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
fn a_session_that_a_quorum_knows_is_kept_through_a_server_without() {
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
fn a_server_without_a_quorum_holds_no_session() {
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
fn a_server_without_a_quorum_may_give_no_number() {
    let mut world = read_only(1);
    world.greet(welcome(0, T as i32, Some(true)));
    assert_eq!(world.session.state(), State::ConnectedReadOnly);
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
    world.cut();
    assert_eq!(world.events(), ["SUSPENDED", "connect h2", "connect h3"]);
}
