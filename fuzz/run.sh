#!/usr/bin/env bash
# Runs fuzz targets for a number of seconds each: `fuzz/run.sh 600 [target...]`; all targets by default. It needs a
# nightly toolchain and cargo-fuzz. New inputs go to the target directory, where the next run finds them. An input that
# fails goes to fuzz/artifacts: fix the bug, and add the input to fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=$1
shift
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz

cargo +nightly fuzz build
for target in "${targets[@]}"; do
    found=$CARGO_TARGET_DIR/corpus/$target
    log=$CARGO_TARGET_DIR/$target.log
    mkdir -p "$found"
    if ! cargo +nightly fuzz run "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 \
        >"$log" 2>&1; then
        cat "$log"
        exit 1
    fi
    echo "$target: $(grep -a DONE "$log")"
done
