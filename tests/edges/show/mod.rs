//! What Dayfly exposes: the status document, health, metrics and logs, from the reports of passes and over a
//! real socket. The reference pages must say the same.

mod logs;
mod metrics;
mod reference;
mod web;

use std::{sync::Arc, time::Duration};

use dayfly::fleet::{
    Availability, Census, ContainerId, Destination, Destinations, EgressVerdict, Event, Exit, ExitReason,
    Held, HostReport, JobFacts, JobId, JobReport, Names, NodeReport, Phase, PoolReport, PullProgress,
    PullReport, RegistrationId, Resources, RunnerName, RunnerReport, Scope, ScopeReport, Status, Timestamp,
    Unmatched,
};

const NOON: Timestamp = Timestamp::from_millis(1_795_348_800_000);

fn scope() -> Scope {
    "https://github.com/acme".parse().unwrap()
}

fn runner(pool: &str, seed: u64) -> RunnerName {
    Names::new("ci1".parse().unwrap(), seed).next(&pool.parse().unwrap(), NOON)
}

fn pool(name: &str) -> PoolReport {
    PoolReport {
        name: name.parse().unwrap(),
        url: scope(),
        hosts: vec!["local".parse().unwrap()],
        placement: dayfly::fleet::Placement::default(),
        desired: 3,
        min_idle: 1,
        max: 10,
        queued: 0,
        oldest_queued_at: None,
        phases: Census::default(),
        oldest_starting_at: None,
        held: None,
        held_since: None,
        held_detail: None,
        sources_down: Vec::new(),
        source_troubles: Vec::new(),
    }
}

fn facts(name: &str) -> Arc<JobFacts> {
    Arc::new(JobFacts {
        name: name.to_owned(),
        repository: "https://github.com/acme/widgets".parse().unwrap(),
        run_id: 11,
        url: "https://github.com/acme/widgets/actions/runs/11/job/7".to_owned(),
        queued_at: NOON,
    })
}

fn refused() -> Destination {
    Destination { host: "evil.example".into(), port: 443, verdict: EgressVerdict::Refused }
}

/// One that was refused twice.
fn destinations() -> Destinations {
    let mut destinations = Destinations::default();
    destinations.record(&refused(), 2);
    destinations
}

/// One pool with an idle and a busy runner, on one host, all seen.
fn fleet() -> Status {
    let mut linux = pool("linux");
    linux.phases.add(Phase::Idle);
    linux.phases.add(Phase::Busy);
    Status {
        planned: None,
        draining: false,
        pools: vec![linux],
        runners: vec![RunnerReport {
            name: runner("linux", 1),
            pool: "linux".to_owned(),
            phase: Phase::Busy,
            registration_id: Some(RegistrationId(23)),
            container_id: Some(ContainerId("c0ffee0123456789".into())),
            host: Some("local".parse().unwrap()),
            node: Some("ci1".to_owned()),
            since: NOON,
            removal_reason: None,
            ending: None,
            job: Some("build".to_owned()),
            facts: Some(facts("build")),
            destinations: Arc::new(destinations()),
        }],
        scopes: vec![ScopeReport { url: scope(), up: true, last_listed_at: Some(NOON), trouble: None }],
        hosts: vec![HostReport {
            name: "local".parse().unwrap(),
            up: true,
            last_listed_at: Some(NOON),
            trouble: None,
            runners: 2,
            committed: Resources { memory: 16 << 30, cpu_millis: 8000 },
            nodes: vec![NodeReport {
                name: "ci1".to_owned(),
                availability: Availability::Paused,
                reachable: true,
                drain_requested: true,
                runners: 2,
            }],
            pulls: vec![PullReport {
                image: "ghcr.io/acme/ci:1".to_owned(),
                since: NOON,
                progress: PullProgress {
                    layers_done: 3,
                    layers: 7,
                    bytes: 30 << 20,
                    bytes_known: 100 << 20,
                    ..PullProgress::default()
                },
            }],
            blocked: Some(Held::HostMemory),
        }],
        jobs: vec![JobReport {
            id: JobId(7),
            facts: facts("deploy"),
            labels: vec!["gpu".to_owned()],
            pool: None,
            unmatched: Some(Unmatched::Labels),
            seen_at: NOON,
        }],
        failures: Vec::new(),
    }
}

fn exited(pool: &str, runner: RunnerName, reason: ExitReason, job: &str, result: &str) -> Event {
    Event::Exited {
        pool: pool.to_owned(),
        runner,
        reason,
        exit: Some(Exit {
            at: NOON,
            ran: None,
            code: 0,
            out_of_memory: false,
            job: Some(job.to_owned()),
            result: None,
            version_deprecated: false,
            log_tail: "output of a job".into(),
        }),
        job: Some(job.to_owned()),
        facts: None,
        job_duration: Some(Duration::from_secs(90)),
        result: Some(result.to_owned()),
    }
}
