//! What every handler must do.

use std::sync::LazyLock;

use zk_handler_thread::ThreadHandler;

/// One for many, as opposed to one for each.
static SHARED: LazyLock<ThreadHandler> = LazyLock::new(ThreadHandler::new);

zk_handler::conformance!(thread, ThreadHandler::new());
zk_handler::conformance!(shared_thread, SHARED.clone());
