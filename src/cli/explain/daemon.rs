//! The state of the pools in the running daemon, as the core's types.

use std::sync::Arc;

use anyhow::bail;
use http::StatusCode;

use crate::{
    cli::status::daemon,
    config::Config,
    fleet::{Held, JobFacts, JobId, JobReport, PoolReport, Status},
    http::status_document::StatusDocument,
};

/// Fetches the status of the daemon of this configuration.
pub(super) async fn status(config: &Config) -> anyhow::Result<Status> {
    if config.listen.port() == 0 {
        bail!("http.listen has port 0, which means a different port at every start");
    }
    let address = daemon::reachable(config.listen);
    let (code, body) = daemon::get(address, "/api/v1/status").await?;
    let document = match serde_json::from_slice::<StatusDocument<'_>>(&body) {
        Ok(document) if code == StatusCode::OK => document,
        _ => bail!("the program that listens on {address} is not a dayfly daemon, or one of another version"),
    };
    if document.instance != config.instance.as_str() {
        bail!("the daemon at {address} belongs to another instance");
    }
    // Nothing is known of pools that were added or removed since the daemon started.
    let reports = document.pools.iter().filter_map(|shown| {
        let pool = &config.pools.iter().find(|pool| pool.pool.name.as_str() == shown.name)?.pool;
        Some(PoolReport {
            name: pool.name.clone(),
            url: pool.scope.clone(),
            hosts: shown.hosts.iter().filter_map(|host| host.parse().ok()).collect(),
            placement: pool.placement,
            desired: shown.desired,
            min_idle: shown.min_idle,
            max: shown.max,
            queued: shown.queued,
            oldest_queued_at: None,
            phases: shown.phases,
            oldest_starting_at: None,
            held: Held::ALL.iter().copied().find(|held| Some(held.as_str()) == shown.held.as_deref()),
            held_since: None,
            held_detail: shown.held_detail.as_ref().map(ToString::to_string),
            sources_down: Vec::new(),
            source_troubles: Vec::new(),
        })
    });
    let jobs = document.jobs.iter().filter_map(|shown| {
        let facts = JobFacts {
            name: shown.name.to_string(),
            repository: shown.repository.parse().ok()?,
            run_id: shown.run_id,
            url: shown.url.to_string(),
            queued_at: shown.queued_at,
        };
        Some(JobReport {
            id: JobId(shown.id),
            facts: Arc::new(facts),
            labels: shown.labels.iter().map(ToString::to_string).collect(),
            pool: shown.pool.as_deref().and_then(|pool| pool.parse().ok()),
            unmatched: None,
            seen_at: shown.seen_at,
        })
    });
    let (pools, jobs) = (reports.collect(), jobs.collect());
    Ok(Status { draining: document.draining, pools, jobs, ..Status::default() })
}
