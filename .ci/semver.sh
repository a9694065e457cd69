#!/usr/bin/env bash
# Compares the public API of each published crate with its newest release on crates.io, and fails if the version does
# not say what has changed. Before the first release there is nothing to compare with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crates=$(cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] != []:
        print(package["name"], package["repository"])
')

if ! timeout 60 cargo info --quiet --registry crates-io bytes >/dev/null 2>&1; then
    printf '\n** NOT RUN ** semver-checks: crates.io cannot be reached\n'
    exit 0
fi

released=()
while read -r name repository; do
    # A crate of this name that comes from another repository is not ours.
    if info=$(cargo info --quiet --registry crates-io "$name" 2>/dev/null) &&
        grep -qxF "repository: $repository" <<<"$info"; then
        released+=(--package "$name")
    else
        echo "$name: not released yet, nothing to compare with"
    fi
done <<<"$crates"

[ ${#released[@]} -gt 0 ] || exit 0
if ! cargo semver-checks --version >/dev/null 2>&1 &&
    ! timeout 900 cargo install cargo-semver-checks --locked --quiet; then
    printf '\n** NOT RUN ** semver-checks: cargo-semver-checks cannot be installed\n'
    exit 0
fi
cargo semver-checks check-release "${released[@]}"
