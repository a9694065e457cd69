//! What every handler must do.

use zk_handler_async_std::AsyncStdHandler;

zk_handler::conformance!(
    async_std,
    AsyncStdHandler,
    inside: |_, check| ::async_std::task::block_on(async { check() }),
);
