//! Benchmarks, each beside its peer (in the making).
fn main() {}
