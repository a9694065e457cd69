//! A harness for whole-system tests: real ZooKeeper servers on the loopback
//! interface, and a proxy that spoils the connections to them.
//!
//! - [`Ensemble`] runs one server or several, each of which a test can kill,
//!   pause and start again; [`Options`] changes how they are set up.
//! - [`Proxy`] stands in front of one server and cuts, holds, delays or filters
//!   what passes.
//! - [`Fake`] is a server that says what no real one would.
//! - [`raw::Session`] speaks the few bytes of the protocol that the harness
//!   needs itself, independently of the library under test.
//! - [`mod@suite`] has the tests that run on every runtime, and [`runtimes`] has those.
//! - [`zk_cli()`] runs ZooKeeper's own client.
//!
//! ```no_run
//! use std::time::Duration;
//! use zk_tests::{Direction, Ensemble, Proxy, eventually};
//!
//! let ensemble = Ensemble::of(3);
//! let proxy = Proxy::new(ensemble.node(0).address());
//! // ... connect a client to `proxy.address()` or to `ensemble.hosts()` ...
//! proxy.hold(Direction::ToClient);
//! ensemble.node(ensemble.leader()).kill();
//! eventually(Duration::from_secs(10), "the client to notice", || Some(()));
//! ```
//!
//! Everything here blocks and uses nothing but threads of `std`, so that tests
//! of any runtime can share it; in an async test, call it where blocking is
//! allowed. As test code may, it panics, with a message that says what failed.
//! Nothing waits without a limit.
//!
//! ZooKeeper itself comes from the Debian package `zookeeper`, or is 3.9.5 if
//! `ZK_TEST_VERSION` is 3.9 (see [`version_under_test`]). Servers and their
//! files go away when the [`Ensemble`] is dropped, and also when the process of
//! the test ends in any other way, be it by `SIGKILL`.

mod fake;
mod named;
mod process;
mod proxy;
pub mod raw;
pub mod runtimes;
mod server;
pub mod suite;
mod txn_log;
mod zk_cli;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use fake::{Conversation, Fake, Request};
pub use named::Named;
pub use proxy::{Direction, Proxy, Verdict};
pub use server::{Ensemble, Mode, Node, Options, embedded_config, shared, version_under_test};
pub use zk_cli::zk_cli;

/// Asks `probe` again and again until it answers, and returns the answer.
///
/// # Panics
///
/// If `timeout` passes without one; the message names `what` was waited for.
#[track_caller]
pub fn eventually<T>(timeout: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match poll(timeout, probe) {
        Some(answer) => answer,
        None => panic!("timed out after {timeout:?} waiting for {what}"),
    }
}

/// [`eventually`] for those who handle the time-out themselves. Probes at least
/// once, and once more after a long gap, so that a starved machine gets a chance.
fn poll<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    const INTERVAL: Duration = Duration::from_millis(10);

    let deadline = Instant::now() + timeout;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if last {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}

/// Locks `mutex`, also after another test's thread has panicked with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// The examples of the README files compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../zk-client/README.md")]
#[doc = include_str!("../../zk-server/README.md")]
struct ReadmeFiles;
