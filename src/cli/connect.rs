//! `dayfly connect`: tries to connect to addresses, inside a container that `dayfly check --from-runners` starts.

use std::{io::Write, process::ExitCode, time::Duration};

use futures_util::future::join_all;
use tokio::{net::TcpStream, time::timeout};

use super::Connect;

/// How long each address has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints why each address cannot be reached, or `null`, as one JSON array.
pub(super) fn run(options: &Connect) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = runtime.block_on(join_all(options.addresses.iter().map(|address| connect(address))));
    // Names that are still being resolved do not delay the exit.
    runtime.shutdown_background();
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcomes)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn connect(address: &str) -> Option<String> {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
