//! The tests with kazoo, on tokio.

zk_tests::suite!(zk_tests::runtimes::tokio, kazoo);
