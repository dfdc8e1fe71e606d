//! The status document as this command reads it: fields that a daemon of another version omits may be
//! missing, fields that it adds are ignored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Document {
    pub(super) instance: String,
    pub(super) version: String,
    pub(super) started_at: Timestamp,
    #[serde(default)]
    pub(super) draining: bool,
    pub(super) pools: Vec<Pool>,
    pub(super) runners: Vec<Runner>,
    #[serde(default)]
    pub(super) scopes: Vec<Scope>,
    #[serde(default)]
    pub(super) hosts: Vec<Host>,
    #[serde(default)]
    pub(super) jobs: Vec<Job>,
    #[serde(default)]
    pub(super) failures: Vec<Failure>,
}

#[derive(Deserialize)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) host: String,
    pub(super) desired: u32,
    pub(super) min_idle: u32,
    pub(super) max: u32,
    #[serde(default)]
    pub(super) queued: u32,
    #[serde(default)]
    pub(super) phases: BTreeMap<String, u32>,
    pub(super) held: Option<String>,
    pub(super) held_since: Option<Timestamp>,
    pub(super) held_detail: Option<String>,
    #[serde(default)]
    pub(super) sources_down: Vec<String>,
    #[serde(default)]
    pub(super) source_troubles: Vec<SourceTrouble>,
}

/// Why something does not work.
#[derive(Deserialize)]
pub(super) struct Trouble {
    pub(super) since: Timestamp,
    pub(super) detail: String,
}

#[derive(Deserialize)]
pub(super) struct SourceTrouble {
    pub(super) source: String,
    #[serde(flatten)]
    pub(super) trouble: Trouble,
}

/// How a runner's container ended.
#[derive(Deserialize)]
pub(super) struct Ending {
    pub(super) reason: String,
}

/// A runner that failed.
#[derive(Deserialize)]
pub(super) struct Failure {
    pub(super) at: Timestamp,
    pub(super) runner: String,
    pub(super) step: String,
    pub(super) reason: String,
    pub(super) job: Option<String>,
    pub(super) detail: String,
}

#[derive(Deserialize)]
pub(super) struct Runner {
    pub(super) name: String,
    pub(super) phase: String,
    pub(super) registration_id: Option<u64>,
    pub(super) container_id: Option<String>,
    pub(super) host: Option<String>,
    pub(super) since: Timestamp,
    pub(super) removal_reason: Option<String>,
    pub(super) ending: Option<Ending>,
    pub(super) job: Option<String>,
    pub(super) job_details: Option<Details>,
}

#[derive(Deserialize)]
pub(super) struct Details {
    pub(super) repository: String,
}

/// A queued job.
#[derive(Deserialize)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) repository: String,
    pub(super) queued_at: Timestamp,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    pub(super) pool: Option<String>,
    pub(super) unmatched: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Scope {
    pub(super) url: String,
    pub(super) up: bool,
    pub(super) last_listed_at: Option<Timestamp>,
    pub(super) trouble: Option<Trouble>,
    pub(super) rate_limit: Option<Rate>,
}

#[derive(Deserialize)]
pub(super) struct Rate {
    pub(super) limit: u64,
    pub(super) remaining: u64,
}

#[derive(Deserialize)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) last_listed_at: Option<Timestamp>,
    pub(super) trouble: Option<Trouble>,
    #[serde(default)]
    pub(super) runners: u32,
    #[serde(default)]
    pub(super) memory_committed: u64,
    pub(super) blocked: Option<String>,
}
