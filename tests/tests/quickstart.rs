//! The quickstart example runs on real ZooKeeper and on the embedded server.

use std::{
    env,
    process::{Command, Stdio},
};

use zk_server::TestServer;
use zk_tests::shared_ensemble;

/// Runs the example and checks its output.
fn quickstart(hosts: &str) {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "-p", "zk-client", "--example", "quickstart"])
        .env("ZK_HOSTS", hosts)
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let [said, errors] = [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out));
    assert!(output.status.success(), "{said}\n{errors}");
    for step in [
        "the session is CONNECTED",
        "/quickstart/favorite/node",
        "/quickstart/worker-0000000001",
        "NodeDataChanged",
        "nothing was done: check",
        "the session is LOST",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
}

#[test]
fn it_runs_on_zookeeper() {
    quickstart(&shared_ensemble().hosts());
}

#[test]
fn it_runs_on_the_embedded_server() {
    let server = TestServer::start().expect("there is a port");
    quickstart(&server.hosts());
}
