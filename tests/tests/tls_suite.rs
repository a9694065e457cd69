//! The suite with TLS, on tokio: on a standalone server, and the tests on ensembles. `tests/extended.sh` runs it.

use std::future::Future;

use zk_handler_tokio::TokioHandler;
use zk_tests::{runtimes, suite::use_tls};

fn run<F>(test: impl FnOnce(TokioHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    use_tls();
    runtimes::tokio(test);
}

zk_tests::suite!(crate::run);
zk_tests::suite!(crate::run, ensemble);
