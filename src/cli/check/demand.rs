//! Checks the job sources of a pool, and says what they mean for it.

use super::report::Line;
use crate::{
    fleet::{Demand, Pool, Scope, Target},
    github::{Client, GithubError},
    text::chain,
};

/// At most this many repositories have their queues checked.
pub(super) const TRIED: usize = 20;

pub(super) async fn lines(pool: &Pool, client: &Client) -> Vec<Line> {
    let subject = format!("pool {:?}", pool.name.as_str());
    let mut lines = vec![Line::ok(&subject, meaning(pool))];
    if pool.demand.polls_queues() {
        lines.extend(queues(&subject, pool, client).await);
    }
    lines
}

/// What the pool's job sources mean.
fn meaning(pool: &Pool) -> String {
    let min_idle = pool.policy.min_idle;
    let windows = if pool.policy.schedule.0.is_empty() { "" } else { ", or as its schedule says" };
    match pool.demand {
        Demand::Jobs { queue: false, webhook: false } => format!(
            "job source idle: keeps {min_idle} idle{windows} and replaces each runner that takes a job; in \
             a burst, jobs wait for the replacements"
        ),
        Demand::Jobs { queue: true, webhook: false } => format!(
            "job source queue: polls for queued jobs and launches a runner for each; keeps {min_idle} idle \
             on top{windows}"
        ),
        Demand::Jobs { queue: true, webhook: true } => format!(
            "job sources queue and webhook: launches a runner for each queued job, and polls for jobs whose \
             webhook was lost; keeps {min_idle} idle on top{windows}"
        ),
        Demand::Jobs { queue: false, webhook: true } => {
            format!(
                "job source webhook: launches a runner for each queued job; keeps {min_idle} idle on \
                 top{windows}"
            )
        }
        Demand::ScaleSet => format!(
            "job source scale-set: GitHub assigns jobs to this pool's scale set; keeps {min_idle} idle on \
             top{windows}\nit needs the permission to add runners; whether this GitHub supports scale sets \
             shows at the first start, since checking would create a token"
        ),
    }
}

/// Checks that the queues of its repositories can be read.
async fn queues(subject: &str, pool: &Pool, client: &Client) -> Vec<Line> {
    let own = [pool.scope.clone()];
    let repositories: &[Scope] = match pool.scope.target() {
        Target::Repository { .. } => &own,
        _ => &pool.repositories,
    };
    let (mut seen, mut lines) = (0, Vec::new());
    for repository in repositories.iter().take(TRIED) {
        match client.queue_can_be_seen(repository).await {
            Ok(Some(())) => seen += 1,
            Ok(None) => lines.push(unseen(subject, repository, None)),
            Err(error) => lines.push(unseen(subject, repository, Some(&error))),
        }
    }
    if seen > 0 {
        lines.push(Line::ok(subject, format_args!("the queues of {seen} of its repositories can be read")));
    }
    if repositories.is_empty() {
        lines.push(Line::ok(
            subject,
            "polls the queues of recently pushed repositories; list repositories to poll only those",
        ));
    }
    lines
}

fn unseen(subject: &str, repository: &Scope, error: Option<&GithubError>) -> Line {
    let repository = repository.path();
    match error {
        None | Some(GithubError::Refused(_)) => Line::fail(
            subject,
            format_args!("the queue of {repository} cannot be read"),
            "check its name; the token needs the repository permission \"Actions: read\" (classic token: \
             repo)",
        ),
        Some(error) => Line::fail(
            subject,
            format_args!("the queue of {repository} cannot be read: {}", chain(error)),
            "",
        ),
    }
}
