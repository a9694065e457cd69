//! [`Time`]: the core has no clock, so its callers pass in the time.

use core::time::Duration;

/// A point in time on the caller's monotonic clock: the time since an origin that the caller chooses.
///
/// The clock should also run while the machine is suspended (`CLOCK_BOOTTIME` on Linux), because sessions
/// expire on the servers meanwhile. All inputs of a session must use the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The point in time `since_origin` after the clock's origin.
    #[must_use]
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The time since the clock's origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this point, or zero if `earlier` is later than this point.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point in time `by` later, or the latest one that can be represented.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// The `n`th part of `span`.
pub(crate) const fn part(span: Duration, n: u32) -> Duration {
    match span.checked_div(n) {
        Some(part) => part,
        None => Duration::ZERO,
    }
}
