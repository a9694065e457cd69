#!/bin/sh
# Runs all tests, after installing what they need beside Rust. Arguments go to cargo test.
set -eu
cd "$(dirname "$0")/.."
sh tests/install.sh
ZK_TEST_PYTHON=$(tests/kazoo/setup.sh)
export ZK_TEST_PYTHON
exec cargo test --workspace "$@"
