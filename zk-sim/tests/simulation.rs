//! The worlds, over a few seeds; that a seed decides all; and what the simulation has found, each on its own.

use std::time::Duration;

use zk_client::{Client, ErrorCode, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{HOSTS, Sim, workloads::WORLDS};

const SEEDS: u64 = 40;

#[test]
fn worlds_hold() {
    for world in WORLDS {
        for seed in 0..SEEDS {
            let sim = Sim::new(seed, None);
            let result = (world.run)(&sim);
            sim.end();
            assert_eq!(result, Ok(()), "seed {seed} of {}", world.name);
        }
    }
}

#[test]
fn a_seed_decides_all() {
    for world in WORLDS {
        let hash = |seed| {
            let sim = Sim::new(seed, None);
            let _ = (world.run)(&sim);
            sim.end();
            (sim.hash(), sim.steps(), sim.now())
        };
        for seed in 0..5 {
            assert_eq!(hash(seed), hash(seed), "seed {seed} of {}", world.name);
        }
        assert_ne!(hash(0), hash(1));
    }
}

/// A client that is connected, in a world where all is well.
fn connected(sim: &Sim) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(sim.process()).unwrap();
    drop(client.start());
    let until = sim.now() + Duration::from_secs(5);
    assert_eq!(sim.run_until(until, || client.connected()), Ok(true));
    client
}

/// The path is made with the first lock's node. Whoever gives up just when the server has said that there is
/// no such path must not make both after having looked whether there is something to take back.
#[test]
fn who_gives_up_a_lock_whose_path_is_missing_leaves_no_node() {
    for seed in 0..100 {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let acquiring = Lock::new(&client, "/lock").acquire();
        let refused = || sim.log().iter().any(|record| record.result == ErrorCode::NoNode);
        assert_eq!(sim.run_until(sim.now() + Duration::from_secs(5), refused), Ok(true));
        drop(acquiring);
        sim.run_for(Duration::from_secs(5), || {}).unwrap();
        let left = sim.children("/lock").unwrap_or_default();
        assert_eq!(left, [""; 0], "seed {seed}");
        drop(client);
        sim.end();
    }
}

/// Whether a node was made before its reply was lost is asked of a member that may not have heard of it.
#[test]
fn a_member_that_lags_is_not_asked_what_was_made() {
    for seed in 0..100 {
        let sim = Sim::new(seed, None);
        if sim.is_ensemble() {
            sim.create("/lock");
            let client = connected(&sim);
            for member in 0..3 {
                sim.set_lag(member, Duration::from_millis(500));
            }
            let lock = Lock::new(&client, "/lock");
            let acquiring = lock.acquire();
            let made = || !sim.log().is_empty();
            assert_eq!(sim.run_until(sim.now() + Duration::from_secs(5), made), Ok(true));
            sim.cut_all();
            let until = sim.now() + Duration::from_secs(20);
            assert_eq!(sim.run_until(until, || acquiring.ready()), Ok(true), "seed {seed}");
            assert_eq!(sim.children("/lock").map(|nodes| nodes.len()), Some(1), "seed {seed}");
            drop((acquiring, lock, client));
        }
        sim.end();
    }
}
