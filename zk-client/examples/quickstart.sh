#!/bin/sh
# Runs the quickstart: on the ZooKeeper at ZK_HOSTS if that is set, else on one of its own, which it
# installs if need be and stops afterwards.
set -eu
cd "$(dirname "$0")/../.."
cargo build --quiet -p zk-client --example quickstart
quickstart="${CARGO_TARGET_DIR:-target}/debug/examples/quickstart"
if [ -n "${ZK_HOSTS:-}" ]; then
    exec "$quickstart"
fi
sh tests/install.sh
exec cargo run --quiet -p zk-tests --bin with-zookeeper -- "$quickstart"
