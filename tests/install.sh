#!/bin/sh
# Installs what the tests need besides Rust, if it is missing: ZooKeeper, and Python with venv for the
# tests with kazoo. Runs on Debian or Ubuntu, as root or with sudo.
set -eu

packages=
[ -e /usr/share/java/zookeeper.jar ] || packages="$packages zookeeper"
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
command -v cc >/dev/null || packages="$packages gcc libc6-dev"
[ -n "$packages" ] || exit 0

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086 # the packages are words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
