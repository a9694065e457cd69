//! The suite on the embedded server instead of ZooKeeper, on tokio, including the tests with kazoo.

use std::future::Future;

use zk_handler_tokio::TokioHandler;
use zk_tests::{runtimes, suite::use_embedded_server};

fn run<F>(test: impl FnOnce(TokioHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    use_embedded_server();
    runtimes::tokio(test);
}

zk_tests::suite!(crate::run);
zk_tests::suite!(crate::run, kazoo);
zk_tests::suite!(crate::run, tls);
zk_tests::suite!(crate::run, identities);
