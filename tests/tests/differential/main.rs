//! Compares the embedded server with real ZooKeeper. Both run the same random sequences of operations, and
//! their replies must be equal to the bit, except for times, session ids, passwords, nonces, and the order of
//! unordered lists.
//!
//! ZooKeeper is 3.8 or the release that `ZK_TEST_VERSION` names, and the embedded server behaves like that
//! release. There are three kinds of servers: one with the defaults, one with TLS and SASL, and one that serves
//! nobody who has not authenticated.
//!
//! `ZK_DIFFERENTIAL_SEQUENCES` sets the number of sequences; the default is a short run.
//! `ZK_DIFFERENTIAL_SEED` sets the seed. A sequence that fails is shrunk and printed with the seed.

mod access;
mod generators;
mod sequence;
mod server;

use std::{
    env,
    sync::{
        PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use zk_server::TestServer;
use zk_tests::{ClientAuth, Holder, Options, embedded_config, shared_ensemble, version_under_test};

use access::Access;
use generators::sequence;
use sequence::Step;
use server::ServerUnderTest;

/// The default number of sequences on a server with the defaults.
const SEQUENCES: u32 = 300;
/// The default number of sequences on the other servers.
const SECURE_SEQUENCES: u32 = 100;
/// The maximum number of attempts to shrink a failing sequence.
const SHRINKS: u32 = 2_000;

/// The users of SASL and their passwords.
const USERS: [(&str, &str); 2] = [("bob", "bob's secret"), ("super", "super's secret")];
/// The certificates of the clients that use TLS.
const HOLDERS: [Holder; 2] = [Holder::Client, Holder::SecondClient];
/// The schemes of which a client needs one on a server that demands authentication.
const DEMANDED: [&str; 2] = ["digest", "sasl"];

#[test]
fn the_embedded_server_answers_like_zookeeper() {
    let embedded = TestServer::start_with(embedded_config(version_under_test())).expect("a port");
    let access = |address| Access { address, tls: None };
    let real = access(shared_ensemble().node(0).address());
    run(SEQUENCES, real, access(embedded.address()));
}

#[test]
fn the_embedded_server_authenticates_like_zookeeper() {
    run_secure(Options::default());
}

#[test]
fn the_embedded_server_demands_authentication_like_zookeeper() {
    run_secure(Options::default().enforce_auth(&DEMANDED));
}

/// Compares servers with TLS and SASL.
fn run_secure(options: Options) {
    let options = options
        .tls(ClientAuth::Need)
        .sasl_digest_md5(&USERS)
        .property("zookeeper.superUser", "super");
    let real = options.start(1);
    let embedded = options.start_embedded(version_under_test());
    let access = |address, tls| Access { address, tls: Some((tls, HOLDERS)) };
    let tls_address = embedded.tls_address().expect("a server with TLS");
    run(
        SECURE_SEQUENCES,
        access(real.node(0).address(), real.node(0).tls_address()),
        access(embedded.address(), tls_address),
    );
}

/// Runs sequences on ZooKeeper and on an embedded server, by default as many as this.
fn run(sequences: u32, real: Access, embedded: Access) {
    let sequences = setting("ZK_DIFFERENTIAL_SEQUENCES").unwrap_or(sequences.into());
    let seed = setting("ZK_DIFFERENTIAL_SEED").unwrap_or(1);
    let mut real = ServerUnderTest::new(real);
    let mut ours = ServerUnderTest::new(embedded);

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
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
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
