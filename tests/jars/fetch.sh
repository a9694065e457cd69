#!/usr/bin/env bash
# Prints a directory with the jars of ZooKeeper 3.9.5 and Curator 5.9.0, for tests with newer servers and other clients:
#
#     java -cp "$(tests/jars/fetch.sh)/*" org.apache.zookeeper.server.ZooKeeperServerMain zoo.cfg
#
# The jars come from the source package of pyspark on PyPI, which contains them. They are kept in
# ${ZK_TEST_JARS:-$HOME/.cache/zk-test-jars}, outside of the repository, and checked against SHA256SUMS each time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${ZK_TEST_JARS:-$HOME/.cache/zk-test-jars}

complete() {
    (cd "$jars" 2>/dev/null && sha256sum --check --quiet --strict "$here/SHA256SUMS" >/dev/null 2>&1)
}

if ! complete; then
    echo "jars: fetching the source package of pyspark (456 MB) into $jars" >&2
    mkdir -p "$jars"
    python3 "$here/fetch.py" "$here/SHA256SUMS" "$jars" >&2
    if ! complete; then
        echo "jars: $jars does not have what $here/SHA256SUMS lists" >&2
        exit 1
    fi
fi
echo "$jars"
