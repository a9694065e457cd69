//! Ports for servers.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// An unused address. Its port is below the ephemeral ports of the system: an outgoing connection could take
/// one of those while a server is down, and the port of a leader even while it runs.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    // A counter, so that servers of this process never share a port, with a random start, so that those of
    // other processes rarely do.
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) >> 1));

    (0..COUNT)
        .map(|_| {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(COUNT);
            FIRST + u16::try_from(offset).expect("the remainder is less than COUNT")
        })
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a port of 127.0.0.1 is free")
}
