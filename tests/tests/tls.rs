//! The tests on ZooKeeper's own TLS, on every runtime.

mod tokio {
    zk_tests::suite!(zk_tests::runtimes::tokio, tls);
}

mod tokio_current_thread {
    zk_tests::suite!(zk_tests::runtimes::tokio_current_thread, tls);
}

mod smol {
    zk_tests::suite!(zk_tests::runtimes::smol, tls);
}

mod async_std {
    zk_tests::suite!(zk_tests::runtimes::async_std, tls);
}

mod thread {
    zk_tests::suite!(zk_tests::runtimes::thread, tls);
}
