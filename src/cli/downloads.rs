//! `dayfly downloads`: lists the runner software that GitHub offers, and its newest version. The token that
//! may come with a download is neither read nor shown.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use super::{
    Downloads, Global,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};
use crate::github::{RunnerDownload, newest_version};

const HEADER: [&str; 5] = ["SYSTEM", "ARCHITECTURE", "VERSION", "FILE", "SHA-256"];

pub(super) fn run(global: &Global, downloads: &Downloads) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let target = ApiTarget::of(&downloads.which, global)?;
    let rows = runtime()?
        .block_on(target.client.downloads())
        .map_err(|error| target.failed("list the runner software for", &error))?;
    let newest = newest_version(&rows);
    let mut out = stdout().lock();
    if downloads.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "os": row.os, "architecture": row.architecture, "version": row.version(),
                    "filename": row.filename, "download_url": row.download_url,
                    "sha256_checksum": row.sha256_checksum,
                })
            })
            .collect();
        let whole = serde_json::json!({
            "url": target.client.scope(), "newest_version": newest, "downloads": rows,
        });
        writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        writeln!(out, "GitHub offers no runner software for {}", target.client.scope())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", terminal::table(HEADER, rows.iter().map(cells)))?;
    if let Some(newest) = newest {
        writeln!(out, "\nnewest version: {newest}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &RunnerDownload) -> [String; 5] {
    [
        terminal::cell(&row.os, MOST),
        terminal::cell(&row.architecture, MOST),
        row.version().map_or_else(|| "-".to_owned(), |version| version.to_string()),
        terminal::cell(&row.filename, MOST),
        row.sha256_checksum.as_deref().map_or_else(|| "-".to_owned(), |sum| terminal::cell(sum, MOST)),
    ]
}
