//! Which host is tried, when, and for how long.

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

pub(super) fn gaps(attempts: &[(u64, String)]) -> Vec<u64> {
    attempts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

/// A session on the first of `hosts` hosts that has proven itself.
fn proven(hosts: u16) -> World {
    proven_with(config(hosts))
}

pub(super) fn proven_with(config: Config) -> World {
    let mut world = World::up_with(config);
    world.tick(T / 3);
    assert_eq!(world.read(), ["ping"]);
    world.pong();
    world
}

#[test]
fn after_a_connection_loss_the_other_hosts_are_tried_at_once() {
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
fn a_server_that_accepts_and_closes_is_retried_with_backoff() {
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
fn the_pause_is_between_rounds_of_all_hosts() {
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
fn a_session_that_has_proven_itself_resets_the_backoff() {
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
fn an_answer_that_is_too_large_proves_a_session() {
    for (waited, is_proven) in [(T / 3, true), (T / 4, false)] {
        let mut config = config(1);
        config.max_reply = 100;
        let mut world = World::new(config);
        world.start();
        attempts(&mut world, 20, World::cut);
        while world.host.is_none() {
            world.tick(1);
        }
        world.connect();
        world.tick(T / 6);
        let id = world.call(&get("/a", false));
        world.read();
        world.tick(waited - T / 6);
        world.reply(id as i32, &data(&[7; 200]));
        let reason = &world.failures[&id].reason;
        assert!(matches!(reason, Reason::ReplyTooLarge { .. }), "{reason}");
        world.cut();
        let gaps = gaps(&attempts(&mut world, 3, World::cut));
        // 100 ms, doubling, or 4 s, with jitter.
        let is_short = gaps.iter().all(|gap| *gap <= 401);
        assert_eq!(is_short, is_proven, "{gaps:?}");
    }
}

#[test]
fn servers_that_answer_once_and_close_are_retried_with_backoff() {
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
fn a_backoff_of_zero_does_not_spin() {
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
fn a_session_survives_an_outage_of_half_its_timeout() {
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
fn the_last_host_keeps_its_turn_if_it_hangs() {
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
        let host_timeout = deadline.since(world.now).as_millis() as u64;
        if host_timeout > takes {
            return attempt;
        }
        world.tick(host_timeout);
    }
    panic!("never");
}

#[test]
fn a_host_gets_at_least_a_second_and_more_after_a_failed_round() {
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
fn hosts_get_more_time_after_a_slow_connection() {
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
fn a_host_gets_at_most_thirty_seconds() {
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

#[test]
fn the_seed_determines_the_order_of_hosts() {
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
fn a_new_list_keeps_the_connection_to_a_host_in_it() {
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
fn a_new_list_does_not_skip_the_backoff() {
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
fn an_added_host_is_tried_at_once() {
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
