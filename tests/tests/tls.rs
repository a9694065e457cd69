//! The tests on ZooKeeper's own TLS, on every runtime.

mod tokio {
    zk_tests::suite!(zk_tests::runtimes::tokio, tls);

    mod fail_over {
        zk_tests::suite!(zk_tests::runtimes::tokio, tls_fail_over);
    }
}

mod tokio_current_thread {
    zk_tests::suite!(zk_tests::runtimes::tokio_current_thread, tls);

    mod fail_over {
        zk_tests::suite!(zk_tests::runtimes::tokio_current_thread, tls_fail_over);
    }
}

mod smol {
    zk_tests::suite!(zk_tests::runtimes::smol, tls);

    mod fail_over {
        zk_tests::suite!(zk_tests::runtimes::smol, tls_fail_over);
    }
}

mod async_std {
    zk_tests::suite!(zk_tests::runtimes::async_std, tls);

    mod fail_over {
        zk_tests::suite!(zk_tests::runtimes::async_std, tls_fail_over);
    }
}

mod thread {
    zk_tests::suite!(zk_tests::runtimes::thread, tls);

    mod fail_over {
        zk_tests::suite!(zk_tests::runtimes::thread, tls_fail_over);
    }
}
