# Everyday commands; `just` lists them. Each is one line that can also be typed without just.

set positional-arguments

_default:
    @just --list --unsorted

# Run the first example, on the ZooKeeper at $ZK_HOSTS or on an embedded server
quickstart:
    cargo run --quiet -p zk-client --example quickstart

# All tests; the whole-system tests start real ZooKeeper servers
test *args:
    sh tests/run.sh "$@"

# The tests that need neither Java nor Python
test-unit *args:
    cargo test --workspace --exclude zk-tests --exclude zk-benches "$@"

# The whole client and kazoo on the embedded server, in seconds; many threads, because the tests mostly wait
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

# The compatibility table names tests that exist and are run
compatibility:
    python3 .ci/compatibility.py

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

# Memory use at the client's limits: requests made while suspended, small values that are kept
bounds:
    cargo bench -p zk-benches --bench bounds

# The embedded server: time to start, time of a get, threads and memory of 10,000 sessions
bench-server:
    cargo bench -p zk-server --bench server

# Compare the embedded server with ZooKeeper, in this many random sequences from this seed
differential sequences="10000" seed="2":
    ZK_DIFFERENTIAL_SEQUENCES={{sequences}} ZK_DIFFERENTIAL_SEED={{seed}} cargo test -p zk-tests --test differential

# Run kazoo's own tests on ZooKeeper and on the embedded server, and compare them by name; arguments go to pytest
kazoo-suite *args:
    tests/kazoo/suite.sh "$@"

# The second job: on ZooKeeper 3.9.5, with TLS everywhere, with kazoo's own tests, the Java client and Curator
test-extended:
    tests/extended.sh

# Twenty clients contend for a lock under faults of servers, network and processes, for this many seconds
faults seconds="600" *args:
    cargo run --release -p zk-tests --bin fault-run -- --seconds "$@"

# Print how clients reconnect: sessions lost, connects, the worst second of 2,000 clients, fail-over
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

# Inject bugs into the session, each of which the tests have to find
fuzz-mutants:
    fuzz/mutants.sh

# Every check of continuous integration
ci:
    .ci/run
