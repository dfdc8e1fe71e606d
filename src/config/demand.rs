//! Where a pool learns of waiting jobs, and what must be there for that.

use std::collections::BTreeSet;

use super::{file, findings::At, wording::quoted};
use crate::fleet::{Demand, Policy, Scope, Target};

/// Reads the sources, and whether the pool can learn of any job by them.
pub(super) fn demand(file: &file::File, written: &file::Pool, policy: &Policy, at: &At<'_>) -> Demand {
    use file::Demand::{Idle, Queue, ScaleSet, Webhook};
    let at_demand = at.key("demand");
    let sources = written.demand.as_deref().unwrap_or(&[Idle]);
    let has = |source| sources.contains(&source);
    if sources.is_empty() {
        at_demand.error("must not be empty", "write [\"idle\"]");
    } else if has(ScaleSet) && sources.iter().any(|&source| source != ScaleSet) {
        at_demand.error(
            "has \"scale-set\" beside others: to a scale set GitHub assigns its jobs itself, and nothing \
             else is asked",
            "write [\"scale-set\"] alone, or leave it out",
        );
    }
    if has(ScaleSet) {
        return Demand::ScaleSet;
    }
    let demand = Demand::Jobs { queue: has(Queue), webhook: has(Webhook) };
    let at_secret = at.root("http").key("webhook_secret_file");
    if has(Webhook) && file.http.webhook_secret_file.is_none() && !at_secret.is_broken() {
        at_demand.error(
            "has \"webhook\", and without webhook_secret_file in [http] there is no address for webhooks to come to",
            "write webhook_secret_file = \"…\" in [http]",
        );
    }
    if !at_demand.is_broken() && !sources.is_empty() {
        enough_idle(written, policy, demand, at);
    }
    demand
}

/// Whether a pool is to be a runner scale set.
pub(super) fn is_scale_set(written: &file::Pool) -> bool {
    written.demand.as_ref().is_some_and(|sources| sources.contains(&file::Demand::ScaleSet))
}

/// A pool whose runners are its only eyes must have one open; one that only listens for webhooks may
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
                    "must be at least 1: with demand = [\"idle\"] nothing else could ever start a runner",
                    "raise it, or let the pool look for waiting jobs with demand = [\"queue\"]",
                );
            }
        }
        Demand::Jobs { queue: false, webhook: true } if none_idle().next().is_some() => {
            let at = if written.demand.is_some() { at.key("demand") } else { at.clone() };
            at.warn(
                "is webhooks alone, with no runner kept idle: a job whose webhook gets lost waits until the \
                 hook's log of deliveries was looked through",
                "keep min_idle at 1 or more, or add \"queue\", which asks for waiting jobs",
            );
        }
        _ => {}
    }
}

/// The repositories whose queues are looked at.
pub(super) fn repositories(
    written: &file::Pool,
    scope: Option<&Scope>,
    demand: Demand,
    at: &At<'_>,
) -> Vec<Scope> {
    let at = at.key("repositories");
    let names = &written.repositories;
    let queue = matches!(demand, Demand::Jobs { queue: true, .. });
    let Some(scope) = scope else { return Vec::new() };
    let is_enterprise = matches!(scope.target(), Target::Enterprise { .. });
    if names.is_empty() {
        if queue && is_enterprise && !at.is_broken() {
            at.error(
                "is missing: which repositories an enterprise has cannot be asked for with what manages its runners",
                "write repositories = [\"ORGANIZATION/REPOSITORY\", …], or use demand = [\"webhook\"] or [\"scale-set\"]",
            );
        }
        return Vec::new();
    }
    if matches!(scope.target(), Target::Repository { .. }) {
        at.error("is for organizations and enterprises: this pool is that of one repository", "leave it out");
        return Vec::new();
    }
    if !queue {
        at.error(
            "says whose queues to look at, and without \"queue\" in demand none is looked at",
            "add \"queue\" to demand, or leave it out",
        );
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let found = names.iter().enumerate().filter_map(|(i, name)| {
        let repository = repository(name, scope, &at.key(i))?;
        let fresh = seen.insert(repository.clone());
        at.key(i)
            .require(fresh, format_args!("{} is there twice", quoted(name)), "remove one")
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
        at.error(format_args!("{} is no name of a repository", quoted(name)), form);
        return None;
    };
    let foreign = match (scope.target(), repository.target()) {
        (Target::Organization { organization }, Target::Repository { owner, .. }) => organization != owner,
        _ => false,
    };
    at.require(
        !foreign,
        format_args!("{} is not one of {scope}, so that its jobs could not come here", quoted(name)),
        "remove it, or register at the enterprise",
    )
    .then_some(repository)
}

/// Notes keys that mean nothing to this kind of demand.
pub(super) fn without_effect(written: &file::Pool, demand: Demand, at: &At<'_>) {
    if demand == Demand::ScaleSet && written.match_unlabelled {
        at.key("match_unlabelled").warn(
            "has no effect with demand = [\"scale-set\"]: which jobs come there, GitHub decides",
            "leave it out",
        );
    }
}
