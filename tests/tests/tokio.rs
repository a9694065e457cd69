//! The suite on tokio, with many threads.

zk_tests::suite!(zk_tests::runtimes::tokio);
