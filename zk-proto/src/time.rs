//! Time as a value: the core has no clock.

use core::time::Duration;

/// A point on the caller's monotonic clock, as the time since an origin of the caller's choice.
///
/// The clock should go on while the machine is suspended (`CLOCK_BOOTTIME` on Linux): a session times
/// out on the server meanwhile. All inputs of one session must be on one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The point that lies `since_origin` after the clock's origin.
    #[must_use]
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The time since the clock's origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this point; zero when it lies behind it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `by` later; the end of time when that is beyond it.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// A span's `n`th part.
pub(crate) const fn part(span: Duration, n: u32) -> Duration {
    match span.checked_div(n) {
        Some(part) => part,
        None => Duration::ZERO,
    }
}
