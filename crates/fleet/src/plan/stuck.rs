//! A job that is waiting although a runner of its pool is idle: Dayfly cannot fix that, so it reports it with
//! what is known of the usual causes.

use std::{collections::BTreeMap, time::Duration};

use super::{Fleet, Pass};
use crate::{
    event::Event,
    job::{GroupPolicy, JobId, Visibility},
    name::PoolName,
    reasons::Phase,
    report::JobReport,
    time::Instant,
};

/// How long both must last before it is reported.
const STUCK: Duration = Duration::from_mins(10);

impl Fleet {
    /// Reports each queued job, once, that has waited this long while its pool had an idle runner.
    pub(super) fn tell_stuck(&mut self, pass: &mut Pass) {
        if self.pools.values().all(|state| state.demand.queued().next().is_none()) {
            return;
        }
        // Since when each pool has had an idle runner.
        let mut idle: BTreeMap<&str, Instant> = BTreeMap::new();
        for runner in self.runners.values().filter(|runner| runner.phase == Phase::Idle) {
            let since = idle.entry(runner.name.pool()).or_insert(runner.phase_since);
            *since = runner.phase_since.min(*since);
        }
        let mut stuck: Vec<(PoolName, JobId)> = Vec::new();
        for (name, state) in &self.pools {
            let Some(&idle_since) = idle.get(name.as_str()) else { continue };
            for (job, waiting) in state.demand.queued() {
                let both_since: Instant = idle_since.max(waiting.queued_at);
                if !state.demand.is_reported_stuck(job) && pass.due(both_since + STUCK) {
                    stuck.push((name.clone(), job));
                }
            }
        }
        if stuck.is_empty() {
            return;
        }
        let reports = self.job_reports();
        for (pool, id) in stuck {
            let reported = reports.iter().find(|job| job.id == id && job.pool.as_ref() == Some(&pool));
            let Some(state) = self.pools.get_mut(&pool) else { continue };
            state.demand.stuck_reported(id);
            if let Some(job) = reported {
                let state = &self.pools[&pool];
                let detail = causes(job, &state.pool, self.group_of(&state.pool));
                self.events.push(Event::JobStuck { pool, facts: job.facts.clone(), detail });
            }
        }
    }
}

/// The usual causes, with what is known of each.
fn causes(job: &JobReport, pool: &crate::Pool, group: Option<&GroupPolicy>) -> String {
    let group = match group {
        None => format!("the runner group {:?} (not known)", pool.group),
        Some(group) => {
            let visible = match &group.visibility {
                Visibility::All => "all repositories".to_owned(),
                Visibility::Private => "private repositories only".to_owned(),
                Visibility::Selected(repositories) => format!("{} selected repositories", repositories.len()),
            };
            let public = if group.allows_public { "allowed" } else { "not allowed" };
            let workflows = if group.workflows.is_some() { "restricted" } else { "any" };
            format!(
                "the runner group {:?} (it allows {visible}; public repositories: {public}; workflows: \
                 {workflows})",
                group.name
            )
        }
    };
    format!(
        "it asks for {}, the runners have {}. The usual causes are {group}; labels that differ; a runner \
         that lost its connection without noticing; and an incident at GitHub (githubstatus.com)",
        if job.labels.is_empty() { "no label".to_owned() } else { job.labels.join(", ") },
        pool.labels.join(", "),
    )
}
