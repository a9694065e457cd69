#!/bin/sh
# Installs what the tests need besides Rust, and runs all tests. Arguments are passed to cargo test.
set -eu
cd "$(dirname "$0")/.."
sh tests/install.sh
ZK_TEST_PYTHON=$(tests/kazoo/setup.sh)
export ZK_TEST_PYTHON
# Most tests wait most of the time, so a few more of them than processors run at once.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 3 / 2))}
export RUST_TEST_THREADS
exec cargo test --workspace "$@"
