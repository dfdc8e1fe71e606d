//! When GitHub stops supporting a version of the runner software (changelog of 2026-09-03).

use http::StatusCode;
use serde::Deserialize;

use super::{Client, GithubError, RunnerVersion, endpoint::Endpoint, lenient_json::lenient, rest::Request};
use crate::fleet::Timestamp;

/// The end of a version's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// When it can no longer register; `None` while nothing is planned.
    pub registration_ends_at: Option<Timestamp>,
    /// When it no longer gets jobs; `None` while nothing is planned.
    pub jobs_end_at: Option<Timestamp>,
}

/// As sent.
#[derive(Deserialize)]
struct DeprecationBody {
    #[serde(default, deserialize_with = "lenient")]
    registration_deprecates_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    runtime_deprecates_at: Option<Timestamp>,
}

impl Client {
    /// What is planned for a version; `None` from a server that does not report it, such as GitHub Enterprise
    /// Server up to 3.19.
    pub async fn deprecation(&self, version: RunnerVersion) -> Result<Option<Deprecation>, GithubError> {
        let address = self.rest().address(&format!("/actions/runners/deprecations/{version}"))?;
        let reply = self.rest().ask(Request::get(Endpoint::Deprecation, address)).await?;
        match reply.answer.status {
            StatusCode::OK => {
                let wire: DeprecationBody = reply.answer.json()?;
                Ok(Some(Deprecation {
                    registration_ends_at: wire.registration_deprecates_at,
                    jobs_end_at: wire.runtime_deprecates_at,
                }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.rest().refused(Endpoint::Deprecation, &reply)),
        }
    }
}
