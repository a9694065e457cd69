//! Identities by certificates and by SASL on ZooKeeper itself, on every runtime.

mod tokio {
    zk_tests::suite!(zk_tests::runtimes::tokio, identities);
}

mod tokio_current_thread {
    zk_tests::suite!(zk_tests::runtimes::tokio_current_thread, identities);
}

mod smol {
    zk_tests::suite!(zk_tests::runtimes::smol, identities);
}

mod async_std {
    zk_tests::suite!(zk_tests::runtimes::async_std, identities);
}

mod thread {
    zk_tests::suite!(zk_tests::runtimes::thread, identities);
}
