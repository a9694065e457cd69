//! A new list of hosts: which clients move, and how.

use super::*;

fn hosts(numbers: impl IntoIterator<Item = u16>) -> Vec<HostPort> {
    numbers.into_iter().map(|n| HostPort::new(format!("h{n}"), n)).collect()
}

fn shuffled(numbers: impl IntoIterator<Item = u16>) -> Config {
    let mut config = config(0);
    config.hosts = hosts(numbers);
    config.randomize_hosts = true;
    config
}

fn connected_to(world: &World) -> u16 {
    world.host.as_ref().expect("a host").port
}

impl World {
    fn set_hosts(&mut self, numbers: impl IntoIterator<Item = u16>) {
        self.session.set_hosts(self.now, hosts(numbers));
        self.absorb();
    }

    /// The answer to the only probe; the host that was asked.
    fn answer_probe(&mut self, answer: Probed) -> u16 {
        let events = self.events();
        let [event] = &events[..] else { panic!("not one probe: {events:?}") };
        let port = event.strip_prefix("probe h").expect("a probe").parse().unwrap();
        let host = Arc::new(HostPort::new(format!("h{port}"), port));
        self.session.handle_probed(self.now, &host, answer);
        self.absorb();
        port
    }

    /// Goes where the new list sends the session; all hosts serve.
    fn settle(&mut self) {
        if self.log.iter().any(|(_, line)| line.starts_with("probe")) {
            self.answer_probe(Probed::Writable);
        }
        if !self.open {
            self.connect();
        }
        self.read();
        self.events();
    }
}

/// Connected to host 1 of `of`, and about to move to one of the `added` hosts.
fn about_to_move(of: u16, added: core::ops::RangeInclusive<u16>) -> World {
    for seed in 0.. {
        let mut world = World::seeded(shuffled(1..=of), seed);
        world.start();
        world.connect();
        world.read();
        world.events();
        if connected_to(&world) != 1 {
            continue;
        }
        world.set_hosts((1..=of).chain(added.clone()));
        if !world.log.is_empty() {
            return world;
        }
    }
    unreachable!()
}

#[test]
fn the_load_stays_even_when_the_list_changes() {
    const CLIENTS: u64 = 10_000;

    let lists: [&[u16]; 9] = [
        &[1, 2, 3],
        &[1, 2, 3, 4, 5], // two more
        &[1, 2, 3, 4, 5], // the same
        &[2, 3, 4, 5],    // one less
        &[2, 3],          // two less
        &[3, 6, 7, 8],    // one is replaced, and two are added
        &[3, 6, 9, 10],   // two are replaced
        &[11, 12, 13],    // all are replaced, by fewer
        &[11, 14],        // one stays of three, and one is new
    ];
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let mut world = World::seeded(shuffled(lists[0].iter().copied()), seed);
            world.start();
            world.settle();
            world
        })
        .collect();
    let mut old = lists[0];
    for list in lists {
        let mut load = BTreeMap::<u16, u64>::new();
        let mut moved = 0;
        for world in &mut clients {
            let before = connected_to(world);
            world.set_hosts(list.iter().copied());
            world.settle();
            let after = connected_to(world);
            *load.entry(after).or_insert(0) += 1;
            moved += u64::from(before != after);
        }
        // No more move than must: those whose host is gone, and those above the new fair share of a kept host.
        let kept = old.iter().filter(|host| list.contains(host)).count() as u64;
        let (before, fair) = (CLIENTS / old.len() as u64, CLIENTS / list.len() as u64);
        let needed = CLIENTS - kept * before.min(fair);
        assert!(moved.abs_diff(needed) < CLIENTS / 20, "{moved} moved, not {needed}, to {list:?}");
        assert_eq!(load.len(), list.len());
        for (&host, &clients) in &load {
            assert!(
                clients.abs_diff(fair) < fair / 20,
                "{clients} on {host} of {list:?}: {load:?}"
            );
        }
        old = list;
    }
}

#[test]
fn a_client_leaves_its_host_only_when_another_answers() {
    for answer in [Probed::Writable, Probed::Undisclosed] {
        let mut world = about_to_move(2, 3..=9);
        assert!(world.open);
        let first = world.answer_probe(Probed::Unusable);
        assert!(world.open && first > 2);
        let second = world.answer_probe(answer);
        assert!(second > 2 && second != first);
        let expected = ["disconnect", "SUSPENDED", &format!("connect h{second}")];
        assert_eq!(world.events(), expected);
        world.connect();
        assert_eq!(world.events(), ["CONNECTED"]);
        assert_eq!(world.hellos[1].id, ID);
    }
}

#[test]
fn requests_in_flight_are_answered_before_the_move() {
    let mut world = about_to_move(1, 2..=2);
    let before = world.delete("/before");
    assert_eq!(world.read().len(), 1);
    assert_eq!(world.answer_probe(Probed::Writable), 2);
    let after = world.delete("/after");
    assert_eq!((world.read().len(), world.events().len()), (0, 0));
    world.ok(before as i32);
    let events = world.events();
    assert_eq!(events[1..], ["disconnect", "SUSPENDED", "connect h2"], "{events:?}");
    world.connect();
    assert_eq!(world.read().len(), 1);
    world.ok(after as i32);
    assert!(world.failures.is_empty());
}

#[test]
fn a_client_stays_if_no_added_host_answers() {
    let mut world = about_to_move(1, 2..=3);
    let mut asked = [world.answer_probe(Probed::Unusable), world.answer_probe(Probed::Unusable)];
    asked.sort_unstable();
    assert_eq!(asked, [2, 3]);
    assert_eq!(world.events(), [""; 0]);
    assert_eq!(connected_to(&world), 1);
    // A late answer changes nothing.
    let host = Arc::new(HostPort::new("h2", 2));
    world.session.handle_probed(world.now, &host, Probed::Writable);
    world.absorb();
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn an_added_host_that_fails_is_given_up_for_the_others() {
    let mut world = about_to_move(2, 3..=3);
    world.tick(T / 3);
    world.read();
    world.pong();
    assert_eq!(world.answer_probe(Probed::Writable), 3);
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h3"]);
    world.cut();
    let mut tried = Vec::new();
    while tried.len() < 4 {
        while world.host.is_none() {
            world.tick(1);
        }
        tried.push(connected_to(&world));
        world.cut();
    }
    assert!(tried.contains(&1) && tried.contains(&2), "{tried:?}");
}

#[test]
fn another_list_replaces_a_move() {
    // The host that is being asked is taken away again.
    let mut world = about_to_move(1, 2..=2);
    world.set_hosts([1]);
    assert_eq!(world.answer_probe(Probed::Writable), 2);
    assert_eq!(world.events(), [""; 0]);
    assert_eq!(connected_to(&world), 1);
    // The same list again does not ask again.
    let mut world = about_to_move(1, 2..=2);
    world.set_hosts([2, 1]);
    world.set_hosts([1, 2]);
    assert_eq!(world.answer_probe(Probed::Writable), 2);
    assert_eq!(world.events(), ["disconnect", "SUSPENDED", "connect h2"]);
}

#[test]
fn hosts_in_a_given_order_keep_their_clients() {
    for seed in 0..50 {
        let mut world = World::seeded(config(2), seed);
        world.start();
        world.connect();
        world.read();
        world.events();
        world.set_hosts(1..=9);
        assert_eq!(world.events(), [""; 0]);
    }
}
