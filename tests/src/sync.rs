//! Waiting for a condition, and locking, in plain threads.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Calls `probe` until it returns a value, and returns that value.
///
/// # Panics
///
/// If `timeout` passes first. The message says what was waited for.
#[track_caller]
pub fn eventually<T>(timeout: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match poll(timeout, probe) {
        Some(value) => value,
        None => panic!("timed out after {timeout:?} waiting for {what}"),
    }
}

/// As [`eventually`], but returns `None` on a timeout. Calls `probe` at least once, and once more after the
/// deadline, so that a slow machine gets a last chance.
pub(crate) fn poll<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    const INTERVAL: Duration = Duration::from_millis(10);

    let deadline = Instant::now() + timeout;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = probe() {
            return Some(value);
        }
        if last {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}

/// Locks `mutex`, even if another test's thread has panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// The examples of these files compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../zk-client/README.md")]
#[doc = include_str!("../../zk-server/README.md")]
#[doc = include_str!("../../docs/kerberos.md")]
#[doc = include_str!("../../docs/security.md")]
struct Documents;
