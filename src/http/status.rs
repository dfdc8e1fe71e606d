//! The status document: the report of the last pass as JSON. Scripts rely on its field names.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{
    fleet::{
        ClockReading, FailureReport, Held, HostName, HostReport, JobReport, PoolReport, RunnerReport, Scope,
        ScopeReport, Status, Timestamp, TroubleReport,
    },
    github::Rate,
};

/// At most this many queued jobs are listed.
const JOBS_SHOWN: usize = 500;

/// Everything that the web server shows, as of the last pass.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub instance: Arc<str>,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// The wall clock at the last pass, the reference for ages; `None` before the first pass.
    pub planned: Option<ClockReading>,
    /// What the last pass reported.
    pub status: Status,
    /// The kind of engine of each host.
    pub engines: BTreeMap<HostName, &'static str>,
    /// The `core` rate limit of each scope's credential, as GitHub last reported it.
    pub rates: BTreeMap<Scope, Rate>,
}

#[derive(Serialize)]
pub(super) struct StatusDocument<'a> {
    instance: &'a str,
    version: &'a str,
    started_at: Timestamp,
    planned_at: Option<Timestamp>,
    draining: bool,
    pools: &'a [PoolReport],
    runners: &'a [RunnerReport],
    scopes: Vec<ScopeEntry<'a>>,
    hosts: Vec<HostEntry<'a>>,
    /// Queued, oldest first.
    jobs: Vec<&'a JobReport>,
    /// The most recent runner failures, newest first.
    failures: &'a [Arc<FailureReport>],
}

#[derive(Serialize)]
struct ScopeEntry<'a> {
    url: &'a Scope,
    up: bool,
    last_listed_at: Option<Timestamp>,
    trouble: Option<&'a TroubleReport>,
    rate_limit: Option<RateLimit>,
}

#[derive(Serialize)]
struct RateLimit {
    limit: u64,
    remaining: u64,
    reset_at: Timestamp,
}

#[derive(Serialize)]
struct HostEntry<'a> {
    name: &'a HostName,
    engine: Option<&'static str>,
    up: bool,
    last_listed_at: Option<Timestamp>,
    trouble: Option<&'a TroubleReport>,
    runners: u32,
    /// In bytes.
    memory_committed: u64,
    /// In thousandths of a processor.
    cpu_millis_committed: u64,
    blocked: Option<Held>,
}

impl<'a> StatusDocument<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let status = &snapshot.status;
        let scope = |scope: &'a ScopeReport| ScopeEntry {
            url: &scope.url,
            up: scope.up,
            last_listed_at: scope.last_listed_at,
            trouble: scope.trouble.as_ref(),
            rate_limit: snapshot.rates.get(&scope.url).map(|rate| RateLimit {
                limit: rate.limit,
                remaining: rate.remaining,
                reset_at: snapshot.planned.unwrap_or_default().timestamp(rate.reset_at),
            }),
        };
        let host = |host: &'a HostReport| HostEntry {
            name: &host.name,
            engine: snapshot.engines.get(&host.name).copied(),
            up: host.up,
            last_listed_at: host.last_listed_at,
            trouble: host.trouble.as_ref(),
            runners: host.runners,
            memory_committed: host.committed.memory,
            cpu_millis_committed: host.committed.cpu_millis,
            blocked: host.blocked,
        };
        let mut jobs: Vec<&JobReport> = status.jobs.iter().collect();
        jobs.sort_by_key(|job| job.facts.queued_at);
        jobs.truncate(JOBS_SHOWN);
        Self {
            instance: &snapshot.instance,
            version: snapshot.version,
            started_at: snapshot.started_at,
            planned_at: snapshot.planned.map(|planned| planned.shown),
            draining: status.draining,
            pools: &status.pools,
            runners: &status.runners,
            scopes: status.scopes.iter().map(scope).collect(),
            hosts: status.hosts.iter().map(host).collect(),
            jobs,
            failures: &status.failures,
        }
    }
}
