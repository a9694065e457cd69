//! ZooKeeper's own command line client.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::installed::{JAVA, classpath};

/// Runs `commands` in ZooKeeper's command line client, connected to the server at `hosts`. Returns its
/// standard output, followed by its standard error.
///
/// # Panics
///
/// If the client does not run.
#[must_use]
#[track_caller]
pub fn zk_cli(hosts: &str, commands: &[&str]) -> String {
    zk_cli_with(&[], hosts, commands)
}

/// As [`zk_cli`], with these system properties.
///
/// # Panics
///
/// If the client does not run.
#[must_use]
#[track_caller]
pub fn zk_cli_with(properties: &[(&str, &str)], hosts: &str, commands: &[&str]) -> String {
    let mut client = Command::new(JAVA)
        .args(["-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"])
        .args(["-Dorg.apache.logging.log4j.level=OFF"])
        .args(properties.iter().map(|(name, value)| format!("-D{name}={value}")))
        .args(["-cp", &classpath(), "org.apache.zookeeper.ZooKeeperMain"])
        .args(["-waitforconnection", "-server", hosts])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {JAVA}: {error}"));
    let mut input = client.stdin.take().expect("it is piped");
    // If the client does not read its input, its output shows it.
    let _ = input.write_all(commands.join("\n").as_bytes());
    let _ = input.write_all(b"\nquit\n");
    drop(input);
    let output = client.wait_with_output().expect("the client ends");
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8(printed).expect("it prints UTF-8")
}
