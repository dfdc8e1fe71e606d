//! Explains why a job is or is not running, in sentences.

use super::{
    job::{Demand, GroupPolicy, Job, JobState},
    matching::{Matched, Verdict, match_pool, verdict},
    pool::Pool,
    reasons::{Phase, Unmatched},
    report::{PoolReport, Status},
};

/// Explains a job: which of these pools serves it or why none does, and, given the daemon's status, why that
/// pool's launches are paused. One or two sentences each.
pub fn explain<'p>(
    job: &Job,
    state: &JobState,
    pools: impl Iterator<Item = (&'p Pool, Option<&'p GroupPolicy>)> + Clone,
    status: Option<&Status>,
) -> Vec<String> {
    let facts = &job.facts;
    let repository = facts.repository.path();
    let mut reported = vec![match state {
        JobState::Queued => format!(
            "Job {:?} of {repository} has been queued since {} and asks for {}.",
            facts.name,
            facts.queued_at,
            labels(&job.labels)
        ),
        JobState::Waiting => format!(
            "Job {:?} of {repository} is waiting for an approval or a concurrency limit, and needs no \
             runner yet.",
            facts.name
        ),
        JobState::InProgress { runner: Some(runner) } => {
            format!("Job {:?} of {repository} is running on {runner}.", facts.name)
        }
        JobState::InProgress { runner: None } => {
            format!("Job {:?} of {repository} is running.", facts.name)
        }
        JobState::Completed => format!("Job {:?} of {repository} has finished.", facts.name),
    }];
    if matches!(state, JobState::InProgress { .. } | JobState::Completed) {
        return reported;
    }
    match match_pool(job, pools.clone()) {
        Matched::Pool(name) => {
            let others: Vec<&str> = pools
                .clone()
                .filter(|(pool, group)| pool.name != name && verdict(job, pool, *group) == Verdict::Serves)
                .map(|(pool, _)| pool.name.as_str())
                .collect();
            reported.push(match others[..] {
                [] => format!("Pool {} serves it.", name.as_str()),
                _ => format!(
                    "Pool {} serves it; {} could too, but pools with fewer labels, then a higher priority, \
                     then the first name have precedence.",
                    name.as_str(),
                    others.join(", ")
                ),
            });
            if let Some((pool, _)) = pools.clone().find(|(pool, _)| pool.name == name) {
                reported.extend(by_source(pool));
            }
            let moved = status.and_then(|status| status.jobs.iter().find(|other| other.id == job.id));
            let current = moved.and_then(|moved| moved.pool.as_ref()).unwrap_or(&name);
            if *current != name {
                reported.push(format!(
                    "Pool {name} could not start it, so pool {current} with the same labels does."
                ));
            }
            let report = status.and_then(|status| status.pools.iter().find(|pool| pool.name == *current));
            reported.extend(report.map(at_work));
        }
        Matched::Unmatched(_) | Matched::Foreign => {
            reported.push("No pool serves it.".to_owned());
            let seen: Vec<_> = pools.map(|(pool, group)| (pool, group, verdict(job, pool, group))).collect();
            if seen.iter().all(|(.., verdict)| *verdict == Verdict::OtherScope) {
                reported.push(format!("No pool's url covers {}.", facts.repository));
            }
            reported
                .extend(seen.iter().filter_map(|(pool, group, verdict)| refusal(job, pool, *group, verdict)));
        }
    }
    reported
}

/// The usual fix for a label that no pool serves.
pub fn label_advice(missing: &[String]) -> String {
    format!("add {} to the pool's labels, or change runs-on", labels(missing))
}

fn labels(labels: &[String]) -> String {
    if labels.is_empty() { "no label".to_owned() } else { labels.join(", ") }
}

fn refusal(job: &Job, pool: &Pool, group: Option<&GroupPolicy>, verdict: &Verdict) -> Option<String> {
    let Verdict::Refuses { reason, missing } = verdict else { return None };
    let (name, repository) = (pool.name.as_str(), job.facts.repository.path());
    let group = group.map_or(pool.group.as_str(), |group| &group.name);
    Some(match reason {
        Unmatched::Unlabelled => format!(
            "Pool {name} takes no jobs without labels: GitHub does not report the runner group that such a \
             job names; set match_unlabelled = true to take them."
        ),
        Unmatched::Labels => format!("Pool {name} lacks {}; {}.", labels(missing), label_advice(missing)),
        Unmatched::Group => format!(
            "Pool {name}'s runner group {group:?} does not allow {repository}; change its repository access \
             in the organization's settings, Actions, Runner groups."
        ),
        Unmatched::PublicRepository if pool.scope == job.facts.repository => format!(
            "{repository} is public, so forks could run code on pool {name}; set allow_public = true to \
             allow it."
        ),
        Unmatched::PublicRepository => format!(
            "{repository} is public, and pool {name}'s runner group {group:?} does not allow public \
             repositories."
        ),
        Unmatched::Workflow => {
            format!("Pool {name}'s runner group {group:?} allows other workflows only.")
        }
    })
}

/// What the pool's job source means for this job.
fn by_source(pool: &Pool) -> Option<String> {
    (pool.demand == Demand::IDLE).then(|| {
        "The pool's job source is idle (demand = [\"idle\"]): it does not look up queued jobs, but keeps \
         runners idle for them."
            .to_owned()
    })
}

/// What a pool is doing about its jobs.
fn at_work(pool: &PoolReport) -> String {
    let [idle, starting, busy] =
        [Phase::Idle, Phase::Starting, Phase::Busy].map(|phase| pool.phases.of(phase));
    let has =
        format!("It has {idle} idle, {starting} starting and {busy} busy runners of at most {}", pool.max);
    match (pool.held, &pool.held_detail) {
        // The reasons of all its hosts, or when it ends.
        (Some(held), Some(detail)) if pool.hosts.len() > 1 => {
            format!("{has}, and its launches are paused: {} ({detail}).", held.in_words())
        }
        (Some(held), _) => format!("{has}, and its launches are paused: {}.", held.in_words()),
        (None, _) if idle > 0 => format!(
            "{has}. If GitHub does not assign the job to an idle runner, the usual causes are: the runner \
             group does not allow the repository or its visibility, the labels differ, the runner lost its \
             connection, or GitHub has an incident (githubstatus.com)."
        ),
        (None, _) => format!("{has}."),
    }
}
