//! The names and addresses of the hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The hosts: the members of an ensemble, or three names for one server.
pub const HOSTS: &str = "zk1:2181,zk2:2181,zk3:2181";

/// Hosts that stay down: every other one never answers, the rest refuse connections.
pub const DOWN_HOSTS: [&str; 4] = ["zk4:2181", "zk5:2181", "zk6:2181", "zk7:2181"];

/// The address of one of [`HOSTS`] or [`DOWN_HOSTS`].
pub(crate) fn resolve(host: &str) -> Option<IpAddr> {
    let number: u8 = host.strip_prefix("zk")?.parse().ok()?;
    (1..=7).contains(&number).then_some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
}

/// Whether nothing at this address ever answers, not even with a refusal.
pub(crate) const fn never_answers(address: SocketAddr) -> bool {
    matches!(number(address), Some(4 | 6))
}

/// The number of a machine that may be at this address, from 0.
pub(crate) fn machine_number(address: SocketAddr) -> Option<usize> {
    Some(usize::from(number(address)?.checked_sub(1)?))
}

const fn number(address: SocketAddr) -> Option<u8> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    match ip.octets() {
        [10, 0, 0, number] => Some(number),
        _ => None,
    }
}
