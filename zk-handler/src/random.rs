//! The default source of randomness.

/// Returns 64 bits from the operating system's cryptographically secure random source, such as `getrandom(2)`.
///
/// They are unpredictable, and independent of earlier calls, other threads, other processes (including forked ones) and
/// other machines. 128 bits, from two calls, make an id that is unique in practice.
///
/// # Panics
/// If the operating system's source fails. There is no fallback, because ids from a weaker source could collide.
#[must_use]
pub fn system_random() -> u64 {
    match getrandom::u64() {
        Ok(bits) => bits,
        Err(error) => panic!("the operating system's random source failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    /// Detects a generator that is seeded once and then counts: threads would repeat each other's numbers, or the
    /// distances between numbers would be equal.
    #[test]
    fn numbers_and_their_distances_do_not_repeat() {
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| (0..1000).map(|_| system_random()).collect::<Vec<_>>()))
            .collect();
        let numbers: Vec<_> =
            threads.into_iter().flat_map(|thread| thread.join().expect("numbers")).collect();
        let distances = numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        assert_eq!(distances.collect::<HashSet<_>>().len(), numbers.len() - 1);
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        for bit in 0..64 {
            let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count();
            assert!((1600..2400).contains(&set), "bit {bit} is set in {set} of 4000");
        }
    }
}
