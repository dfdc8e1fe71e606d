//! Checks the rate limit: how many requests an hour this configuration makes at rest, what bounds the others,
//! and whether GitHub allows that many.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use super::{report::Line, scope::Seen, wording::counted};
use crate::{
    config::Config,
    demand::{
        idle::list_interval,
        queue::{REQUESTS_PER_MINUTE, Reach, requests_per_hour},
    },
    fleet::{Demand, Pool, Scope, Target},
    github::CredentialKind,
};

const HOUR: Duration = Duration::from_hours(1);

/// Runners in one page of a list.
const PAGE: usize = 100;

/// Listings of an organization's repositories in an hour.
const FINDS: u64 = 60;

/// Reads of a webhook's delivery log in an hour.
const LOOKS_AT_LOG: u64 = 12;

/// Listings of webhooks in an hour, which are charged.
const HOOK_LISTS: u64 = 1;

/// Reads of the address of a scope or a named repository in an hour.
const ADDRESSES: u64 = 1;

/// Listings of runner groups in an hour, which are charged.
const GROUPS: u64 = 6;

/// At most this many look-ups an hour of a scope's jobs that are known from webhooks only.
const LOOK_UPS: u64 = 1200;

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
    let per_hour = |requests: u64, interval: Duration| {
        let polls = HOUR.as_millis() / interval.as_millis().max(1);
        requests.saturating_mul(u64::try_from(polls).unwrap_or(u64::MAX))
    };
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
        asked.listings += per_hour(u64::try_from(pages).unwrap_or(u64::MAX), interval);
        let any = |wanted: fn(&Pool) -> bool| u64::from(own().any(wanted));
        let is_enterprise = matches!(seen.scope.target(), Target::Enterprise { .. });
        let takes = any(|pool| pool.demand.has_webhooks());
        asked.hooks += seen.hooks;
        asked.hook_lists += if is_enterprise { 0 } else { HOOK_LISTS * takes };
        asked.hooked += any(|pool| pool.demand == Demand::Jobs { queue: false, webhook: true });
        asked.finds += any(is_open);
        let named: BTreeSet<&Scope> = own().flat_map(|pool| &pool.repositories).collect();
        asked.addresses += ADDRESSES * (named.len() as u64 + u64::from(!is_enterprise));
        let has_groups = |pool: &Pool| !matches!(pool.scope.target(), Target::Repository { .. });
        asked.groups += GROUPS * u64::from(own().any(|pool| has_groups(pool) && pool.demand.counts_jobs()));
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
    let (finds, logs) = (FINDS * asked.finds, LOOKS_AT_LOG * asked.hooks as u64);
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
        let bound = LOOK_UPS * asked.hooked;
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
