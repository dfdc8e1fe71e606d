//! The `dayfly` program.

use std::process::ExitCode;

use clap::Parser;
use dayfly::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().carry_out()
}
