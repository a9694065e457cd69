//! The suite on async-std.

zk_tests::suite!(zk_tests::runtimes::async_std);
