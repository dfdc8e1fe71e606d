//! What `check` says of how a pool learns of waiting jobs: what that means, and whether it can.

use crate::{
    cli::lines::Line,
    fleet::{Demand, Pool, Scope, Target},
    github::{Client, GithubError},
    host::chain,
};

/// Repositories whose queues are tried at most.
pub(super) const TRIED: usize = 20;

pub(super) async fn lines(pool: &Pool, client: &Client) -> Vec<Line> {
    let subject = format!("pool {:?}", pool.name.as_str());
    let mut lines = vec![Line::ok(&subject, meaning(pool))];
    if let Demand::Jobs { queue: true, .. } = pool.demand {
        lines.extend(queues(&subject, pool, client).await);
    }
    lines
}

/// What its way of learning of jobs means.
fn meaning(pool: &Pool) -> String {
    let min_idle = pool.policy.min_idle;
    let windows = if pool.policy.schedule.0.is_empty() { "" } else { ", or as its schedule says" };
    match pool.demand {
        Demand::Jobs { queue: false, webhook: false } => format!(
            "learns of jobs by what its runners do (demand = [\"idle\"]): {min_idle} stand ready{windows}, each that \
             takes a job is replaced, and more jobs at once wait for the replacements"
        ),
        Demand::Jobs { queue: true, webhook: false } => format!(
            "asks for waiting jobs, and launches for each; {min_idle} stand ready beyond that{windows}"
        ),
        Demand::Jobs { queue: true, webhook: true } => format!(
            "is told of waiting jobs by webhooks and asks for what got lost; {min_idle} stand ready beyond \
             that{windows}"
        ),
        Demand::Jobs { queue: false, webhook: true } => {
            format!("is told of waiting jobs by webhooks; {min_idle} stand ready beyond that{windows}")
        }
        Demand::ScaleSet => format!(
            "is a runner scale set: GitHub says how many jobs wait for it; {min_idle} stand ready beyond \
             that{windows}\nit needs what adding runners needs; whether this GitHub has scale sets shows with the \
             first start, since asking would make a token"
        ),
    }
}

/// Whether the queues of its repositories can be looked at.
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
        lines.push(Line::ok(
            subject,
            format_args!("the queues of {seen} of its repositories can be looked at"),
        ));
    }
    if repositories.is_empty() {
        lines.push(Line::ok(
            subject,
            "looks at the queues of the repositories that were pushed to lately; name them in repositories to look \
             at those alone",
        ));
    }
    lines
}

fn unseen(subject: &str, repository: &Scope, error: Option<&GithubError>) -> Line {
    let repository = repository.path();
    match error {
        None | Some(GithubError::Refused(_)) => Line::fail(
            subject,
            format_args!("the queue of {repository} cannot be looked at"),
            "check its name; the token needs the repository permission \"Actions: read\" (classic token: repo)",
        ),
        Some(error) => Line::fail(
            subject,
            format_args!("the queue of {repository} cannot be looked at: {}", chain(error)),
            "",
        ),
    }
}
