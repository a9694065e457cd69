//! The suite on the embedded server instead of ZooKeeper, on tokio; with kazoo too.

use std::{future::Future, time::Duration};

use tokio::runtime::Builder;
use zk_handler_tokio::TokioHandler;
use zk_tests::suite::{guard, share_embedded, task};

fn run<F>(test: impl FnOnce(TokioHandler) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    share_embedded();
    guard(|| {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(task(TokioHandler::new(runtime.handle().clone()), test));
        runtime.shutdown_timeout(Duration::from_secs(10));
    });
}

zk_tests::suite!(crate::run);
zk_tests::suite!(crate::run, kazoo);
