//! What a simulator is started with, and what its jobs are.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::Serialize;

use super::scale_sets::ScaleSetRules;

/// How a simulated GitHub is set up. It bears fake tokens and still has no `Debug`.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// The address that runners connect to, without a path; `None` is where it listens. Differs
    /// where containers do not share the host's network.
    pub runner_url: Option<String>,
    /// The organizations (`acme`) and repositories (`acme/widgets`) that exist.
    pub scopes: Vec<String>,
    /// Names of the organizations' runner groups. The first is the default one with id 1; id 2 is
    /// left out, as GitHub keeps it for its own runners; the second gets 3, and so on.
    pub groups: Vec<String>,
    /// Tokens that may do everything.
    pub tokens: Vec<String>,
    /// Tokens that may only read.
    pub read_only_tokens: Vec<String>,
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
    /// How the scale-set service behaves.
    pub scale_sets: ScaleSetRules,
    /// What everything random is drawn from.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            runner_url: None,
            scopes: vec!["acme".to_owned(), "acme/widgets".to_owned()],
            groups: vec!["Default".to_owned()],
            tokens: vec!["simulated-token".to_owned()],
            read_only_tokens: Vec::new(),
            rate_limit: Some(5000),
            max_registrations: 10_000,
            busy_lag: Duration::from_secs(2),
            list_lag: Duration::ZERO,
            offline_after: Duration::from_secs(5),
            lease: Duration::from_mins(10),
            pickup_timeout: Duration::from_mins(1),
            poll_cycle: Duration::from_secs(2),
            scale_sets: ScaleSetRules::default(),
            seed: 0,
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

/// A workflow job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The organization (any runner of it may serve) or repository (its runners, and those of its
    /// owner).
    pub scope: String,
    /// Display name.
    pub name: String,
    /// What `runs-on` says.
    pub labels: Vec<String>,
    /// How long it works.
    pub duration: Duration,
    /// What it does to its runner.
    pub behaviour: Behaviour,
}

/// What a job does to its runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Works for its duration and succeeds.
    #[default]
    Succeeds,
    /// Works for its duration and fails.
    Fails,
    /// Takes this many bytes of memory before it begins to work, or dies of it.
    Allocates(u64),
    /// Its worker crashes at once; the runner lives and reports a failed job.
    CrashesWorker,
    /// The runner itself crashes as soon as it has the job, and reports nothing.
    CrashesRunner,
}

impl Job {
    /// A job that succeeds after a second.
    pub fn new(scope: &str, labels: &[&str]) -> Self {
        Self {
            scope: scope.to_owned(),
            name: "build".to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            duration: Duration::from_secs(1),
            behaviour: Behaviour::Succeeds,
        }
    }

    /// The same with another display name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same with another duration.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// The same with another behaviour.
    #[must_use]
    pub fn that(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }
}
