#!/usr/bin/env bash
# Applies bugs to a copy of the project, one patch of zk-sim/mutants or fuzz/mutants at a time, and prints how long
# the simulation takes to find each: `just simulate-mutants [patch...]`. Fails if one is not found within a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
export CARGO_TARGET_DIR=${MUTANTS_TARGET_DIR:-$copy/target} RUSTFLAGS=-Awarnings
patches=("$@")
[ $# -gt 0 ] || patches=(zk-sim/mutants/*.patch
    fuzz/mutants/{ping-never-sent,watches-not-rearmed,xid-off-by-one,request-sent-twice-after-loss,expiry-reported-twice,sent-request-reported-not-sent,lease-extended-by-any-bytes,one-shot-watch-not-removed}.patch)

missed=0
for patch in "${patches[@]}"; do
    git -C "$copy" apply --unsafe-paths --directory="$copy" "$PWD/$patch"
    # The sources have to be newer than the builds of another copy.
    find "$copy" -name "*.rs" -exec touch {} +
    (cd "$copy" && cargo build --quiet --release -p zk-sim)
    start=${EPOCHREALTIME/./}
    if timeout 60 "$CARGO_TARGET_DIR/release/zk-sim" --seeds 10000000 >"$copy/log" 2>&1 ||
        ! grep -q "^seed" "$copy/log"; then
        verdict="NOT FOUND"
        missed=1
    else
        verdict=$(grep -m 1 "^seed" "$copy/log" | cut -c 1-120)
    fi
    printf '%-28s %6d ms  %s\n' "$(basename "$patch" .patch)" "$(((${EPOCHREALTIME/./} - start) / 1000))" \
        "$verdict"
    git -C "$copy" apply -R --unsafe-paths --directory="$copy" "$PWD/$patch"
done
exit $missed
