//! The status document: the report of the last pass as JSON. The web server writes it; `dayfly status`, `explain`
//! and `demo` read it. Scripts rely on its field names.
//!
//! The daemon that is read from may have another version: fields that it omits may be missing, fields that it
//! adds are ignored, and a word that is not known here is shown as it is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::about::About;
use crate::{
    fleet::{
        Census, ClockReading, Destination, FailureReport, HostReport, JobFacts, JobReport, NodeReport,
        PoolReport, PullProgress, PullReport, RunnerReport, Scope, ScopeReport, Status, Timestamp,
        TroubleReport,
    },
    github::Rate,
};

/// At most this many queued jobs are listed.
const JOBS_SHOWN: usize = 500;

type Text<'a> = Cow<'a, str>;

/// What `/api/v1/status` returns.
#[derive(Debug, Deserialize, Serialize)]
pub struct StatusDocument<'a> {
    pub instance: Text<'a>,
    pub version: Text<'a>,
    pub started_at: Timestamp,
    pub planned_at: Option<Timestamp>,
    #[serde(default)]
    pub draining: bool,
    pub pools: Vec<PoolEntry<'a>>,
    pub runners: Vec<RunnerEntry<'a>>,
    #[serde(default)]
    pub scopes: Vec<ScopeEntry<'a>>,
    #[serde(default)]
    pub hosts: Vec<HostEntry<'a>>,
    /// Queued, oldest first.
    #[serde(default)]
    pub jobs: Vec<JobEntry<'a>>,
    /// The most recent runner failures, newest first.
    #[serde(default)]
    pub failures: Vec<FailureEntry<'a>>,
}

/// A pool, and why its launches are paused.
#[derive(Debug, Deserialize, Serialize)]
pub struct PoolEntry<'a> {
    pub name: Text<'a>,
    pub url: Text<'a>,
    /// Where its runners may run, in the order of the configuration.
    pub hosts: Vec<Text<'a>>,
    /// Which of them gets the next runner: `spread`, `pack` or `ordered`.
    pub placement: Text<'a>,
    pub desired: u32,
    pub min_idle: u32,
    pub max: u32,
    #[serde(default)]
    pub queued: u32,
    pub oldest_queued_at: Option<Timestamp>,
    #[serde(default)]
    pub phases: Census,
    pub oldest_starting_at: Option<Timestamp>,
    /// A [`Held`](crate::fleet::Held).
    pub held: Option<Text<'a>>,
    pub held_since: Option<Timestamp>,
    pub held_detail: Option<Text<'a>>,
    /// A [`Source`](crate::fleet::Source) each.
    #[serde(default)]
    pub sources_down: Vec<Text<'a>>,
    #[serde(default)]
    pub source_troubles: Vec<SourceTroubleEntry<'a>>,
}

/// Why something does not work.
#[derive(Debug, Deserialize, Serialize)]
pub struct TroubleEntry<'a> {
    /// A [`TroubleKind`](crate::fleet::TroubleKind).
    #[serde(default)]
    pub reason: Text<'a>,
    pub since: Timestamp,
    pub detail: Text<'a>,
}

/// A job source that fails, and why.
#[derive(Debug, Deserialize, Serialize)]
pub struct SourceTroubleEntry<'a> {
    pub source: Text<'a>,
    #[serde(flatten)]
    pub trouble: TroubleEntry<'a>,
}

/// A runner that is present.
#[derive(Debug, Deserialize, Serialize)]
pub struct RunnerEntry<'a> {
    pub name: Text<'a>,
    #[serde(default)]
    pub pool: Text<'a>,
    /// A [`Phase`](crate::fleet::Phase).
    pub phase: Text<'a>,
    pub registration_id: Option<u64>,
    pub container_id: Option<Text<'a>>,
    pub host: Option<Text<'a>>,
    /// Where the host is a Swarm.
    pub node: Option<Text<'a>>,
    pub since: Timestamp,
    /// A [`Why`](crate::fleet::Why).
    pub removal_reason: Option<Text<'a>>,
    pub ending: Option<EndingEntry<'a>>,
    pub job: Option<Text<'a>>,
    pub job_details: Option<JobDetails<'a>>,
    /// What it connected to through its egress proxy: the first hundred.
    #[serde(default)]
    pub destinations: Vec<DestinationEntry<'a>>,
    /// How many destinations there are besides.
    #[serde(default)]
    pub more_destinations: u64,
}

/// A host and port that a job connected to, or tried to.
#[derive(Debug, Deserialize, Serialize)]
pub struct DestinationEntry<'a> {
    #[serde(default)]
    pub host: Text<'a>,
    #[serde(default)]
    pub port: u16,
    /// An [`EgressVerdict`](crate::fleet::EgressVerdict).
    #[serde(default)]
    pub verdict: Text<'a>,
    /// As far as reported: the proxy reports 1, 2, 4, 8 and so on.
    #[serde(default)]
    pub requests: u64,
}

/// How a runner's container ended.
#[derive(Debug, Deserialize, Serialize)]
pub struct EndingEntry<'a> {
    /// An [`ExitReason`](crate::fleet::ExitReason).
    pub reason: Text<'a>,
    #[serde(default)]
    pub at: Timestamp,
    pub exit_code: Option<i64>,
}

/// Details of a runner's job.
#[derive(Debug, Deserialize, Serialize)]
pub struct JobDetails<'a> {
    #[serde(default)]
    pub name: Text<'a>,
    pub repository: Text<'a>,
    #[serde(default)]
    pub run_id: u64,
    #[serde(default)]
    pub url: Text<'a>,
    #[serde(default)]
    pub queued_at: Timestamp,
}

/// A scope, and the rate limit of its credential.
#[derive(Debug, Deserialize, Serialize)]
pub struct ScopeEntry<'a> {
    pub url: Text<'a>,
    pub up: bool,
    pub last_listed_at: Option<Timestamp>,
    pub trouble: Option<TroubleEntry<'a>>,
    pub rate_limit: Option<RateLimit>,
}

/// A rate limit as GitHub last reported it.
#[derive(Debug, Deserialize, Serialize)]
pub struct RateLimit {
    pub limit: u64,
    pub remaining: u64,
    #[serde(default)]
    pub reset_at: Timestamp,
}

/// A host, and what its runners use of it.
#[derive(Debug, Deserialize, Serialize)]
pub struct HostEntry<'a> {
    pub name: Text<'a>,
    pub engine: Option<Text<'a>>,
    pub endpoint: Option<Text<'a>>,
    /// Where the endpoint comes from: the configuration, or what was found without it.
    pub endpoint_source: Option<Text<'a>>,
    pub up: bool,
    pub last_listed_at: Option<Timestamp>,
    pub trouble: Option<TroubleEntry<'a>>,
    #[serde(default)]
    pub runners: u32,
    /// In bytes.
    #[serde(default)]
    pub memory_committed: u64,
    /// In thousandths of a processor.
    #[serde(default)]
    pub cpu_millis_committed: u64,
    /// Those of a Swarm.
    #[serde(default)]
    pub nodes: Vec<NodeEntry<'a>>,
    #[serde(default)]
    pub pulls: Vec<PullEntry<'a>>,
    /// A [`Held`](crate::fleet::Held).
    pub blocked: Option<Text<'a>>,
}

/// A node of a Swarm.
#[derive(Debug, Deserialize, Serialize)]
pub struct NodeEntry<'a> {
    pub name: Text<'a>,
    /// `active`, `pause` or `drain`.
    #[serde(default)]
    pub availability: Text<'a>,
    #[serde(default)]
    pub reachable: bool,
    /// Whether it is drained once no runner is left on it.
    #[serde(default)]
    pub drain_requested: bool,
    #[serde(default)]
    pub runners: u32,
}

/// A pull in progress.
#[derive(Debug, Deserialize, Serialize)]
pub struct PullEntry<'a> {
    pub image: Text<'a>,
    pub since: Timestamp,
    #[serde(default)]
    pub layers_done: u32,
    /// As many as the registry has announced so far.
    #[serde(default)]
    pub layers: u32,
    /// Downloaded, compressed.
    #[serde(default)]
    pub bytes: u64,
    /// Of the layers whose size is known.
    #[serde(default)]
    pub bytes_known: u64,
}

/// A queued job.
#[derive(Debug, Deserialize, Serialize)]
pub struct JobEntry<'a> {
    #[serde(default)]
    pub id: u64,
    pub name: Text<'a>,
    pub repository: Text<'a>,
    #[serde(default)]
    pub run_id: u64,
    #[serde(default)]
    pub url: Text<'a>,
    pub queued_at: Timestamp,
    #[serde(default)]
    pub labels: Vec<Text<'a>>,
    pub pool: Option<Text<'a>>,
    /// An [`Unmatched`](crate::fleet::Unmatched).
    pub unmatched: Option<Text<'a>>,
    #[serde(default)]
    pub seen_at: Timestamp,
}

/// A runner that failed.
#[derive(Debug, Deserialize, Serialize)]
pub struct FailureEntry<'a> {
    pub at: Timestamp,
    #[serde(default)]
    pub pool: Text<'a>,
    pub runner: Text<'a>,
    /// A [`Step`](crate::fleet::Step).
    pub step: Text<'a>,
    pub reason: Text<'a>,
    pub exit_code: Option<i64>,
    pub job: Option<Text<'a>>,
    pub detail: Text<'a>,
}

impl<'a> StatusDocument<'a> {
    /// `rate` returns the rate limit of a scope's credential.
    pub(super) fn of(about: &'a About, status: &'a Status, rate: impl Fn(&Scope) -> Option<Rate>) -> Self {
        let clock = status.planned.unwrap_or_default();
        let mut jobs: Vec<&JobReport> = status.jobs.iter().collect();
        jobs.sort_by_key(|job| job.facts.queued_at);
        jobs.truncate(JOBS_SHOWN);
        Self {
            instance: text(&about.instance),
            version: text(about.version),
            started_at: about.started_at,
            planned_at: status.planned.map(|planned| planned.shown),
            draining: status.draining,
            pools: status.pools.iter().map(PoolEntry::of).collect(),
            runners: status.runners.iter().map(RunnerEntry::of).collect(),
            scopes: status
                .scopes
                .iter()
                .map(|scope| ScopeEntry::of(scope, rate(&scope.url).as_ref(), clock))
                .collect(),
            hosts: status.hosts.iter().map(|host| HostEntry::of(host, about)).collect(),
            jobs: jobs.into_iter().map(JobEntry::of).collect(),
            failures: status.failures.iter().map(|failure| FailureEntry::of(failure)).collect(),
        }
    }
}

impl<'a> PoolEntry<'a> {
    fn of(pool: &'a PoolReport) -> Self {
        let source_troubles = pool.source_troubles.iter().map(|source| SourceTroubleEntry {
            source: text(source.source.as_str()),
            trouble: TroubleEntry::of(&source.trouble),
        });
        Self {
            name: text(pool.name.as_str()),
            url: text(pool.url.as_str()),
            hosts: pool.hosts.iter().map(|host| text(host.as_str())).collect(),
            placement: text(pool.placement.as_str()),
            desired: pool.desired,
            min_idle: pool.min_idle,
            max: pool.max,
            queued: pool.queued,
            oldest_queued_at: pool.oldest_queued_at,
            phases: pool.phases,
            oldest_starting_at: pool.oldest_starting_at,
            held: pool.held.map(|held| text(held.as_str())),
            held_since: pool.held_since,
            held_detail: pool.held_detail.as_deref().map(text),
            sources_down: pool.sources_down.iter().map(|source| text(source.as_str())).collect(),
            source_troubles: source_troubles.collect(),
        }
    }
}

impl<'a> TroubleEntry<'a> {
    fn of(trouble: &'a TroubleReport) -> Self {
        Self { reason: text(trouble.reason.as_str()), since: trouble.since, detail: text(&trouble.detail) }
    }
}

impl<'a> RunnerEntry<'a> {
    fn of(runner: &'a RunnerReport) -> Self {
        Self {
            name: text(runner.name.as_str()),
            pool: text(&runner.pool),
            phase: text(runner.phase.as_str()),
            registration_id: runner.registration_id.map(|id| id.0),
            container_id: runner.container_id.as_ref().map(|id| text(&id.0)),
            host: runner.host.as_ref().map(|host| text(host.as_str())),
            node: runner.node.as_deref().map(text),
            since: runner.since,
            removal_reason: runner.removal_reason.map(|why| text(why.as_str())),
            ending: runner.ending.map(|ending| EndingEntry {
                reason: text(ending.reason.as_str()),
                at: ending.at,
                exit_code: ending.exit_code,
            }),
            job: runner.job.as_deref().map(text),
            job_details: runner.facts.as_deref().map(JobDetails::of),
            destinations: runner.destinations.iter().map(DestinationEntry::of).collect(),
            more_destinations: runner.destinations.more(),
        }
    }
}

impl<'a> DestinationEntry<'a> {
    fn of((destination, requests): (&'a Destination, u64)) -> Self {
        Self {
            host: text(&destination.host),
            port: destination.port,
            verdict: text(destination.verdict.as_str()),
            requests,
        }
    }
}

impl<'a> JobDetails<'a> {
    fn of(facts: &'a JobFacts) -> Self {
        Self {
            name: text(&facts.name),
            repository: text(facts.repository.as_str()),
            run_id: facts.run_id,
            url: text(&facts.url),
            queued_at: facts.queued_at,
        }
    }
}

impl<'a> ScopeEntry<'a> {
    fn of(scope: &'a ScopeReport, rate: Option<&Rate>, clock: ClockReading) -> Self {
        let rate_limit = |rate: &Rate| RateLimit {
            limit: rate.limit,
            remaining: rate.remaining,
            reset_at: clock.timestamp(rate.reset_at),
        };
        Self {
            url: text(scope.url.as_str()),
            up: scope.up,
            last_listed_at: scope.last_listed_at,
            trouble: scope.trouble.as_ref().map(TroubleEntry::of),
            rate_limit: rate.map(rate_limit),
        }
    }
}

impl<'a> HostEntry<'a> {
    fn of(host: &'a HostReport, about: &'a About) -> Self {
        let engine = about.engines.get(&host.name);
        Self {
            name: text(host.name.as_str()),
            engine: engine.map(|engine| text(engine.kind)),
            endpoint: engine.map(|engine| text(&engine.endpoint)),
            endpoint_source: engine.map(|engine| text(&engine.endpoint_source)),
            up: host.up,
            last_listed_at: host.last_listed_at,
            trouble: host.trouble.as_ref().map(TroubleEntry::of),
            runners: host.runners,
            memory_committed: host.committed.memory,
            cpu_millis_committed: host.committed.cpu_millis,
            nodes: host.nodes.iter().map(NodeEntry::of).collect(),
            pulls: host.pulls.iter().map(PullEntry::of).collect(),
            blocked: host.blocked.map(|held| text(held.as_str())),
        }
    }
}

impl<'a> NodeEntry<'a> {
    fn of(node: &'a NodeReport) -> Self {
        Self {
            name: text(&node.name),
            availability: text(node.availability.as_str()),
            reachable: node.reachable,
            drain_requested: node.drain_requested,
            runners: node.runners,
        }
    }
}

impl<'a> PullEntry<'a> {
    fn of(pull: &'a PullReport) -> Self {
        let PullProgress { layers_done, layers, bytes, bytes_known, .. } = pull.progress;
        Self { image: text(&pull.image), since: pull.since, layers_done, layers, bytes, bytes_known }
    }
}

impl<'a> JobEntry<'a> {
    fn of(job: &'a JobReport) -> Self {
        let JobDetails { name, repository, run_id, url, queued_at } = JobDetails::of(&job.facts);
        Self {
            id: job.id.0,
            name,
            repository,
            run_id,
            url,
            queued_at,
            labels: job.labels.iter().map(|label| text(label)).collect(),
            pool: job.pool.as_ref().map(|pool| text(pool.as_str())),
            unmatched: job.unmatched.map(|reason| text(reason.as_str())),
            seen_at: job.seen_at,
        }
    }
}

impl<'a> FailureEntry<'a> {
    fn of(failure: &'a FailureReport) -> Self {
        Self {
            at: failure.at,
            pool: text(&failure.pool),
            runner: text(failure.runner.as_str()),
            step: text(failure.step.as_str()),
            reason: text(failure.reason),
            exit_code: failure.exit_code,
            job: failure.job.as_deref().map(text),
            detail: text(&failure.detail),
        }
    }
}

fn text(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}
