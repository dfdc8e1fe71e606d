# What one does here; `just ci` is all that CI does.

[private]
default:
    @just --list --unsorted

# Everything that must hold.
ci:
    .ci/run

# The daemon against a simulated GitHub for half a minute; needs no account.
demo *arguments:
    cargo run -- demo {{ arguments }}

# All tests, or those whose name contains a word.
test *words:
    cargo nextest run {{ words }}

# What to run before a commit.
check:
    cargo fmt
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items

# Licences, bans and sources of dependencies.
deny:
    cargo deny --offline check licenses bans sources

# Many simulated days, of which a failing one is replayed with SEED=…
simulate days="3000":
    SIMULATION_DAYS={{ days }} cargo test --release --test simulation -- --nocapture

bench *words:
    cargo bench {{ words }}
