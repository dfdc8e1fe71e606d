# Recipes for developers; CI runs `just ci`.

[private]
default:
    @just --list --unsorted

# Run everything that CI runs.
ci:
    .ci/run

# Run the daemon against a simulated GitHub for half a minute; needs no account.
demo *arguments:
    cargo run -- demo {{ arguments }}

# Run all tests, or those whose name contains a word.
test *words:
    cargo nextest run {{ words }}

# Run this before a commit.
check:
    cargo fmt
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items

# Check licences, bans and sources of dependencies.
deny:
    cargo deny --offline check licenses bans sources

# Simulate many days; replay a failing one with SEED=…
simulate days="3000":
    SIMULATION_DAYS={{ days }} cargo test --release --test simulation -- --nocapture

bench *words:
    cargo bench {{ words }}

# Write the generated parts of docs/reference after a change of commands, metrics or config/dayfly.toml.
reference:
    REWRITE_REFERENCE=1 cargo test --test edges reference

