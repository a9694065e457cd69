//! How soon clients are back after their connections were lost, and how many of them at a time.

use std::time::Duration;

use zk_client::{Backoff, Client, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{
    HOSTS, Sim,
    reconnects::{Host, Scene, connects_in, most_attempts, sessions_lost, worst_second},
};

/// Longer than a client needs that does not wait.
const AT_ONCE: Duration = Duration::from_millis(200);

const SEEDS: u64 = 20;

/// A client that is connected, in a world where all is well.
fn connected(sim: &Sim) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(sim.process()).expect("options that can be");
    drop(client.start());
    let until = sim.now() + Duration::from_secs(5);
    assert_eq!(sim.run_until(until, || client.connected()), Ok(true));
    client
}

/// Long enough for a client to be idle.
fn idle(sim: &Sim) {
    sim.run_for(Duration::from_secs(5), || {}).expect("all is well");
}

/// Whether the client is back at once, when all connections are cut.
fn is_back_at_once(sim: &Sim, client: &Client, then: impl FnOnce()) -> bool {
    sim.cut_all();
    assert_eq!(sim.run_until(sim.now() + AT_ONCE / 2, || !client.connected()), Ok(true));
    then();
    sim.run_until(sim.now() + AT_ONCE, || client.connected()).expect("all is well")
}

#[test]
fn an_idle_client_takes_its_time() {
    let mut at_once = 0;
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        idle(&sim);
        at_once += u64::from(is_back_at_once(&sim, &client, || {}));
        let until = sim.now() + Duration::from_secs(6);
        assert_eq!(sim.run_until(until, || client.connected()), Ok(true), "seed {seed}");
        drop(client);
        sim.end();
    }
    assert!(at_once < SEEDS / 4, "{at_once} of {SEEDS}");
}

#[test]
fn a_client_that_is_called_is_back_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        idle(&sim);
        let call = || drop(client.exists("/"));
        assert!(is_back_at_once(&sim, &client, call), "seed {seed}");
        drop(client);
        sim.end();
    }
}

#[test]
fn a_client_that_has_just_been_called_is_back_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        idle(&sim);
        drop(client.exists("/"));
        sim.run_for(Duration::from_millis(500), || {}).expect("all is well");
        assert!(is_back_at_once(&sim, &client, || {}), "seed {seed}");
        drop(client);
        sim.end();
    }
}

#[test]
fn who_holds_a_lock_is_back_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let acquiring = Lock::new(&client, "/lock").acquire();
        let until = sim.now() + Duration::from_secs(5);
        assert_eq!(sim.run_until(until, || acquiring.ready()), Ok(true));
        let guard = acquiring.value().expect("it is free");
        idle(&sim);
        assert!(is_back_at_once(&sim, &client, || {}), "seed {seed}");
        assert!(guard.is_held());
        drop((guard, acquiring, client));
        sim.end();
    }
}

// ---- sessions without clients ---------------------------------------------------------------------

#[test]
fn no_session_is_lost_whose_host_is_back_in_time() {
    for others in [Host::Refuses, Host::Hangs] {
        for hosts in [1, 3, 5, 7] {
            for seconds in [4, 6, 10, 30] {
                for is_busy in [false, true] {
                    let timeout = Duration::from_secs(seconds);
                    let scene = Scene { hosts, timeout, is_busy, ..Scene::default() };
                    let lost = sessions_lost(&scene, 100, others);
                    assert_eq!(lost, 0, "{scene:?}, others: {others:?}");
                }
            }
        }
    }
}

#[test]
fn servers_that_answer_once_are_left_alone() {
    for is_busy in [false, true] {
        for hosts in 1..=3 {
            let scene = Scene { hosts, is_busy, ..Scene::default() };
            let attempts = most_attempts(&scene, Duration::from_secs(5), Host::AnswersOnce);
            // A round each 50, 100, 200 ms and so on, at the earliest.
            assert!(attempts <= 7 * usize::from(hosts), "{attempts} attempts at {hosts} hosts");
        }
    }
}

#[test]
fn no_backoff_spins() {
    for max in [Duration::ZERO, Duration::from_secs(5)] {
        let backoff = Backoff { min: Duration::ZERO, max };
        let scene = Scene { hosts: 1, backoff, ..Scene::default() };
        let attempts = most_attempts(&scene, Duration::from_secs(1), Host::Refuses);
        assert!(attempts <= 200, "{attempts} attempts in a second");
    }
}

#[test]
fn a_quarter_of_the_clients_comes_in_any_second() {
    for seconds in [10, 30] {
        let scene = Scene { timeout: Duration::from_secs(seconds), ..Scene::default() };
        let worst = worst_second(&scene, 2_000);
        assert!(worst <= 0.25, "{worst}, T = {seconds} s");
    }
}

#[test]
fn many_hosts_and_a_slow_network_are_no_hindrance() {
    let scene = Scene {
        hosts: 30,
        timeout: Duration::from_secs(4),
        round_trip: Duration::from_millis(300),
        ..Scene::default()
    };
    assert_eq!(connects_in(&scene, Duration::from_secs(60)), Some(Duration::from_millis(600)));
    // After a round in vain there is more time for each.
    let scene = Scene { round_trip: Duration::from_millis(700), ..scene };
    let connected = connects_in(&scene, Duration::from_secs(60)).expect("it connects");
    assert!(connected < Duration::from_secs(32), "{connected:?}");
}
