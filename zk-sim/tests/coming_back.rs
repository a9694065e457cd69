//! How soon a client is back after its connection was lost.

use std::time::Duration;

use zk_client::{Client, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{HOSTS, Sim};

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
