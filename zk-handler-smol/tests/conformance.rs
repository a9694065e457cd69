//! What every handler must do.

use zk_handler_smol::SmolHandler;

zk_handler::conformance!(
    smol,
    SmolHandler,
    inside: |_, check| ::smol::block_on(async { check() }),
);
