# Every everyday command; `just` alone lists them. Each is one line that can be typed without just.

set positional-arguments

_default:
    @just --list --unsorted

# A first program against a running ZooKeeper
quickstart *args:
    cargo run -p zk-client --example quickstart -- "$@"

# All tests; those of the whole system start real ZooKeeper servers by themselves
test *args:
    ZK_TEST_PYTHON="$(tests/kazoo/setup.sh)" cargo test --workspace "$@"

# The tests that need neither Java nor Python
test-unit *args:
    cargo test --workspace --exclude zk-tests --exclude zk-benches "$@"

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

# Benchmarks
bench *args:
    cargo bench -p zk-benches "$@"

# Record the golden vectors of the wire format again; look at the difference before committing it
golden:
    ZK_GOLDEN=record cargo test -p zk-tests --test golden

# Every check of continuous integration
ci:
    .ci/run
