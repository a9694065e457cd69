#!/usr/bin/env bash
# Applies each patch of fuzz/mutants to a copy of the project, and measures how long the model test takes to find the
# bug. It fails if a bug is not found within a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
export CARGO_TARGET_DIR=${MUTANTS_TARGET_DIR:-$copy/target}
export PROPTEST_CASES=1000000 PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0
patches=("${@:-}")
[ -n "${patches[0]}" ] || patches=(fuzz/mutants/*.patch)

# The unchanged copy passes.
(cd "$copy" && PROPTEST_CASES=2000 cargo test --quiet -p zk-fuzz --test random predicted)

missed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    git -C "$copy" apply --unsafe-paths --directory="$copy" "$PWD/fuzz/mutants/$name.patch"
    (cd "$copy" && cargo test --quiet -p zk-fuzz --test random --no-run 2>/dev/null)
    start=${EPOCHREALTIME/./}
    if (cd "$copy" && timeout 60 cargo test --quiet -p zk-fuzz --test random predicted) >"$copy/log" 2>&1 ||
        ! grep -q "minimal failing input" "$copy/log"; then
        verdict="NOT FOUND"
        missed=1
    else
        verdict=$(grep -m 1 "Test failed" "$copy/log" | cut -c 1-100)
    fi
    printf '%-28s %6d ms  %s\n' "$name" "$(((${EPOCHREALTIME/./} - start) / 1000))" "$verdict"
    git -C "$copy" apply -R --unsafe-paths --directory="$copy" "$PWD/fuzz/mutants/$name.patch"
done
exit $missed
