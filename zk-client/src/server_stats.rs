//! [`ServerStats`] and [`ServerMode`]: what a server says of itself.

use std::{collections::BTreeMap, fmt, time::Duration};

/// What a server does in its ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerMode {
    /// The server is the only one.
    Standalone,
    /// The leader of the ensemble.
    Leader,
    /// A member that votes and follows the leader.
    Follower,
    /// A member that does not vote.
    Observer,
    /// A member without a quorum, which serves reads only (`readonlymode.enabled`).
    ReadOnly,
}

impl fmt::Display for ServerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        })
    }
}

impl ServerMode {
    fn parse(mode: &str) -> Option<Self> {
        use ServerMode::{Follower, Leader, Observer, ReadOnly, Standalone};
        [Standalone, Leader, Follower, Observer, ReadOnly]
            .into_iter()
            .find(|known| known.to_string() == mode)
    }
}

/// What a server says of itself: the answer to the four-letter word `srvr`
/// (`org.apache.zookeeper.server.command.StatCommand`).
///
/// The figures count since the server was started, or since they were reset by `srst`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// The version, such as `[3, 8, 0]`.
    pub version: [u32; 3],
    /// The version with the commit and the date of the build, as the server writes it.
    pub build: String,
    /// What the server does in its ensemble.
    pub mode: ServerMode,
    /// The zxid of the newest transaction that the server has applied.
    pub zxid: i64,
    /// The number of nodes.
    pub node_count: u64,
    /// The number of connections of clients.
    pub connections: u64,
    /// The number of requests that wait in the server.
    pub outstanding: u64,
    /// The number of packets that were received.
    pub received: u64,
    /// The number of packets that were sent.
    pub sent: u64,
    /// The shortest time that a request took in the server.
    pub min_latency: Duration,
    /// The mean time that a request took in the server.
    pub avg_latency: Duration,
    /// The longest time that a request took in the server.
    pub max_latency: Duration,
}

impl ServerStats {
    /// Reads the answer to `srvr`.
    pub(crate) fn parse(srvr: &str) -> Option<Self> {
        let fields: BTreeMap<_, _> =
            srvr.lines().filter_map(|line| line.split_once(": ")).collect();
        let number = |name| fields.get(name)?.trim().parse().ok();
        let build = *fields.get("Zookeeper version")?;
        let mut latencies = fields.get("Latency min/avg/max")?.trim().split('/').map(millis);
        let mut latency = || latencies.next()?;
        let zxid = fields.get("Zxid")?.trim().strip_prefix("0x")?;
        Some(Self {
            version: version(build)?,
            build: build.to_owned(),
            mode: ServerMode::parse(fields.get("Mode")?.trim())?,
            zxid: u64::from_str_radix(zxid, 16).ok()?.cast_signed(),
            node_count: number("Node count")?,
            connections: number("Connections")?,
            outstanding: number("Outstanding")?,
            received: number("Received")?,
            sent: number("Sent")?,
            min_latency: latency()?,
            avg_latency: latency()?,
            max_latency: latency()?,
        })
    }
}

/// The numbers of a version: `3.8.0-5a02a05…, built on …`.
fn version(text: &str) -> Option<[u32; 3]> {
    let version = text.split(['-', ',', ' ']).next()?;
    let mut numbers = version.splitn(3, '.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some([number()?, number()?, number()?])
}

/// A number of milliseconds, with or without decimals.
fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1_000.0).ok()
}

/// The pairs of `mntr` (separated by tabs) and of `conf` (separated by equals signs).
pub(crate) fn pairs(answer: &str, separator: char) -> BTreeMap<String, String> {
    let pairs = answer.lines().filter_map(|line| line.split_once(separator));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRVR: &str = "Zookeeper version: 3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on 2022-02-25\n\
                        Latency min/avg/max: 0/1.25/7\nReceived: 17\nSent: 16\nConnections: 1\nOutstanding: 0\n\
                        Zxid: 0x100000002\nMode: leader\nNode count: 5\n\
                        Proposal sizes last/min/max: 48/48/48\n";

    #[test]
    fn stats_are_read() {
        let stats = ServerStats::parse(SRVR).expect("a good answer");
        assert_eq!((stats.version, stats.mode), ([3, 8, 0], ServerMode::Leader));
        assert_eq!((stats.zxid, stats.node_count, stats.connections), (0x1_0000_0002, 5, 1));
        assert_eq!((stats.received, stats.sent, stats.outstanding), (17, 16, 0));
        assert_eq!(stats.min_latency, Duration::ZERO);
        assert_eq!(stats.avg_latency, Duration::from_micros(1_250));
        assert_eq!(stats.max_latency, Duration::from_millis(7));
        assert!(stats.build.contains("built on 2022-02-25"));
    }

    #[test]
    fn bad_stats_are_refused() {
        for (from, to) in [
            ("leader", "boss"),
            ("3.8.0-", "3.8-"),
            ("0x100000002", "100000002"),
            ("0/1.25/7", "0/-1/7"),
            ("0/1.25/7", "0/NaN/7"),
            ("0/1.25/7", "0/1"),
            ("Node count: 5", "Node count: -5"),
            ("Mode: leader\n", ""),
        ] {
            assert_eq!(ServerStats::parse(&SRVR.replace(from, to)), None, "{to}");
        }
        assert_eq!(ServerStats::parse(""), None);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version("3.10.12, built on 2030"), Some([3, 10, 12]));
        assert_eq!(version("3.9.5-zk-server-0.1.0"), Some([3, 9, 5]));
        for other in ["", "3.x", "3.8"] {
            assert_eq!(version(other), None, "{other}");
        }
    }
}
