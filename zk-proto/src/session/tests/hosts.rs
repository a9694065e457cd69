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

/// A session on the first of `hosts` hosts that has proven itself.
fn proven(hosts: u16) -> World {
    proven_with(config(hosts))
}

fn proven_with(config: Config) -> World {
    let mut world = World::up_with(config);
    world.tick(T / 3);
    assert_eq!(world.read(), ["ping"]);
    world.pong();
    world
}

#[test]
fn after_a_loss_the_other_hosts_are_tried_at_once_in_turn() {
    let mut world = proven(4);
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
fn a_pause_is_between_rounds_of_all_hosts() {
    let mut world = World::new(config(5));
    world.start();
    let attempts = attempts(&mut world, 100, World::cut);
    let mut ceiling: u64 = 100;
    for (number, gap) in gaps(&attempts).into_iter().enumerate() {
        if (number + 1) % 5 > 0 {
            assert_eq!(gap, 0, "before attempt {number}");
        } else {
            assert!((ceiling / 2..=ceiling + 1).contains(&gap), "{gap} of {ceiling}");
            ceiling = (ceiling * 2).min(10_000 / 3);
        }
    }
    for round in attempts.chunks(5) {
        let mut hosts: Vec<_> = round.iter().map(|(_, host)| host).collect();
        hosts.sort();
        assert_eq!(hosts, ["h1", "h2", "h3", "h4", "h5"]);
    }
}

#[test]
fn a_session_that_has_proven_itself_makes_the_pause_short_again() {
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
    // To be granted a session is not enough, nor is an answer, nor time without one.
    world.connect();
    world.cut();
    assert!(slow(&mut world));
    world.connect();
    world.delete("/a");
    world.read();
    world.ok(1);
    world.cut();
    assert!(slow(&mut world));
    world.connect();
    world.tick(1_000);
    world.cut();
    assert!(slow(&mut world));
    world.connect();
    world.tick(T / 3);
    world.read();
    world.pong();
    world.cut();
    assert!(!slow(&mut world));
}

#[test]
fn servers_that_answer_once_and_close_are_not_returned_to_in_a_hot_loop() {
    for hosts in 1..=3 {
        let mut world = World::new(config(hosts));
        world.start();
        let mut connects = 0;
        while world.now < Time::from_origin(millis(5_000)) {
            if world.host.is_none() {
                world.tick(1);
                continue;
            }
            connects += 1;
            world.connect();
            let id = world.delete("/a");
            world.read();
            world.ok(id as i32);
            world.cut();
        }
        // 0, 50, 150, 350, 750, 1550 and 3150 ms at the earliest.
        assert!((4..=7 * hosts).contains(&connects), "{connects} connects to {hosts} hosts");
    }
}

#[test]
fn no_backoff_spins() {
    for (max, most) in [(0, 200), (5_000, 16)] {
        let mut config = config(1);
        config.backoff = Backoff { min: Duration::ZERO, max: millis(max) };
        let mut world = World::new(config);
        world.start();
        let attempts = attempts(&mut world, 1_000, World::cut);
        let in_a_second = attempts.iter().filter(|(at, _)| *at < 1_000).count();
        assert!(in_a_second <= most, "{in_a_second} attempts in a second");
    }
}

/// What a host does with an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Host {
    Refuses,
    Hangs,
    Serves,
}

/// Lets time go by until the session is connected again, with hosts as `host` says; whether its
/// session is lost by then, as the server has not heard of it since `heard`.
fn comes_back(
    world: &mut World,
    heard: Time,
    timeout: u64,
    host: impl Fn(&str, u64) -> Host,
) -> bool {
    let expiry = heard.after(millis(timeout));
    for _ in 0..100_000 {
        let Some(at) = world.host.as_ref() else {
            world.tick(1);
            continue;
        };
        match host(&at.host, world.now.since_origin().as_millis() as u64) {
            Host::Refuses => world.cut(),
            Host::Hangs => world.tick(1),
            Host::Serves => return world.now < expiry,
        }
    }
    panic!("it does not come back");
}

#[test]
fn a_session_survives_when_its_host_is_back_in_half_of_its_time() {
    const TIMEOUT: u64 = 10_000;

    for others in [Host::Refuses, Host::Hangs] {
        for hosts in [1, 2, 3, 5, 7, 9] {
            for seed in 0..100 {
                let mut world = World::seeded(config(hosts), seed);
                world.start();
                world.greet(welcome(ID, TIMEOUT as i32, Some(false)));
                world.idle(TIMEOUT + seed * 33);
                let (cut, heard) = (world.now.since_origin().as_millis() as u64, world.now);
                // It was heard at its last ping, up to a third of the timeout ago.
                let heard = Time::from_origin(heard.since_origin() - millis(TIMEOUT / 3));
                world.cut();
                let survives = comes_back(&mut world, heard, TIMEOUT, |host, now| match host {
                    "h1" if now < cut + 5_000 => Host::Refuses,
                    "h1" => Host::Serves,
                    _ => others,
                });
                assert!(survives, "seed {seed}, {hosts} hosts, others: {others:?}");
            }
        }
    }
}

#[test]
fn a_host_that_hangs_as_well_is_not_tried_out_of_turn() {
    let mut world = proven(4);
    world.cut();
    let attempts = attempts(&mut world, 8, |world| {
        if world.host.as_ref().unwrap().host == "h1" {
            world.cut();
        } else {
            let turn = world.host.clone();
            while world.host == turn {
                world.tick(10);
            }
        }
    });
    let hosts: Vec<_> = attempts.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["h2", "h1", "h3", "h1", "h4", "h1", "h2", "h1"]);
    let mut world = proven(4);
    world.cut();
    let mut hosts = Vec::new();
    for _ in 0..8 {
        let turn = world.host.clone();
        hosts.push(turn.as_ref().unwrap().host.clone());
        while world.host == turn || world.host.is_none() {
            world.tick(10);
        }
    }
    assert_eq!(hosts, ["h2", "h1", "h3", "h4", "h1", "h2", "h3", "h4"]);
}

// ---- time for one host ----------------------------------------------------------------------------

/// How many attempts it takes to connect over a network on which that takes `takes`.
fn connects_after(hosts: u16, timeout: u64, takes: u64) -> usize {
    let mut config = config(hosts);
    config.session_timeout = millis(timeout);
    let mut world = World::new(config);
    world.start();
    for attempt in 1..=10 * usize::from(hosts) {
        while world.host.is_none() {
            world.tick(1);
        }
        let deadline = world.session.poll_timeout().expect("an attempt has a deadline");
        let patience = deadline.since(world.now).as_millis() as u64;
        if patience > takes {
            return attempt;
        }
        world.tick(patience);
    }
    panic!("never");
}

#[test]
fn a_host_has_a_second_at_least_and_more_after_a_round_in_vain() {
    for (hosts, timeout, takes, attempts) in [
        (30, 4_000, 600, 1),
        (30, 4_000, 990, 1),
        (30, 4_000, 1_600, 31),
        (30, 4_000, 3_000, 61),
        (3, 600, 190, 1),
        (100, 2_000, 400, 1),
    ] {
        assert_eq!(connects_after(hosts, timeout, takes), attempts, "{hosts}, {timeout}, {takes}");
    }
}

#[test]
fn a_network_that_was_slow_gets_its_time_from_then_on() {
    let mut config = config(30);
    config.session_timeout = millis(4_000);
    let mut world = World::new(config);
    world.start();
    world.tick(450);
    world.accept();
    world.read();
    world.tick(450);
    world.send(&welcome(ID, 4_000, Some(false)));
    world.idle(4_000);
    world.events();
    world.cut();
    world.tick(1_799);
    assert_eq!(world.events(), ["SUSPENDED", "connect h2"]);
    world.tick(1);
    assert_eq!(world.events()[0], "disconnect");
}

#[test]
fn no_host_is_waited_for_longer_than_half_a_minute() {
    let mut config = config(1);
    config.session_timeout = millis(i32::MAX as u64);
    let mut world = World::new(config);
    world.start();
    world.greet(welcome(ID, i32::MAX, Some(false)));
    world.cut();
    while world.host.is_none() {
        world.tick(1);
    }
    world.events();
    world.tick(29_999);
    assert_eq!(world.events(), [""; 0]);
    world.tick(1);
    assert_eq!(world.events()[0], "disconnect");
}

// ---- many clients ---------------------------------------------------------------------------------

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
fn clients_that_nobody_waits_for_spread_when_their_server_dies() {
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
fn a_client_at_work_comes_back_at_once() {
    // A request is under way.
    let mut world = spread(1, T, 0);
    world.delete("/a");
    world.read();
    world.cut();
    assert_eq!(returns(&mut world), 0);
    // One was answered just now.
    let mut world = spread(1, T, 0);
    world.delete("/a");
    world.read();
    world.ok(1);
    world.tick(900);
    world.cut();
    assert_eq!(returns(&mut world), 0);
    let mut world = spread(1, T, 0);
    world.delete("/a");
    world.read();
    world.ok(1);
    world.tick(1_000);
    world.cut();
    assert!(returns(&mut world) > 0);
}

#[test]
fn a_request_ends_the_wait() {
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
fn a_request_is_no_reason_to_skip_a_pause() {
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
fn who_waits_is_back_with_two_fifths_of_the_session_left() {
    for seed in 0..200 {
        let mut world = spread(seed, 6_000, 1_900);
        let left = 6_000 - 1_900;
        world.cut();
        assert!(returns(&mut world) <= left * 3 / 5 + 1);
    }
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
        ["disconnect", "SUSPENDED", "#1 ConnectionLoss Unknown", "connect h4"]
    );
    world.session.set_hosts(world.now, hosts(&[3]));
    world.absorb();
    assert_eq!(world.events(), ["disconnect", "connect h3"]);
    world.connect();
    assert_eq!(world.events(), ["CONNECTED"]);
    assert_eq!(world.session.config().hosts, hosts(&[3]));
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
    assert!(attempts.last().unwrap().0 > 90 * 1_600 / 3);
}

#[test]
fn a_host_that_was_never_tried_is_tried_at_once() {
    let mut world = World::new(config(2));
    world.start();
    attempts(&mut world, 20, World::cut);
    world.events();
    world.tick(10);
    assert_eq!(world.events(), [""; 0]);
    let hosts = [1, 2, 3, 4].map(|n| HostPort::new(format!("h{n}"), n)).to_vec();
    world.session.set_hosts(world.now, hosts);
    world.absorb();
    world.cut();
    assert_eq!(world.events(), ["connect h3", "connect h4"]);
    world.cut();
    assert!(world.host.is_none());
}

#[test]
fn a_session_without_hosts_waits() {
    let mut world = World::new(config(0));
    world.start();
    world.tick(100_000);
    assert_eq!(world.events(), [""; 0]);
    world.session.set_hosts(world.now, vec![HostPort::new("h1", 1)]);
    world.absorb();
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
    assert_eq!(world.events(), ["SUSPENDED", "connect h2", "connect h3"]);
}

#[test]
fn a_server_that_says_it_takes_writes_and_does_not_is_returned_to_ever_more_rarely() {
    let mut world = read_only(2);
    let mut moves = 0;
    while world.now < Time::from_origin(millis(60_000)) {
        if let Some(line) = world.events().iter().find(|line| line.starts_with("probe h")) {
            moves += 1;
            let host = line.strip_prefix("probe h").unwrap().parse().unwrap();
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
            let probe = world.events().into_iter().find(|line| line.starts_with("probe h"));
            if let Some(probe) = probe {
                break probe;
            }
        };
        probed(&mut world, found.strip_prefix("probe h").unwrap().parse().unwrap(), round < 5);
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
