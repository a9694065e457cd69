//! [`Backoff`]: the pause before something is tried again, and how it grows.

use core::time::Duration;

/// An exponential backoff: pauses that grow from `min` to `max`.
///
/// This is the one place where the length of a pause is computed. Callers keep the number of the pauses
/// that they have made, and pass in the random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub min: Duration,
    /// The longest pause. All pauses have this length if it is less than `min`.
    pub max: Duration,
}

impl Default for Backoff {
    /// From 100 ms to 5 s.
    fn default() -> Self {
        Self { min: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The pause after `retries` earlier pauses, each twice as long as the one before.
    #[must_use]
    pub fn pause(self, retries: u32) -> Duration {
        self.pause_growing_by(2.0, retries)
    }

    /// The pause after `retries` earlier pauses, each `factor` times as long as the one before. A `factor`
    /// of less than 1 counts as 1.
    #[must_use]
    pub fn pause_growing_by(self, factor: f64, retries: u32) -> Duration {
        let grown = self.min.as_secs_f64() * power(factor.max(1.0), retries);
        Duration::try_from_secs_f64(grown).map_or(self.max, |pause| pause.min(self.max))
    }

    /// `pause`, made longer or shorter by up to `part` of it. `part` and `random` are in `0..1`.
    #[must_use]
    pub fn jitter(pause: Duration, part: f64, random: f64) -> Duration {
        let factor = 1.0 + part * (2.0 * random - 1.0);
        Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(pause)
    }
}

/// `base` to the power of `exponent`, by repeated squaring. The largest `f64` stands in for infinity, so
/// that a pause of zero stays zero.
fn power(mut base: f64, mut exponent: u32) -> f64 {
    let mut power = 1.0_f64;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = (power * base).min(f64::MAX);
        }
        base = (base * base).min(f64::MAX);
        exponent >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 5, 6, 7, u32::MAX].map(|retries| BACKOFF.pause(retries).as_millis());
        assert_eq!(pauses, [100, 200, 400, 3_200, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn any_settings_give_a_pause() {
        let settings = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
        for (min, max) in settings.into_iter().flat_map(|min| settings.map(|max| (min, max))) {
            for factor in [f64::NAN, f64::NEG_INFINITY, 0.0, 1.0, 1.5, 1e300, f64::INFINITY] {
                for retries in [0, 1, 40, u32::MAX] {
                    let pause = Backoff { min, max }.pause_growing_by(factor, retries);
                    assert!(pause <= max && (pause >= min.min(max) || min == Duration::MAX));
                    assert!(!min.is_zero() || pause.is_zero());
                }
            }
        }
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let pause = Duration::from_secs(10);
        let jittered = [0.0, 0.5, 1.0].map(|random| Backoff::jitter(pause, 0.4, random).as_secs());
        assert_eq!(jittered, [6, 10, 14]);
        assert_eq!(Backoff::jitter(pause, 0.0, 0.7), pause);
        assert!(Backoff::jitter(Duration::MAX, 0.4, 0.0) < Duration::MAX);
    }
}
