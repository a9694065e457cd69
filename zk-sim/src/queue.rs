//! A queue of items by the time at which they are due.

use std::{collections::BTreeMap, time::Duration};

/// Items that are due at some time. Items due at the same time leave in the order in which they came.
pub(crate) struct Queue<T> {
    items: BTreeMap<(Duration, u64), T>,
    pushed: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { items: BTreeMap::new(), pushed: 0 }
    }

    pub(crate) fn push(&mut self, at: Duration, item: T) {
        self.pushed += 1;
        self.items.insert((at, self.pushed), item);
    }

    /// When the first item is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first item, if it is due by `now`.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<T> {
        let first = self.items.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Takes all items, in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.items).into_values()
    }
}
