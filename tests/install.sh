#!/bin/sh
# Installs what the tests need besides Rust, if it is missing: ZooKeeper, Python with venv for the tests with
# kazoo, OpenSSL for certificates, and Kerberos: a KDC, its tools, and what builds the client's GSSAPI. Runs on
# Debian or Ubuntu, as root or with sudo.
set -eu

packages=
[ -e /usr/share/java/zookeeper.jar ] || packages="$packages zookeeper"
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
command -v cc >/dev/null || packages="$packages gcc libc6-dev"
command -v openssl >/dev/null || packages="$packages openssl"
[ -e /usr/sbin/krb5kdc ] || packages="$packages krb5-kdc"
[ -e /usr/sbin/kadmin.local ] || packages="$packages krb5-admin-server"
[ -e /usr/bin/kinit ] || packages="$packages krb5-user"
[ -e /usr/include/gssapi/gssapi_krb5.h ] || packages="$packages libkrb5-dev"
command -v pkg-config >/dev/null || packages="$packages pkg-config"
ls /usr/lib/llvm-*/lib/libclang.so* >/dev/null 2>&1 || packages="$packages libclang-dev"
[ -n "$packages" ] || exit 0

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086 # the packages are words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
