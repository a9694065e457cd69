//! Where ZooKeeper is installed, and in which version.

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;

use zk_server::Version;

pub(crate) const JAVA: &str = "/usr/bin/java";
/// The jars of ZooKeeper 3.8 from Debian.
const DEBIAN: [&str; 5] = [
    "/usr/share/java/zookeeper.jar",
    // Jars that the manifest does not list: logging, TLS, and the command line client.
    "/usr/share/java/netty-codec.jar",
    "/usr/share/java/netty-resolver.jar",
    "/usr/share/java/slf4j-simple.jar",
    "/usr/share/java/commons-cli.jar",
];

/// The release of the ZooKeeper servers that tests start: that of `ZK_TEST_VERSION`, or else 3.8.
///
/// 3.8 is the Debian package. For 3.9, `tests/jars/fetch.sh` fetches the jars.
///
/// # Panics
///
/// If it is set to anything but 3.8 or 3.9.
#[must_use]
pub fn version_under_test() -> Version {
    requested_version().unwrap_or(Version::V3_8)
}

/// The value of `ZK_TEST_VERSION`.
pub(crate) fn requested_version() -> Option<Version> {
    static VERSION: LazyLock<Option<Version>> = LazyLock::new(|| {
        let version = env::var("ZK_TEST_VERSION").ok()?;
        match version.as_str() {
            "3.8" => Some(Version::V3_8),
            "3.9" => Some(Version::V3_9),
            _ => panic!("ZK_TEST_VERSION is {version:?}, which is neither 3.8 nor 3.9"),
        }
    });
    *VERSION
}

/// The directory with the jars of ZooKeeper 3.9.
fn jars() -> PathBuf {
    let cache = || env::home_dir().unwrap_or_default().join(".cache/zk-test-jars");
    env::var_os("ZK_TEST_JARS").map_or_else(cache, PathBuf::from)
}

/// The class path of ZooKeeper and its command line client.
pub(crate) fn classpath() -> String {
    match version_under_test() {
        Version::V3_8 => DEBIAN.join(":"),
        _ => jars().join("*").display().to_string(),
    }
}

/// Checks that everything that a server needs is installed. The error says what is missing and how to install
/// it.
pub(crate) fn installed() -> Result<(), String> {
    let (files, cure) = match version_under_test() {
        Version::V3_8 => {
            (DEBIAN.map(PathBuf::from).to_vec(), "apt-get update && apt-get install -y zookeeper")
        }
        _ => (vec![jars().join("zookeeper-3.9.5.jar")], "tests/jars/fetch.sh"),
    };
    match files.iter().chain([&PathBuf::from(JAVA)]).find(|file| !file.exists()) {
        None => Ok(()),
        Some(file) => {
            Err(format!("ZooKeeper is not installed ({} is missing); try: {cure}", file.display()))
        }
    }
}
