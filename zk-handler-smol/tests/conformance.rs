//! What every handler must do.

use zk_handler::conformance::works_while_the_pool_is_full;
use zk_handler_smol::SmolHandler;

zk_handler::conformance!(
    smol,
    SmolHandler,
    inside: |_, check| ::smol::block_on(async { check() }),
);

#[test]
fn works_while_the_pool_of_blocking_threads_is_full() {
    works_while_the_pool_is_full(SmolHandler, |job| ::smol::unblock(job).detach());
}
