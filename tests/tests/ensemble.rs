//! The ensemble tests on tokio.

use std::sync::{Mutex, MutexGuard, PoisonError};

use zk_handler_tokio::TokioHandler;
use zk_tests::{Direction, Ensemble, Mode, Node, Options, Proxy, Verdict, eventually};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[path = "../src/suite"]
mod suite {
    #[expect(unreachable_pub, reason = "it is to be a module of the library")]
    pub mod ensemble;
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(TokioHandler) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test(TokioHandler::new(runtime.handle().clone())));
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $( #[test] fn $name() { run(suite::ensemble::$name); } )*
    };
}

tests! {
    fail_over, watches_survive, a_stalled_server_is_left, expiry, silence, two_clients_on_one_session,
    read_only, no_quorum, no_servers, rolling_restart, leaders_die, cuts_and_watches, many_watches,
}
