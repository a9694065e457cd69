#!/bin/sh
# Installs what the tests need besides Rust, and runs all tests. Arguments are passed to cargo test.
set -eu
cd "$(dirname "$0")/.."
sh tests/install.sh
ZK_TEST_PYTHON=$(tests/kazoo/setup.sh)
export ZK_TEST_PYTHON
exec cargo test --workspace "$@"
