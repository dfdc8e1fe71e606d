//! The job sources of a pool, and what they require.

use std::collections::BTreeSet;

use super::{file, findings::At, wording::quoted};
use crate::fleet::{Demand, Policy, Scope, Target};

/// Reads the job sources, and checks that the pool can get jobs from them.
pub(super) fn demand(file: &file::File, written: &file::Pool, policy: &Policy, at: &At<'_>) -> Demand {
    use file::Demand::{Idle, Queue, ScaleSet, Webhook};
    let at_demand = at.key("demand");
    let sources = written.demand.as_deref().unwrap_or(&[Idle]);
    let has = |source| sources.contains(&source);
    if sources.is_empty() {
        at_demand.error("must not be empty", "write [\"idle\"]");
    } else if has(ScaleSet) && sources.iter().any(|&source| source != ScaleSet) {
        at_demand.error(
            "has \"scale-set\" together with others: GitHub itself assigns jobs to a scale set, and no \
             other source is used",
            "write [\"scale-set\"] alone, or remove it",
        );
    }
    if has(ScaleSet) {
        return Demand::ScaleSet;
    }
    let demand = Demand::Jobs { queue: has(Queue), webhook: has(Webhook) };
    let at_secret = at.root("http").key("webhook_secret_file");
    if has(Webhook) && file.http.webhook_secret_file.is_none() && !at_secret.is_broken() {
        at_demand.error(
            "has \"webhook\", but without webhook_secret_file in [http] no webhook is accepted",
            "write webhook_secret_file = \"…\" in [http]",
        );
    }
    if !at_demand.is_broken() && !sources.is_empty() {
        enough_idle(written, policy, demand, at);
    }
    demand
}

/// Whether jobs can ask for the pool by its name.
pub(super) fn is_found_by_name(written: &file::Pool) -> bool {
    written.demand.as_ref().is_some_and(|sources| sources.contains(&file::Demand::ScaleSet))
}

/// A pool that sees jobs only through its runners must keep one idle; one that relies on webhooks alone may
/// miss some.
fn enough_idle(written: &file::Pool, policy: &Policy, demand: Demand, at: &At<'_>) {
    let none_idle = || {
        let windows = policy.schedule.0.iter().enumerate();
        let windows = windows.filter(|(_, window)| window.min_idle == 0);
        let windows = windows.map(|(i, _)| at.key("schedule").key(i).key("min_idle"));
        let at_base = (policy.min_idle == 0 && !at.key("min_idle").is_broken()).then(|| at.key("min_idle"));
        at_base.into_iter().chain(windows)
    };
    match demand {
        Demand::IDLE => {
            for at in none_idle() {
                at.error(
                    "must be at least 1: with demand = [\"idle\"] nothing else would ever launch a runner",
                    "raise it, or let the pool poll for queued jobs with demand = [\"queue\"]",
                );
            }
        }
        Demand::Jobs { queue: false, webhook: true } if none_idle().next().is_some() => {
            let at = if written.demand.is_some() { at.key("demand") } else { at.clone() };
            at.warn(
                "is webhooks alone, with no runner kept idle: a job whose webhook is lost waits until the \
                 webhook's delivery log is read",
                "keep min_idle at 1 or more, or add \"queue\", which polls for queued jobs",
            );
        }
        _ => {}
    }
}

/// The repositories whose queues are polled.
pub(super) fn repositories(
    written: &file::Pool,
    scope: Option<&Scope>,
    demand: Demand,
    at: &At<'_>,
) -> Vec<Scope> {
    let at = at.key("repositories");
    let names = &written.repositories;
    let queue = demand.polls_queues();
    let Some(scope) = scope else { return Vec::new() };
    let is_enterprise = matches!(scope.target(), Target::Enterprise { .. });
    if names.is_empty() {
        if queue && is_enterprise && !at.is_broken() {
            at.error(
                "is missing: the token that manages an enterprise's runners cannot list its repositories",
                "write repositories = [\"ORGANIZATION/REPOSITORY\", …], or use demand = [\"webhook\"] or \
                 [\"scale-set\"]",
            );
        }
        return Vec::new();
    }
    if matches!(scope.target(), Target::Repository { .. }) {
        at.error("is for organizations and enterprises: this pool has a single repository", "leave it out");
        return Vec::new();
    }
    if !queue {
        at.error(
            "has no effect: without \"queue\" in demand no queues are polled",
            "add \"queue\" to demand, or remove it",
        );
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let found = names.iter().enumerate().filter_map(|(i, name)| {
        let repository = repository(name, scope, &at.key(i))?;
        let fresh = seen.insert(repository.clone());
        at.key(i)
            .require(fresh, format_args!("{} is listed twice", quoted(name)), "remove one")
            .then_some(repository)
    });
    found.collect()
}

fn repository(name: &str, scope: &Scope, at: &At<'_>) -> Option<Scope> {
    let repository = match (scope.target(), name.contains('/')) {
        (Target::Organization { organization }, false) => scope.repository(&format!("{organization}/{name}")),
        (_, true) => scope.repository(name),
        _ => None,
    };
    let Some(repository) = repository else {
        let form = if matches!(scope.target(), Target::Enterprise { .. }) {
            "write ORGANIZATION/REPOSITORY"
        } else {
            "write its name, or OWNER/REPOSITORY"
        };
        at.error(format_args!("{} is not the name of a repository", quoted(name)), form);
        return None;
    };
    let foreign = match (scope.target(), repository.target()) {
        (Target::Organization { organization }, Target::Repository { owner, .. }) => organization != owner,
        _ => false,
    };
    at.require(
        !foreign,
        format_args!("{} does not belong to {scope}, so its jobs could not run here", quoted(name)),
        "remove it, or register at the enterprise",
    )
    .then_some(repository)
}

/// Warns of keys that have no effect with this kind of demand.
pub(super) fn without_effect(written: &file::Pool, demand: Demand, at: &At<'_>) {
    if demand == Demand::ScaleSet && written.match_unlabelled {
        at.key("match_unlabelled").warn(
            "has no effect with demand = [\"scale-set\"]: GitHub decides which jobs a scale set gets",
            "leave it out",
        );
    }
}
