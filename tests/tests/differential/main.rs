//! Compares the embedded server with real ZooKeeper. Both run the same random sequences of operations, and
//! their replies must be equal to the bit, except for times, session ids, passwords, and the order of
//! unordered lists.
//!
//! ZooKeeper is 3.8 or the release that `ZK_TEST_VERSION` names, and the embedded server behaves like that
//! release.
//!
//! `ZK_DIFFERENTIAL_SEQUENCES` sets the number of sequences; the default is a short run.
//! `ZK_DIFFERENTIAL_SEED` sets the seed. A sequence that fails is shrunk and printed with the seed.

mod sequence;
mod server;

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use zk_server::TestServer;
use zk_tests::{embedded_config, shared_ensemble, version_under_test};

use sequence::{Step, sequence};
use server::ServerUnderTest;

/// The default number of sequences.
const SEQUENCES: u32 = 300;
/// The maximum number of attempts to shrink a failing sequence.
const SHRINKS: u32 = 2_000;

#[test]
fn the_embedded_server_answers_like_zookeeper() {
    let sequences = setting("ZK_DIFFERENTIAL_SEQUENCES").unwrap_or(SEQUENCES.into());
    let seed = setting("ZK_DIFFERENTIAL_SEED").unwrap_or(1);
    let embedded = TestServer::start_with(embedded_config(version_under_test())).expect("a port");
    let mut real = ServerUnderTest::new(shared_ensemble().node(0).address());
    let mut ours = ServerUnderTest::new(embedded.address());

    let config = Config {
        cases: u32::try_from(sequences).expect("a number of sequences"),
        max_shrink_iters: SHRINKS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let started = AtomicUsize::new(0);
    let servers = std::sync::Mutex::new((&mut real, &mut ours));
    let result = TestRunner::new_with_rng(config, rng).run(&sequence(), |steps| {
        let mut servers = servers.lock().expect("no thread has panicked with it");
        let (real, ours) = &mut *servers;
        let root = format!("/d{}", started.fetch_add(1, Ordering::Relaxed));
        compare(real, ours, &root, &steps)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => {
            let steps: Vec<_> = steps.iter().map(|step| format!("\n  {step:?}")).collect();
            panic!("seed {seed}: after {started:?} sequences: {}\n{why}", steps.concat());
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

fn compare(
    real: &mut ServerUnderTest,
    ours: &mut ServerUnderTest,
    root: &str,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let (expected, got) = thread::scope(|scope| {
        let expected = scope.spawn(|| real.run(root, steps));
        let got = ours.run(root, steps);
        (expected.join().expect("ZooKeeper answers"), got)
    });
    for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
        if expected != got {
            return Err(TestCaseError::fail(format!(
                "step {at} differs: {:?}\nZooKeeper: {expected:#?}\nembedded: {got:#?}",
                steps[at]
            )));
        }
    }
    Ok(())
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}
