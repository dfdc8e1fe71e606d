//! What a simulator is started with.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::Serialize;

use super::{
    apps::{App, TOKEN_LIFE},
    scale_sets::rules::ScaleSetRules,
};
use dayfly_fleet::Timestamp;

/// The settings of a simulated GitHub. Its tokens are fake, and still it has no `Debug`.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// The name or address of this machine for runners; `None` is where it listens. Differs where containers do
    /// not share the host's network.
    pub runner_host: Option<String>,
    /// The organizations (`acme`), repositories (`acme/widgets`) and enterprises
    /// (`enterprises/acme`) that exist.
    pub scopes: Vec<String>,
    /// Names of the organizations' and enterprises' runner groups. The first is the default one with id 1; id 2 is
    /// left out, as GitHub keeps it for its own runners; the second gets 3, and so on.
    pub groups: Vec<String>,
    /// Whom groups serve, by their names; those that are not named serve all private repositories.
    pub group_policies: BTreeMap<String, GroupPolicy>,
    /// Tokens that may do everything; those that begin with `github_pat_` are fine-grained, and get
    /// nowhere near an enterprise.
    pub tokens: Vec<String>,
    /// Tokens that may only read.
    pub read_only_tokens: Vec<String>,
    /// What answers to such tokens say of their end, such as `2026-12-01 09:00:00 UTC`.
    pub token_expiration: Option<String>,
    /// What answers to such tokens say of their scopes, such as `repo, admin:org`.
    pub token_scopes: Option<String>,
    /// The GitHub Apps that exist.
    pub apps: Vec<App>,
    /// How long an installation token is good for.
    pub installation_token_life: Duration,
    /// How many seconds GitHub's clock is ahead of this machine's.
    pub clock_ahead: i64,
    /// Requests per token and hour; `None` is a server without limits, which sends no headers.
    pub rate_limit: Option<u32>,
    /// Registrations that fit into one runner group of a scope.
    pub max_registrations: usize,
    /// How long after a job's assignment `busy` says so; a DELETE believes it too.
    pub busy_lag: Duration,
    /// How long a registration is missing from lists after its mint.
    pub list_lag: Duration,
    /// How long a runner whose connection was lost still counts as online.
    pub offline_after: Duration,
    /// How long a runner whose connection was lost keeps its job (and `busy`).
    pub lease: Duration,
    /// How long a job waits for the runner that it was assigned to, before it is queued again.
    pub pickup_timeout: Duration,
    /// How long a runner's poll for a message waits; a deregistered runner notices at the next.
    pub poll_cycle: Duration,
    /// The version of the runner software that is offered for download.
    pub newest_runner: String,
    /// When versions are deprecated; `None` is a server that does not report it, such as GitHub Enterprise
    /// Server.
    pub ends_of_life: Option<Vec<EndOfLife>>,
    /// How the scale-set service behaves.
    pub scale_sets: ScaleSetRules,
    /// The seed of everything random.
    pub seed: u64,
}

/// When a version of the runner software comes to its end.
#[derive(Clone, Debug)]
pub struct EndOfLife {
    /// The version.
    pub version: String,
    /// From when on it cannot register.
    pub registration: Option<Timestamp>,
    /// From when on it gets no jobs.
    pub jobs: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            runner_host: None,
            scopes: vec!["acme".to_owned(), "acme/widgets".to_owned(), "enterprises/acme".to_owned()],
            groups: vec!["Default".to_owned()],
            tokens: vec!["simulated-token".to_owned()],
            group_policies: BTreeMap::new(),
            read_only_tokens: Vec::new(),
            token_expiration: None,
            token_scopes: None,
            apps: Vec::new(),
            installation_token_life: TOKEN_LIFE,
            clock_ahead: 0,
            rate_limit: Some(5000),
            max_registrations: 10_000,
            busy_lag: Duration::from_secs(2),
            list_lag: Duration::ZERO,
            offline_after: Duration::from_secs(5),
            lease: Duration::from_mins(10),
            pickup_timeout: Duration::from_mins(1),
            poll_cycle: Duration::from_secs(2),
            newest_runner: "2.336.0".to_owned(),
            ends_of_life: Some(Vec::new()),
            scale_sets: ScaleSetRules::default(),
            seed: 0,
        }
    }
}

/// Whom a runner group serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// `all`, `selected` or `private`.
    pub visibility: &'static str,
    /// The full names of the repositories that were selected.
    pub repositories: Vec<String>,
    /// Whether public repositories may use it.
    pub allows_public_repositories: bool,
    /// Whether it is the enterprise's; no runner can be added to it at the organization.
    pub inherited: bool,
    /// The only workflows that may use it; none is no restriction.
    pub workflows: Vec<String>,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self {
            visibility: "all",
            repositories: Vec::new(),
            allows_public_repositories: false,
            inherited: false,
            workflows: Vec::new(),
        }
    }
}

/// What a registration without a runner pretends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Never connected.
    Offline,
    /// Connected, without a job.
    Idle,
    /// Connected, with a job.
    Busy,
    /// Not connected, with a job: what a runner that died mid-job leaves for some minutes.
    OfflineBusy,
}
