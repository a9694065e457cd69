//! The suite on plain threads.

zk_tests::suite!(zk_tests::runtimes::thread);
