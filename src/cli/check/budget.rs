//! Checks the rate limit: how many requests an hour this configuration makes at rest, what bounds the others,
//! and whether GitHub allows that many.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{report::Line, scope::Seen, wording::counted};
use crate::{
    config::Config,
    demand::{
        eligibility::{ADDRESSES_INTERVAL, GROUPS_INTERVAL},
        idle::list_interval,
        queue::{FIND_INTERVAL, REQUESTS_PER_MINUTE, Reach, requests_per_hour},
        times_an_hour,
        webhook::{HOOKS_INTERVAL, JOBS_A_ROUND, LOG_INTERVAL, ROUND_INTERVAL},
    },
    fleet::{Demand, Pool, Scope, Target},
    github::CredentialKind,
};

/// Runners in one page of a list.
const PAGE: usize = 100;

/// The requests that share one budget.
#[derive(Default)]
struct Asked<'a> {
    listings: u64,
    repositories: Vec<&'a Scope>,
    /// Pools without configured repositories.
    open: usize,
    /// Scopes whose recently pushed repositories are listed.
    finds: u64,
    hooks: usize,
    hook_lists: u64,
    groups: u64,
    addresses: u64,
    /// Scopes with jobs that are known from webhooks only.
    hooked: u64,
    rate: Option<&'a crate::github::Rate>,
}

/// A line for each budget, in the order of the credentials' names.
pub(super) fn lines(config: &Config, seen: &[Seen]) -> Vec<Line> {
    let mut budgets: BTreeMap<(&str, &str, &str), Asked> = BTreeMap::new();
    for seen in seen {
        let site = seen.scope.site();
        // A person's token has one budget on each GitHub, an App one for each account.
        let is_app = config
            .credentials
            .get(&seen.credential)
            .is_some_and(|source| matches!(source.kind, CredentialKind::App(_)));
        let account = if is_app { seen.scope.path().split('/').next().unwrap_or_default() } else { "" };
        let asked = budgets.entry((&seen.credential, site, account)).or_default();
        let pages = seen.runners.div_ceil(PAGE).max(1);
        asked.rate = asked.rate.or(seen.rate.as_ref());
        let own = || config.pools.iter().map(|pool| &pool.pool).filter(|pool| pool.scope == seen.scope);
        let interval = list_interval(own(), config.poll_interval);
        asked.listings += times_an_hour(interval).saturating_mul(u64::try_from(pages).unwrap_or(u64::MAX));
        let any = |wanted: fn(&Pool) -> bool| u64::from(own().any(wanted));
        let is_enterprise = matches!(seen.scope.target(), Target::Enterprise { .. });
        let takes = any(|pool| pool.demand.has_webhooks());
        asked.hooks += seen.hooks;
        asked.hook_lists += if is_enterprise { 0 } else { times_an_hour(HOOKS_INTERVAL) * takes };
        asked.hooked += any(|pool| pool.demand == Demand::Jobs { queue: false, webhook: true });
        asked.finds += any(is_open);
        let named: BTreeSet<&Scope> = own().flat_map(|pool| &pool.repositories).collect();
        asked.addresses +=
            times_an_hour(ADDRESSES_INTERVAL) * (named.len() as u64 + u64::from(!is_enterprise));
        let has_groups = |pool: &Pool| !matches!(pool.scope.target(), Target::Repository { .. });
        asked.groups += times_an_hour(GROUPS_INTERVAL)
            * u64::from(own().any(|pool| has_groups(pool) && pool.demand.counts_jobs()));
        for pool in own() {
            if !pool.demand.polls_queues() {
                continue;
            }
            match pool.scope.target() {
                Target::Repository { .. } => asked.repositories.push(&pool.scope),
                _ if is_open(pool) => asked.open += 1,
                _ => asked.repositories.extend(&pool.repositories),
            }
        }
    }
    budgets
        .into_iter()
        .map(|((credential, site, account), mut asked)| {
            asked.repositories.sort_unstable();
            asked.repositories.dedup();
            let count = u32::try_from(asked.repositories.len()).unwrap_or(u32::MAX);
            let queues = requests_per_hour(config.poll_interval, count, 0, Reach::Named).at_rest;
            let place = if account.is_empty() { site.to_owned() } else { format!("{site}/{account}") };
            line(config, &format!("rate limit of credential {credential:?} at {place}"), &asked, queues)
        })
        .collect()
}

/// Whether the pool polls the queues of recently pushed repositories.
fn is_open(pool: &Pool) -> bool {
    pool.demand.polls_queues()
        && pool.repositories.is_empty()
        && !matches!(pool.scope.target(), Target::Repository { .. })
}

fn line(config: &Config, subject: &str, asked: &Asked<'_>, queues: u64) -> Line {
    let (finds, logs) =
        (times_an_hour(FIND_INTERVAL) * asked.finds, times_an_hour(LOG_INTERVAL) * asked.hooks as u64);
    let charged = asked.groups + asked.hook_lists;
    let total =
        [queues, finds, logs, asked.addresses, charged].into_iter().fold(asked.listings, u64::saturating_add);
    let mut text = format!("{total} requests an hour at rest: {} for lists of runners", asked.listings);
    for (requests, what) in [
        (
            queues,
            match asked.repositories.len() {
                1 => "the queue of 1 repository".to_owned(),
                count => format!("the queues of {count} repositories"),
            },
        ),
        (finds, "lists of repositories".to_owned()),
        (logs, format!("the delivery log of {}", counted(asked.hooks, "webhook"))),
        (asked.hook_lists, "lists of webhooks".to_owned()),
        (asked.groups, "runner groups".to_owned()),
        (asked.addresses, "addresses".to_owned()),
    ] {
        if requests > 0 {
            let _ = write!(text, ", {requests} for {what}");
        }
    }
    let per_job = requests_per_hour(config.poll_interval, 0, 0, Reach::Own).charged_per_job;
    let _ = write!(
        text,
        "\n{charged} of them are charged, the others only when the answer has changed; each job costs about \
         {per_job} more besides its mint"
    );
    if asked.open > 0 || !asked.repositories.is_empty() {
        let bound = u64::from(REQUESTS_PER_MINUTE) * 60;
        let _ = write!(
            text,
            "\nwhile jobs wait or run, each poll asks for their runs too: at most {bound} requests an hour \
             for all queues"
        );
    }
    if asked.open > 0 {
        let pools = counted(asked.open, "pool");
        let _ = write!(text, "\nthat includes the queues of {pools} without configured repositories");
    }
    if asked.hooked > 0 {
        let bound = times_an_hour(ROUND_INTERVAL) * JOBS_A_ROUND as u64 * asked.hooked;
        let _ = write!(
            text,
            "\njobs that are known from webhooks only are looked up: at most {bound} requests an hour"
        );
    }
    let Some(rate) = asked.rate else {
        return Line::ok(subject, format_args!("{text}\nthis GitHub reports no rate limit"));
    };
    let allowed = rate.limit.saturating_sub(rate.reserve());
    let text = format!(
        "{text}\nGitHub allows {}, of which {} are reserved for launching runners",
        rate.limit,
        rate.reserve()
    );
    if total <= allowed {
        return Line::ok(subject, text);
    }
    let factor = total.div_ceil(allowed.max(1));
    let interval = config.poll_interval.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX));
    // Whole seconds, and never 0 of them.
    let seconds = interval.as_millis().div_ceil(1000);
    Line::warn(
        subject,
        text,
        format_args!(
            "set poll.interval to \"{seconds}s\", list fewer repositories, or use webhooks or a scale set; \
             otherwise the daemon polls less often when the limit runs low"
        ),
    )
}
