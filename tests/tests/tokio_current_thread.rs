//! The suite on tokio, with one thread for everything.

zk_tests::suite!(zk_tests::runtimes::tokio_current_thread);
