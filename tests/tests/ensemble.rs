//! The tests on ensembles: all on tokio, and one on every other runtime.

zk_tests::suite!(zk_tests::runtimes::tokio, ensemble);

mod smol {
    zk_tests::suite!(zk_tests::runtimes::smol, fail_over);
}

mod async_std {
    zk_tests::suite!(zk_tests::runtimes::async_std, fail_over);
}

mod thread {
    zk_tests::suite!(zk_tests::runtimes::thread, fail_over);
}
