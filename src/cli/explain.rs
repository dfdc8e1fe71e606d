//! `dayfly explain`: explains in sentences why a job is or is not running. Fetches the job and the runner
//! groups from GitHub, and the state of the pools from the daemon, if one is running.

mod address;
mod daemon;

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use serde_json::json;

use self::address::Address;
use super::{
    Explain, Global,
    run::{load_config, runtime, start_logs},
    terminal,
};
use crate::{
    config::{Config, PoolConfig},
    fleet::{self, GroupPolicy, Job, JobState, Matched, Pool, Scope, Target, group_of, match_pool},
    github::{Client, Credential, GithubError},
    text::chain,
};

/// The longest sentence; labels and names come from other people.
const LONGEST: usize = 2000;

pub(super) fn run(global: &Global, explain: &Explain) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let address = Address::parse(&explain.job)
        .with_context(|| format!("invalid job address {:?}", terminal::cell(&explain.job, 200)))?;
    let config = load_config(global)?;
    let found = runtime()?.block_on(find_job(&config, &address))?;
    let mut out = stdout().lock();
    if explain.json {
        writeln!(out, "{}", terminal::json(&format!("{:#}", found.document())))?;
    } else {
        for sentence in &found.sentences {
            writeln!(out, "{}", terminal::cell(sentence, LONGEST))?;
        }
    }
    Ok(if found.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The explanation of a job.
struct Found {
    job: Job,
    state: JobState,
    matched: Matched,
    sentences: Vec<String>,
}

impl Found {
    /// Whether it is running, has finished, or a pool serves it.
    fn is_well(&self) -> bool {
        let wants = matches!(self.state, JobState::Queued | JobState::Waiting);
        !wants || matches!(self.matched, Matched::Pool(_))
    }

    fn document(&self) -> serde_json::Value {
        let (state, runner) = match &self.state {
            JobState::Waiting => ("waiting", None),
            JobState::Queued => ("queued", None),
            JobState::InProgress { runner } => ("in_progress", runner.as_deref()),
            JobState::Completed => ("completed", None),
        };
        let (pool, unmatched) = match &self.matched {
            Matched::Pool(pool) => (Some(pool.as_str()), None),
            Matched::Unmatched(reason) => (None, Some(*reason)),
            Matched::Foreign => (None, None),
        };
        let Job { id, labels, public, facts, .. } = &self.job;
        json!({
            "job": {
                "id": id, "name": facts.name, "repository": facts.repository, "run_id": facts.run_id,
                "url": facts.url, "queued_at": facts.queued_at, "labels": labels, "public": public,
                "state": state, "runner": runner,
            },
            "pool": pool,
            "unmatched": unmatched,
            "well": self.is_well(),
            "sentences": self.sentences,
        })
    }
}

async fn find_job(config: &Config, address: &Address) -> anyhow::Result<Found> {
    let credentials: BTreeMap<&str, Credential> = config
        .credentials
        .iter()
        .map(|(name, source)| (name.as_str(), Credential::new(source.clone())))
        .collect();
    let client = |scope: Scope, name: &str| {
        let credential = credentials.get(name).with_context(|| format!("there is no credential {name:?}"))?;
        Ok::<_, anyhow::Error>(Client::new(scope, credential, Arc::new(|_| {}))?)
    };
    let repository = &address.repository;
    let nearest = nearest(config, repository).with_context(|| {
        format!(
            "no pool's url is on {}, and a credential is never sent to another GitHub than its own",
            repository.site()
        )
    })?;
    let asked =
        client(nearest.pool.scope.clone(), &nearest.credential)?.look_up(repository, address.job).await;
    let found = asked.map_err(|error| unseen(address, &nearest.credential, Some(&error)))?;
    let (mut job, state) = found.ok_or_else(|| unseen(address, &nearest.credential, None))?;
    job.enterprise = enterprise_of(config, repository);

    let mut notes = Vec::new();
    let mut groups: BTreeMap<&Scope, Vec<GroupPolicy>> = BTreeMap::new();
    for pool in &config.pools {
        let scope = &pool.pool.scope;
        if groups.contains_key(scope) || !may_cover(scope, repository) {
            continue;
        }
        let read = client(scope.clone(), &pool.credential)?.group_policies().await;
        groups.insert(
            scope,
            read.unwrap_or_else(|error| {
                notes.push(format!(
                    "The runner groups of {scope} could not be read, and are left out of this: {}.",
                    chain(&error)
                ));
                Vec::new()
            }),
        );
    }
    let pools = config.pools.iter().map(|pool| {
        let groups = groups.get(&pool.pool.scope).map_or(&[][..], Vec::as_slice);
        (&pool.pool, group_of(&pool.pool, groups))
    });
    let matched = match_pool(&job, pools.clone());
    let status = daemon::status(config).await;
    let mut sentences = fleet::explain(&job, &state, pools, status.as_ref().ok());
    if matches!(state, JobState::Queued | JobState::Waiting) {
        sentences.extend(about_enterprises(config, &job));
        sentences.extend(notes);
        if let (Err(why), Matched::Pool(_)) = (&status, &matched) {
            sentences.push(format!("What the daemon is doing about it is not known: {why:#}."));
        }
    }
    Ok(Found { job, state, matched, sentences })
}

/// The pool whose credential most likely sees a repository: one of the repository, of its organization, or
/// any on its GitHub.
fn nearest<'c>(config: &'c Config, repository: &Scope) -> Option<&'c PoolConfig> {
    let distance = |pool: &Pool| match pool.scope.target() {
        Target::Repository { .. } if pool.scope == *repository => 0,
        Target::Organization { .. } if may_cover(&pool.scope, repository) => 1,
        Target::Enterprise { .. } if pool.repositories.contains(repository) => 2,
        Target::Enterprise { .. } => 3,
        _ => 4,
    };
    let on_site = config.pools.iter().filter(|pool| pool.pool.scope.site() == repository.site());
    on_site.min_by_key(|pool| distance(&pool.pool))
}

/// Whether a scope covers a repository, judging by their addresses.
fn may_cover(scope: &Scope, repository: &Scope) -> bool {
    let Target::Repository { owner, .. } = repository.target() else { return false };
    scope.site() == repository.site()
        && match scope.target() {
            Target::Repository { .. } => scope == repository,
            Target::Organization { organization } => organization == owner,
            Target::Enterprise { .. } => true,
        }
}

/// The enterprise whose pool lists the repository; GitHub does not report which one an organization belongs
/// to.
fn enterprise_of(config: &Config, repository: &Scope) -> Option<Arc<str>> {
    config.pools.iter().find_map(|pool| match pool.pool.scope.target() {
        Target::Enterprise { enterprise } if pool.pool.repositories.contains(repository) => {
            Some(enterprise.clone())
        }
        _ => None,
    })
}

fn about_enterprises(config: &Config, job: &Job) -> Option<String> {
    let repository = &job.facts.repository;
    let pool = config.pools.iter().find(|pool| {
        matches!(pool.pool.scope.target(), Target::Enterprise { .. })
            && pool.pool.scope.site() == repository.site()
    })?;
    job.enterprise.is_none().then(|| {
        format!(
            "Whether {} belongs to {}, which pool {} serves, cannot be queried; webhooks and scale sets \
             show it.",
            repository.path(),
            pool.pool.scope,
            pool.pool.name
        )
    })
}

/// Why a job could not be read, with a hint.
fn unseen(address: &Address, credential: &str, error: Option<&GithubError>) -> anyhow::Error {
    match error {
        None => anyhow!(
            "{} has no job {}, or credential {credential:?} cannot see it: it needs \"Actions: read\" on the \
             repository (classic token: repo)",
            address.repository,
            address.job.0
        ),
        Some(GithubError::Refused(text)) => anyhow!(
            "the job cannot be read with credential {credential:?}, which needs \"Actions: read\" on {} \
             (classic \
             token: repo): {text}",
            address.repository
        ),
        Some(error) => anyhow!("the job cannot be read: {}", chain(error)),
    }
}
