//! The edge to GitHub: its runner API, scale sets and webhooks.
//!
//! [`RunnerApi`] is what passes need; [`Client`] is it over the wire. octocrab carries the requests
//! and nothing more: its models, paging, retries and cache do not fit (docs/decisions).
//!
//! In layers; each knows only those above it in this list, and no two files know each other:
//!
//! 1. `error`, `endpoint`, `redact`, `lenient_json`, `single_flight`, `reloaded`, `server_clock`: words and tools.
//! 2. `transport`: one exchange with one server.
//! 3. `limits`: what GitHub lets a token do, and the pace that keeps to it.
//! 4. `credentials`: tokens and Apps, their files, their renewal, their expiry.
//! 5. `rest`: one request to the REST API, with the token that it needs.
//! 6. `paging`: lists of many pages, requested only if they have changed.
//! 7. `runner_list`, `runner_groups`, `mint`: what the runner API remembers; `client` puts it together.
//! 8. One file for each other part of the API; and, on the same client, `scale_set`. `webhook` reads what GitHub
//!    sends by itself.

mod client;
mod credentials;
mod endpoint;
mod group_policy;
mod hooks;
mod identify;
mod identities;
mod job_lookup;
mod job_origin;
mod job_queue;
mod lenient_json;
mod limits;
mod mint;
mod paging;
mod probe;
mod redact;
mod reloaded;
mod repositories;
mod rest;
mod runner_downloads;
mod runner_groups;
mod runner_labels;
mod runner_list;
mod runner_record;
mod runner_tokens;
mod runner_version;
pub mod scale_set;
mod server_clock;
mod single_flight;
mod transport;
mod version_deprecation;
pub mod webhook;
mod workflow_records;

pub use crate::executor::{GithubError, Listing, Mint, MintedRunner, RunnerApi};

pub use self::{
    client::Client,
    credentials::{
        AppGrant, AppSource, Credential, CredentialKind, CredentialSource, TokenKind, TokenSource,
    },
    hooks::{DeliveryRecord, HookRecord, LogMark},
    identities::{Identities, Numbers, Placed},
    job_queue::{HELD_RUNS_INTERVAL, Look, Queue},
    limits::{Rate, poll_interval, retry_interval},
    probe::Probe,
    repositories::{PushedRepository, Repositories},
    rest::{Reporter, RequestReport},
    runner_downloads::{RunnerDownload, newest_version},
    runner_groups::{GroupRepository, RunnerGroup},
    runner_labels::RunnerLabel,
    runner_record::RunnerRecord,
    runner_tokens::RunnerToken,
    runner_version::{NoVersion, RunnerVersion},
    transport::DEADLINE,
    version_deprecation::Deprecation,
};

/// Tracing directives that no log filter lifts: these crates log requests, or log errors that the caller
/// handles.
pub const LOG_CAPS: &[&str] =
    &["octocrab=off", "hyper=info", "hyper_util=info", "hyper_rustls=error", "rustls=info", "tower=info"];
