//! Pseudo-random numbers from the caller's seed, for shuffles and jitter. They are not for secrets.

use core::time::Duration;

use crate::time::part;

/// SplitMix64 (Steele, Lea, Flood 2014). Any seed is good.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let number = self.next().checked_rem(bound).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// A duration in `[of / 2, of]`.
    pub(crate) fn jitter(&mut self, of: Duration) -> Duration {
        let half = part(of, 2);
        half.saturating_add(self.up_to(half))
    }

    /// A duration in `[0, most]`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let span = usize::try_from(most.as_micros()).unwrap_or(usize::MAX);
        let some = self.below(span.saturating_add(1));
        Duration::from_micros(u64::try_from(some).unwrap_or(u64::MAX))
    }

    /// Shuffles `items` (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last.saturating_add(1));
            items.swap(last, other);
        }
    }
}
