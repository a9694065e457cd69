//! The tests that administer servers, on tokio and on plain threads.

mod tokio {
    zk_tests::suite!(zk_tests::runtimes::tokio, administration);
}

mod thread {
    zk_tests::suite!(zk_tests::runtimes::thread, administration);
}
