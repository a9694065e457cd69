#!/usr/bin/env bash
# Prints the path of a Python interpreter that has kazoo, for ZK_TEST_PYTHON:
#
#     ZK_TEST_PYTHON=$(tests/kazoo/setup.sh) cargo test --workspace
#
# Uses the interpreter that ZK_TEST_PYTHON names, or python3, if it has the right version of kazoo.
# Otherwise creates a virtual environment in target/kazoo-venv. Needs python3-venv, and PyPI the first time.
set -euo pipefail

version=2.11.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${CARGO_TARGET_DIR:-$root/target}/kazoo-venv

has_kazoo() {
    "$1" -c 'import sys, kazoo.version as v; sys.exit(v.__version__ != sys.argv[1])' "$version" \
        2>/dev/null
}

for python in "${ZK_TEST_PYTHON:-python3}" "$venv/bin/python"; do
    if has_kazoo "$python"; then
        command -v "$python"
        exit
    fi
done

echo "kazoo $version: setting up $venv" >&2
python3 -m venv --clear "$venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "kazoo==$version" >&2
if ! has_kazoo "$venv/bin/python"; then
    echo "kazoo $version: installed, but it cannot be imported" >&2
    exit 1
fi
echo "$venv/bin/python"
