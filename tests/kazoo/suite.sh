#!/usr/bin/env bash
# Runs kazoo's own tests on real ZooKeeper and on the embedded server, and compares the results.
#
#     tests/kazoo/suite.sh                     # all
#     tests/kazoo/suite.sh -k test_create_acl  # arguments go to pytest
#
# It fails if a test passes on ZooKeeper and does not on the embedded server. Tests that need
# several servers, TLS or SASL are left out; tests/kazoo/pytest_plugin.py has their names. Needs what
# tests/install.sh installs, and PyPI the first time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/kazoo-suite-venv
out=$target/kazoo-suite
# The minimum number of tests of kazoo 2.11 that pass on ZooKeeper.
least=450

packages=(kazoo==2.11.0 pytest==9.2.0 pytest-timeout==2.4.0 objgraph==3.7.0 gevent==26.9.0
    eventlet==0.41.3)
have() { "$venv/bin/python" -m pip freeze 2>/dev/null; }
if [ -n "$(comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(have | sort))" ]; then
    echo "kazoo's suite: setting up $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
fi

cargo build --quiet --manifest-path "$root/Cargo.toml" -p zk-tests --bin controlled-server
mkdir -p "$out"

# on <real|embedded> [pytest's arguments]: runs the tests on that server, and writes the results to $out.
on() {
    local server=$1
    shift
    SERVER=$server SERVER_BIN=$target/debug/controlled-server RESULTS=$out/$server PYTHONPATH=$here ZOOKEEPER_VERSION= \
        "$venv/bin/python" -m pytest --pyargs kazoo.tests -p pytest_plugin -p no:cacheprovider --timeout 120 -q -rN \
        --tb=short "$@" >"$out/$server.log" 2>&1 || [ $? -eq 1 ] || {
        tail -n 40 "$out/$server.log" >&2
        return 1
    }
}

passed() { sed -n 's/^passed //p' "$out/$1" | sort; }

# The tests that pass on ZooKeeper and not on the embedded server.
worse() { comm -23 <(passed real) <(passed embedded); }

rm -f "$out"/{real,embedded}{,.log}
on real "$@" &
real=$!
on embedded "$@"
wait "$real"
summary() { grep -E '[0-9]+ (passed|failed).* in [0-9]' "$out/$1.log" | tail -n 1; }
echo "on ZooKeeper: $(summary real)"
echo "on the embedded server: $(summary embedded)"
if [ $# -eq 0 ] && [ "$(passed real | wc -l)" -lt "$least" ]; then
    echo "fewer than $least tests pass on ZooKeeper: see $out/real.log" >&2
    exit 1
fi
if [ -n "$(worse)" ]; then
    echo "these pass on ZooKeeper and not on the embedded server, see $out/embedded.log:" >&2
    worse >&2
    exit 1
fi
echo "fail on both: $(comm -12 <(sed -n 's/^failed //p' "$out/real") <(sed -n 's/^failed //p' "$out/embedded") | xargs)"
