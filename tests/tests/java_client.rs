//! The Java client 3.9.5, and Curator 5.9.0 on it, see the same on ZooKeeper and on the embedded server.
//!
//! The programs are in `tests/java`. They need the jars that `tests/jars/fetch.sh` fetches, and a JDK, so only
//! `tests/extended.sh` runs these tests.

use std::process::Stdio;

use zk_server::TestServer;
use zk_tests::{Ensemble, embedded_config, java_program, version_under_test};

/// What a program prints after "> ", to the end.
fn printed(program: &str, hosts: &str) -> Vec<String> {
    let output = java_program(program)
        .arg(hosts)
        .stderr(Stdio::inherit())
        .output()
        .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    assert_eq!(lines.last(), Some(&"end"), "{program} ended early, after: {lines:#?}");
    lines.into_iter().map(str::to_owned).collect()
}

/// Runs a program on both servers. The lines that must be there show that it did its work on ZooKeeper.
fn compare(program: &str, proofs: &[&str]) {
    let real = Ensemble::standalone();
    let embedded = TestServer::start_with(embedded_config(version_under_test())).expect("a port");
    let expected = printed(program, &real.hosts());
    for proof in proofs {
        assert!(
            expected.iter().any(|line| line.starts_with(proof)),
            "no {proof:?} in {expected:#?}"
        );
    }
    let got = printed(program, &embedded.hosts());
    let differences: Vec<_> =
        expected.iter().zip(&got).filter(|(expected, got)| expected != got).collect();
    assert!(differences.is_empty(), "(ZooKeeper, embedded server): {differences:#?}");
    assert_eq!(got.len(), expected.len());
}

#[test]
fn each_operation_of_the_java_client_has_the_same_result() {
    compare(
        "Operations.java",
        &[
            "events after a reconnect: [SyncConnected NodeCreated /ws/late",
            "reconfig: UNIMPLEMENTED",
        ],
    );
}

#[test]
fn curators_recipes_do_the_same() {
    compare(
        "Recipes.java",
        &["a crowd: 80 entries, at most 1 at once", "increments are counted: true"],
    );
}
