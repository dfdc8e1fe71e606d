//! The `dayfly` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("simulated-runner") {
        return dayfly::simulator::runner::run();
    }
    ExitCode::SUCCESS
}
