#!/usr/bin/env bash
# The second job, of tests that .ci/run leaves out because they are slow or fetch a lot: on ZooKeeper 3.9.5, with TLS
# everywhere, with kazoo's own tests, and with other clients.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    printf '\n== %s (%s s)\n' "$*" "$SECONDS"
}

step "what this needs"
sh tests/install.sh
if ! java --list-modules | grep -q ^jdk.compiler; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get install -q -y --no-install-recommends default-jdk-headless
fi
ZK_TEST_PYTHON=$(tests/kazoo/setup.sh)
ZK_TEST_JARS=$(tests/jars/fetch.sh)
export ZK_TEST_PYTHON ZK_TEST_JARS

step "kazoo's own tests, on ZooKeeper 3.8 and on the embedded server"
tests/kazoo/suite.sh

step "the embedded server against ZooKeeper 3.9.5"
ZK_TEST_VERSION=3.9 ZK_DIFFERENTIAL_SEQUENCES=${ZK_DIFFERENTIAL_SEQUENCES:-2000} \
    cargo test -p zk-tests --test differential

step "the whole client and other clients on ZooKeeper 3.9.5"
ZK_TEST_VERSION=3.9 cargo test -p zk-tests \
    --test tokio --test thread --test ensemble --test administration --test tls --test identities --test kerberos \
    --test kazoo --test other_clients --test harness --test embedded

step "the whole client with TLS, on ZooKeeper 3.8 and 3.9.5"
for version in 3.8 3.9; do
    ZK_TEST_VERSION=$version ZK_TEST_WATCH_ROUNDS=20 cargo test -p zk-tests --features jars --test tls_suite
done

step "the Java client 3.9.5 and Curator 5.9.0"
cargo test -p zk-tests --features jars --test curator
for version in 3.8 3.9; do
    ZK_TEST_VERSION=$version cargo test -p zk-tests --features jars --test java_client
done

step "the whole client on the embedded server as 3.8"
ZK_TEST_VERSION=3.8 cargo test -p zk-tests --test embedded
