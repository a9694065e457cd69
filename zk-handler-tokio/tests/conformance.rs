//! What every handler must do, in both of tokio's flavours.

use std::{future::pending, sync::LazyLock, thread};

use tokio::runtime::{Builder, Handle, Runtime};
use zk_handler_tokio::TokioHandler;

static MULTI_THREAD: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// Runs in a thread of its own.
static CURRENT_THREAD: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    handle
});

zk_handler::conformance!(
    multi_thread,
    TokioHandler::new(MULTI_THREAD.handle().clone()),
    inside: |_, check| MULTI_THREAD.block_on(async { check() }),
);

zk_handler::conformance!(
    current_thread,
    TokioHandler::new(CURRENT_THREAD.clone()),
    inside: |_, check| CURRENT_THREAD.block_on(async { check() }),
);
