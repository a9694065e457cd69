# Every everyday command; `just` alone lists them. Each is one line that can be typed without just.

set positional-arguments

_default:
    @just --list --unsorted

# A first program, on the ZooKeeper at $ZK_HOSTS or on one in memory
quickstart:
    cargo run --quiet -p zk-client --example quickstart

# All tests; those of the whole system start real ZooKeeper servers by themselves
test *args:
    sh tests/run.sh "$@"

# The tests that need neither Java nor Python
test-unit *args:
    cargo test --workspace --exclude zk-tests --exclude zk-benches "$@"

# The whole client on the embedded server, kazoo beside it: in seconds, as its tests wait more than they work
test-embedded *args:
    RUST_TEST_THREADS=16 cargo test -p zk-tests --test embedded "$@"

# Clippy with warnings denied
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Format everything
fmt:
    cargo fmt --all

# Documentation with warnings denied
doc *args:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features "$@"

# Licences, sources, bans and advisories of the dependencies
deny:
    cargo deny --all-features check

# Circles of imports, arrows between crates, and what docs/architecture.md says of files; --write makes its pictures
architecture *args:
    python3 .ci/imports.py
    python3 .ci/architecture.py "$@"

# Every crate can be packaged, and is built from its package alone
package:
    cargo package --workspace --no-verify --allow-dirty
    cargo publish --workspace --dry-run --allow-dirty

# Benchmarks
bench *args:
    cargo bench -p zk-benches "$@"

# Memory that the client's bounds stand for: requests made while suspended, small values that are kept
bounds:
    cargo bench -p zk-benches --bench bounds

# The embedded server: time to start, time of a get, threads and memory of 10,000 sessions
bench-server:
    cargo bench -p zk-server --bench server

# The embedded server against ZooKeeper: so many random sequences, from this seed
differential sequences="10000" seed="2":
    ZK_DIFFERENTIAL_SEQUENCES={{sequences}} ZK_DIFFERENTIAL_SEED={{seed}} cargo test -p zk-tests --test differential

# Kazoo's own tests on ZooKeeper and on the embedded server, compared by name; arguments go to pytest
kazoo-suite *args:
    tests/kazoo/suite.sh "$@"

# What continuous integration leaves out: the tests on ZooKeeper 3.9.5, and other people's clients and suites
test-extended:
    tests/extended.sh

# Twenty clients contend for a lock while servers, lines and processes fail, for so many seconds
faults seconds="600" *args:
    cargo run --release -p zk-tests --bin fault-run -- --seconds "$@"

# How clients come back: sessions lost, connects, the worst second of 2,000 clients, fail-over
reconnect-stats:
    cargo run --release -p zk-tests --example reconnect-stats

# Simulate whole clusters in one thread, this many seeds of every workload; or of one: --workload locks
simulate seeds="10000" *args:
    cargo run --release -p zk-sim -- --seeds "$@"

# Bugs injected into a copy, each of which the simulation has to find
simulate-mutants *patches:
    zk-sim/mutants.sh "$@"

# Record the golden vectors of the wire format again; look at the difference before committing it
golden:
    zk-proto/tests/golden/record/record.sh

# Fuzz all targets, or those named, each for so many seconds; needs a nightly toolchain and cargo-fuzz
fuzz seconds="600" *targets:
    fuzz/run.sh "$@"

# Make the seeds of the fuzz targets again; look at the difference before committing it
fuzz-seeds:
    cargo run -p zk-fuzz --example seeds

# Break the session on purpose, and see that the tests notice
fuzz-mutants:
    fuzz/mutants.sh

# Every check of continuous integration
ci:
    .ci/run
