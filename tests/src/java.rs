//! Programs that use ZooKeeper's Java client, or Curator.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::installed::JAVA;

/// A command that runs a program of `tests/java`, with the Java client 3.9.5 and Curator 5.9.0 that
/// `tests/jars/fetch.sh` fetches.
///
/// # Panics
///
/// If there are no jars or no Java compiler.
#[must_use]
#[track_caller]
pub fn java_program(file: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(root.join("jars/fetch.sh")).stderr(Stdio::inherit()).output();
    let fetched = fetched.expect("a shell");
    assert!(fetched.status.success(), "no jars of Curator; try: tests/jars/fetch.sh");
    let jars = String::from_utf8(fetched.stdout).expect("a path");
    let modules = Command::new(JAVA).arg("--list-modules").output();
    let modules = modules.map_or_else(|_| Vec::new(), |output| output.stdout);
    assert!(
        String::from_utf8_lossy(&modules).contains("jdk.compiler"),
        "there is no Java compiler; try: apt-get update && apt-get install -y default-jdk-headless"
    );
    let mut command = Command::new(JAVA);
    command
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dlog4j2.level=OFF", "-Dfile.encoding=UTF-8", "-cp", &format!("{}/*", jars.trim())])
        .arg(root.join("java").join(file));
    command
}
