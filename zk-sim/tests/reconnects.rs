//! How soon clients reconnect after their connections were lost, and how many of them at a time.

use std::time::Duration;

use zk_client::{Backoff, Client, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{
    HOSTS, Sim,
    reconnects::{HostBehavior, Scenario, connects_in, most_attempts, sessions_lost, worst_second},
};

/// Longer than a client takes to reconnect without backoff.
const AT_ONCE: Duration = Duration::from_millis(200);

const SEEDS: u64 = 20;

/// Returns a connected client.
fn connected(sim: &Sim) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(sim.process()).expect("the options are valid");
    drop(client.start());
    let until = sim.now() + Duration::from_secs(5);
    assert_eq!(sim.run_until(until, || client.connected()), Ok(true));
    client
}

/// Runs until the client counts as idle.
fn let_idle(sim: &Sim) {
    sim.run_for(Duration::from_secs(5), || {}).expect("no rule is violated");
}

/// Cuts all connections. Returns whether the client reconnects at once.
fn reconnects_at_once(sim: &Sim, client: &Client, then: impl FnOnce()) -> bool {
    sim.cut_all();
    assert_eq!(sim.run_until(sim.now() + AT_ONCE / 2, || !client.connected()), Ok(true));
    then();
    sim.run_until(sim.now() + AT_ONCE, || client.connected()).expect("no rule is violated")
}

#[test]
fn idle_client_backs_off() {
    let mut at_once = 0;
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let_idle(&sim);
        at_once += u64::from(reconnects_at_once(&sim, &client, || {}));
        let until = sim.now() + Duration::from_secs(6);
        assert_eq!(sim.run_until(until, || client.connected()), Ok(true), "seed {seed}");
        drop(client);
        sim.end();
    }
    assert!(at_once < SEEDS / 4, "{at_once} of {SEEDS}");
}

#[test]
fn client_with_a_new_call_reconnects_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let_idle(&sim);
        let call = || drop(client.exists("/"));
        assert!(reconnects_at_once(&sim, &client, call), "seed {seed}");
        drop(client);
        sim.end();
    }
}

#[test]
fn client_with_a_recent_call_reconnects_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let_idle(&sim);
        drop(client.exists("/"));
        sim.run_for(Duration::from_millis(500), || {}).expect("no rule is violated");
        assert!(reconnects_at_once(&sim, &client, || {}), "seed {seed}");
        drop(client);
        sim.end();
    }
}

#[test]
fn client_that_holds_a_lock_reconnects_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let acquiring = Lock::new(&client, "/lock").acquire();
        let until = sim.now() + Duration::from_secs(5);
        assert_eq!(sim.run_until(until, || acquiring.ready()), Ok(true));
        let guard = acquiring.value().expect("the lock is free");
        let_idle(&sim);
        assert!(reconnects_at_once(&sim, &client, || {}), "seed {seed}");
        assert!(guard.is_held());
        drop((guard, acquiring, client));
        sim.end();
    }
}

// ---- sessions without clients ---------------------------------------------------------------------

#[test]
fn no_session_is_lost_if_its_host_is_back_in_time() {
    for others in [HostBehavior::Refuses, HostBehavior::Hangs] {
        for hosts in [1, 3, 5, 7] {
            for seconds in [4, 6, 10, 30] {
                for is_busy in [false, true] {
                    let timeout = Duration::from_secs(seconds);
                    let scenario = Scenario { hosts, timeout, is_busy, ..Scenario::default() };
                    let lost = sessions_lost(&scenario, 100, others);
                    assert_eq!(lost, 0, "{scenario:?}, others: {others:?}");
                }
            }
        }
    }
}

#[test]
fn servers_that_reply_once_are_not_flooded() {
    for is_busy in [false, true] {
        for hosts in 1..=3 {
            let scenario = Scenario { hosts, is_busy, ..Scenario::default() };
            let attempts =
                most_attempts(&scenario, Duration::from_secs(5), HostBehavior::RepliesOnce);
            // At most a round after each of 50, 100, 200 ms and so on.
            assert!(attempts <= 7 * usize::from(hosts), "{attempts} attempts at {hosts} hosts");
        }
    }
}

#[test]
fn no_backoff_spins() {
    for max in [Duration::ZERO, Duration::from_secs(5)] {
        let backoff = Backoff { min: Duration::ZERO, max };
        let scenario = Scenario { hosts: 1, backoff, ..Scenario::default() };
        let attempts = most_attempts(&scenario, Duration::from_secs(1), HostBehavior::Refuses);
        assert!(attempts <= 200, "{attempts} attempts in a second");
    }
}

#[test]
fn at_most_a_quarter_of_the_clients_reconnects_in_any_second() {
    for seconds in [10, 30] {
        let scenario = Scenario { timeout: Duration::from_secs(seconds), ..Scenario::default() };
        let worst = worst_second(&scenario, 2_000);
        assert!(worst <= 0.25, "{worst}, T = {seconds} s");
    }
}

#[test]
fn client_connects_with_many_hosts_and_a_slow_network() {
    let scenario = Scenario {
        hosts: 30,
        timeout: Duration::from_secs(4),
        round_trip: Duration::from_millis(300),
        ..Scenario::default()
    };
    assert_eq!(connects_in(&scenario, Duration::from_secs(60)), Some(Duration::from_millis(600)));
    // After a round without success, each host has more time.
    let scenario = Scenario { round_trip: Duration::from_millis(700), ..scenario };
    let connected = connects_in(&scenario, Duration::from_secs(60)).expect("it connects");
    assert!(connected < Duration::from_secs(32), "{connected:?}");
}
