//! Limits on memory.

/// Calls `what`, and panics if it used more than `limit` bytes of the heap at a time.
pub(crate) fn within<T>(limit: usize, what: impl FnOnce() -> T) -> T {
    let mut done = None;
    let used = allocation_counter::measure(|| done = Some(what()));
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    assert!(used.bytes_max <= limit, "{} bytes of memory used, limit {limit}", used.bytes_max);
    done.expect("the closure has run")
}
