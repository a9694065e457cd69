//! The default source of randomness.

/// 64 bits from the operating system's cryptographically secure source, such as `getrandom(2)`.
///
/// They are unpredictable and independent of all others: of earlier calls, of other threads and processes
/// (forked ones included), and of other machines. Two of them make an id that is unique in practice.
///
/// # Panics
/// If the operating system has no randomness to give. An id made of anything else could be another's.
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

    /// A generator that is seeded once, for the process or for a thread, and counts from there gives
    /// itself away: the numbers of one thread are those of another, or have a fixed distance.
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
