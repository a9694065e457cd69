//! How much memory something takes.

/// Does `what`, which may hold at most `limit` bytes of the heap at a time.
pub(crate) fn within<T>(limit: usize, what: impl FnOnce() -> T) -> T {
    let mut done = None;
    let used = allocation_counter::measure(|| done = Some(what()));
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    assert!(used.bytes_max <= limit, "{} bytes of memory where {limit} will do", used.bytes_max);
    done.expect("what was measured was done")
}
