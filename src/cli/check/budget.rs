//! What `check` says of the rate limit: how many requests an hour this configuration makes at most, and
//! whether GitHub allows as many.

use std::{collections::BTreeMap, time::Duration};

use super::{counted, scope::Seen};
use crate::{
    cli::lines::Line,
    config::Config,
    fleet::{Demand, Pool, Scope, Target},
    github::CredentialKind,
};

const HOUR: Duration = Duration::from_hours(1);

/// Runners in one page of a list.
const PAGE: usize = 100;

/// Lists that one look at a repository's queue asks for: of queued and of running workflow runs. Once a
/// minute come those of the runs that wait for somebody.
const LISTS: u64 = 2;

/// Times in an hour that something is looked at once a minute: an organization's repositories, a hook's log.
const MINUTES: u64 = 60;

/// Times in an hour that runner groups are read.
const GROUPS: u64 = 6;

/// What is asked for with one budget.
#[derive(Default)]
struct Asked<'a> {
    listings: u64,
    repositories: Vec<&'a Scope>,
    /// Pools whose repositories are not named.
    open: usize,
    /// Requests for runner groups, repositories and logs of webhooks.
    others: u64,
    rate: Option<&'a crate::github::Rate>,
}

/// A line for each budget, in the order of the credentials' names.
pub(super) fn lines(config: &Config, seen: &[Seen]) -> Vec<Line> {
    let per_hour = |requests: u64| {
        let polls = HOUR.as_millis() / config.poll_interval.as_millis().max(1);
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
        asked.listings += per_hour(u64::try_from(pages).unwrap_or(u64::MAX));
        asked.rate = asked.rate.or(seen.rate.as_ref());
        let own = || config.pools.iter().map(|pool| &pool.pool).filter(|pool| pool.scope == seen.scope);
        let any = |wanted: fn(&Pool) -> bool| u64::from(own().any(wanted));
        asked.others += MINUTES * any(|pool| matches!(pool.demand, Demand::Jobs { webhook: true, .. }));
        asked.others += MINUTES * any(is_open);
        asked.others += GROUPS * any(|pool| !matches!(pool.scope.target(), Target::Repository { .. }));
        for pool in own() {
            let Demand::Jobs { queue: true, .. } = pool.demand else { continue };
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
            let each = per_hour(LISTS).saturating_add(LISTS * MINUTES);
            let queues = each.saturating_mul(asked.repositories.len() as u64);
            let place = if account.is_empty() { site.to_owned() } else { format!("{site}/{account}") };
            line(config, &format!("rate limit of credential {credential:?} at {place}"), &asked, queues)
        })
        .collect()
}

/// Whether it looks at the queues of whatever was pushed to lately.
fn is_open(pool: &Pool) -> bool {
    let queue = matches!(pool.demand, Demand::Jobs { queue: true, .. });
    queue && pool.repositories.is_empty() && !matches!(pool.scope.target(), Target::Repository { .. })
}

fn line(config: &Config, subject: &str, asked: &Asked<'_>, queues: u64) -> Line {
    let total = asked.listings.saturating_add(queues).saturating_add(asked.others);
    let for_queues = match asked.repositories.len() {
        0 => String::new(),
        1 => format!(", {queues} for the queue of 1 repository"),
        count => format!(", {queues} for the queues of {count} repositories"),
    };
    let for_others = match asked.open {
        0 => String::new(),
        open => format!(
            "\nbesides, what is left is spent on the queues of {} without named repositories",
            counted(open, "pool")
        ),
    };
    let text = format!(
        "at most {total} requests an hour: {} for lists of runners{for_queues}; unchanged answers are not charged, \
         each job costs about 3 more{for_others}",
        asked.listings
    );
    let Some(rate) = asked.rate else {
        return Line::ok(subject, format_args!("{text}\nthis GitHub tells no limit"));
    };
    let allowed = rate.limit.saturating_sub(rate.reserve());
    let text =
        format!("{text}\nGitHub allows {}, of which {} are kept for new runners", rate.limit, rate.reserve());
    if total <= allowed {
        return Line::ok(subject, text);
    }
    let factor = total.div_ceil(allowed.max(1));
    let interval = config.poll_interval.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX));
    Line::warn(
        subject,
        text,
        format_args!(
            "the daemon looks less often by itself when the limit runs low; better set poll.interval to {} s, name \
             fewer repositories, or use webhooks or a scale set",
            interval.as_secs()
        ),
    )
}
