//! The workloads with a few seeds, the replay of a seed, and bugs that the simulation has found, one test each.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use zk_client::{Client, ErrorCode, OPEN_ACL_UNSAFE, recipes::Lock};
use zk_sim::{HOSTS, Sim, workloads::WORKLOADS};

const SEEDS: u64 = 40;

#[test]
fn workloads_hold() {
    for workload in WORKLOADS {
        for seed in 0..SEEDS {
            let sim = Sim::new(seed, None);
            let result = (workload.run)(&sim);
            sim.end();
            assert_eq!(result, Ok(()), "seed {seed} of {}", workload.name);
        }
    }
}

#[test]
fn seed_replays_identically() {
    for workload in WORKLOADS {
        let hash = |seed| {
            let sim = Sim::new(seed, None);
            let _ = (workload.run)(&sim);
            sim.end();
            (sim.hash(), sim.steps(), sim.now())
        };
        for seed in 0..5 {
            assert_eq!(hash(seed), hash(seed), "seed {seed} of {}", workload.name);
        }
        assert_ne!(hash(0), hash(1));
    }
}

#[test]
fn traces_show_no_credential() {
    for workload in WORKLOADS {
        let trace = Arc::new(Mutex::new(String::new()));
        let print = {
            let trace = trace.clone();
            move |line: &str| trace.lock().unwrap().push_str(line)
        };
        let sim = Sim::new(3, Some(Box::new(print)));
        let _ = (workload.run)(&sim);
        sim.end();
        let trace = trace.lock().unwrap();
        assert!(trace.contains("connected"), "nothing is traced");
        // The credential of all clients, and its hash.
        for secret in ["sim:ulated", "hGtofyPrhRcOVfWAUG7P8lnBF8k="] {
            assert!(!trace.contains(secret), "{secret} is shown by {}", workload.name);
        }
    }
}

/// Returns a connected client.
fn connected(sim: &Sim) -> Client {
    let builder = Client::builder().hosts(HOSTS).default_acl(&OPEN_ACL_UNSAFE);
    let client = builder.build_on(sim.process()).unwrap();
    drop(client.start());
    let until = sim.now() + Duration::from_secs(5);
    assert_eq!(sim.run_until(until, || client.connected()), Ok(true));
    client
}

/// The first contender creates the path of the lock. A contender that gives up just when the server has replied that
/// the path does not exist must not create path and node after it has checked whether there is a node to delete.
#[test]
fn giving_up_a_lock_without_a_path_leaves_no_node() {
    for seed in 0..100 {
        let sim = Sim::new(seed, None);
        let client = connected(&sim);
        let acquiring = Lock::new(&client, "/lock").acquire();
        let is_refused = || sim.log().iter().any(|record| record.result == ErrorCode::NoNode);
        assert_eq!(sim.run_until(sim.now() + Duration::from_secs(5), is_refused), Ok(true));
        drop(acquiring);
        sim.run_for(Duration::from_secs(5), || {}).unwrap();
        let left = sim.children("/lock").unwrap_or_default();
        assert_eq!(left, [""; 0], "seed {seed}");
        drop(client);
        sim.end();
    }
}

/// After the reply to a create was lost, the client looks for the node on a member that may not have learned of it.
#[test]
fn lost_reply_of_a_create_is_resolved_on_a_lagging_member() {
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
            let is_created = || !sim.log().is_empty();
            assert_eq!(sim.run_until(sim.now() + Duration::from_secs(5), is_created), Ok(true));
            sim.cut_all();
            let until = sim.now() + Duration::from_secs(20);
            assert_eq!(sim.run_until(until, || acquiring.ready()), Ok(true), "seed {seed}");
            assert_eq!(sim.children("/lock").map(|nodes| nodes.len()), Some(1), "seed {seed}");
            drop((acquiring, lock, client));
        }
        sim.end();
    }
}
