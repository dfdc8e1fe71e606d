//! The runner software that GitHub offers to a scope, and so its newest version.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Client, GithubError, RunnerVersion, endpoint::Endpoint, rest::Request};

/// An archive of the runner software. GitHub may send a short-lived secret with it
/// (`temp_download_token`), which is not read: nothing here needs it, and so nothing can show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerDownload {
    /// `linux`, `osx` or `win`.
    pub os: String,
    /// `x64`, `arm64` or `arm`.
    pub architecture: String,
    /// Its name, which contains the version.
    pub filename: String,
    /// Where it is.
    pub download_url: Option<String>,
    /// Its SHA-256 in hex.
    pub sha256_checksum: Option<String>,
}

impl RunnerDownload {
    /// The version in its name.
    pub fn version(&self) -> Option<RunnerVersion> {
        RunnerVersion::of_file(&self.filename)
    }
}

/// The newest version among these.
pub fn newest_version(downloads: &[RunnerDownload]) -> Option<RunnerVersion> {
    downloads.iter().filter_map(RunnerDownload::version).max()
}

impl Client {
    /// The runner software for every system. A GitHub Enterprise Server offers the version that matches it.
    pub async fn downloads(&self) -> Result<Vec<RunnerDownload>, GithubError> {
        let address = self.rest().address("/actions/runners/downloads")?;
        let reply = self.rest().ask(Request::get(Endpoint::Downloads, address)).await?;
        match reply.answer.status {
            StatusCode::OK => {
                let rows: Vec<Value> = reply.answer.json()?;
                Ok(rows.into_iter().filter_map(|row| serde_json::from_value(row).ok()).collect())
            }
            _ => Err(self.rest().refused(Endpoint::Downloads, &reply)),
        }
    }
}
