//! The default source of randomness.

use std::hash::{BuildHasher, RandomState};

/// 64 bits of the operating system's randomness: other ones with every call, in every process.
#[must_use]
pub fn system_random() -> u64 {
    RandomState::new().hash_one(())
}
