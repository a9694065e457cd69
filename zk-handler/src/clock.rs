//! The default clock.

use std::time::Duration;

/// Returns the time since the machine was booted, including the time that it was suspended (`CLOCK_BOOTTIME`).
#[cfg(any(target_os = "linux", target_os = "android"))]
#[must_use]
pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Returns the time since the first call. The system's monotonic clock determines whether suspensions count.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[must_use]
pub fn boottime() -> Duration {
    use std::{sync::OnceLock, time::Instant};

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}
