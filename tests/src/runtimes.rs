//! The runtimes that tests run on. Each function runs one test as a task of one runtime, to its end.

use std::{future::Future, time::Duration};

use tokio::runtime::Builder;
use zk_handler_async_std::AsyncStdHandler;
use zk_handler_smol::SmolHandler;
use zk_handler_thread::ThreadHandler;
use zk_handler_tokio::TokioHandler;

use crate::tasks::{block_on, run_test};

/// tokio, with two threads.
pub fn tokio<F>(test: impl FnOnce(TokioHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    within_tokio(Builder::new_multi_thread().worker_threads(2), test);
}

/// tokio, with one thread for everything.
pub fn tokio_current_thread<F>(test: impl FnOnce(TokioHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    within_tokio(&mut Builder::new_current_thread(), test);
}

fn within_tokio<F>(builder: &mut Builder, test: impl FnOnce(TokioHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(run_test(TokioHandler::new(runtime.handle().clone()), test));
    runtime.shutdown_timeout(Duration::from_secs(10));
}

/// smol's global executor.
pub fn smol<F>(test: impl FnOnce(SmolHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    block_on(run_test(SmolHandler, test));
}

/// async-std's global executor.
pub fn async_std<F>(test: impl FnOnce(AsyncStdHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    block_on(run_test(AsyncStdHandler, test));
}

/// A thread for each test, which its clients share.
pub fn thread<F>(test: impl FnOnce(ThreadHandler) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    block_on(run_test(ThreadHandler::new(), test));
}
