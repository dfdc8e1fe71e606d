//! `dayfly status`: fetches the status of the running daemon and prints it. Needs no token.

pub(super) mod daemon;
mod page;
pub(super) mod wording;
mod wrong;

use std::{
    io::{Write, stderr, stdout},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::{Context, bail};
use http::StatusCode;

use super::{Global, Status, run::runtime, terminal};
use crate::{
    clock,
    config::{self, Machine, Problems, Tokens},
    http::status_document::StatusDocument,
};

pub(super) fn run(global: &Global, status: &Status) -> anyhow::Result<ExitCode> {
    let address = address(global)?;
    runtime()?.block_on(async {
        let healthy = health(address).await?;
        // Used by health checks, which need the exit code only.
        if global.quiet > 0 && !status.json {
            return verdict(healthy);
        }
        let (code, body) = daemon::get(address, "/api/v1/status").await?;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let document: StatusDocument<'_> = match serde_json::from_str(text) {
            Ok(document) if code == StatusCode::OK => document,
            _ => bail!(
                "the program that listens on {address} is not a dayfly daemon, or one of another version"
            ),
        };
        let now = clock::wall().shown;
        let shown = match (status.failed, status.json) {
            (false, true) => terminal::json(text),
            (false, false) => page::page(&document, now),
            (true, true) => terminal::json(&serde_json::to_string(&failures(text)?)?),
            (true, false) => wrong::failures(&document.failures, now),
        };
        writeln!(stdout(), "{shown}")?;
        verdict(healthy)
    })
}

/// Where the daemon of this configuration listens.
fn address(global: &Global) -> anyhow::Result<SocketAddr> {
    let path = config::find(global.config.as_deref(), config::environment())
        .map_err(|problem| Problems(vec![problem]))?;
    let config = config::load_for(&path, config::environment(), &Machine::here(), Tokens::Unneeded)
        .context("failed to read the configuration, which has the daemon's address")?;
    if config.listen.port() == 0 {
        bail!("http.listen has port 0, which means a different port at every start; set a fixed port");
    }
    Ok(daemon::reachable(config.listen))
}

/// The failures in a status document, with all their fields.
fn failures(text: &str) -> serde_json::Result<serde_json::Value> {
    let mut document: serde_json::Value = serde_json::from_str(text)?;
    Ok(document.get_mut("failures").map_or_else(|| serde_json::json!([]), serde_json::Value::take))
}

/// Why the daemon reports itself as unhealthy, if it does.
async fn health(address: SocketAddr) -> anyhow::Result<Option<String>> {
    let (code, body) = daemon::get(address, "/healthz").await?;
    Ok((code != StatusCode::OK).then(|| terminal::cell(String::from_utf8_lossy(&body).trim(), 200)))
}

fn verdict(unhealthy: Option<String>) -> anyhow::Result<ExitCode> {
    match unhealthy {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => {
            writeln!(stderr(), "dayfly: the daemon is not healthy: {why}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
