//! The conformance suite, with a thread for each handler and with a shared one.

use std::sync::LazyLock;

use zk_handler_thread::ThreadHandler;

/// A handler that all tests share.
static SHARED: LazyLock<ThreadHandler> = LazyLock::new(ThreadHandler::new);

zk_handler::conformance!(thread, ThreadHandler::new());
zk_handler::conformance!(shared_thread, SHARED.clone());
