//! What `check` says of a scope's webhooks: whether one tells of jobs, signs, writes in a form that is
//! read, and got through when it was last tried.

use crate::{
    cli::lines::Line,
    fleet::{Demand, Pool, Scope, Target, Timestamp},
    github::{Client, GithubError, HookRecord, LogMark, webhook::Encoding},
    host::chain,
};

/// Where the daemon takes deliveries in.
const PATH: &str = "/webhook";

const SETTINGS: &str = "Settings, Webhooks: payload address https://YOUR-ADDRESS/webhook, content type \
                        application/json, the secret of webhook_secret_file, event \"Workflow jobs\"";

/// Looks at the hooks of a scope whose pools take webhooks; says too of how many the daemon reads the log.
pub(super) async fn lines(
    subject: &str,
    scope: &Scope,
    pools: &[&Pool],
    client: &Client,
) -> (Vec<Line>, usize) {
    let webhook = |pool: &&Pool| matches!(pool.demand, Demand::Jobs { webhook: true, .. });
    if !pools.iter().any(webhook) {
        return (Vec::new(), 0);
    }
    if let Target::Enterprise { .. } = scope.target() {
        let text = "an enterprise's webhooks cannot be looked at; its own settings show them";
        return (vec![Line::ok(subject, text)], 0);
    }
    let hooks = match client.hooks().await {
        Ok(hooks) => hooks,
        Err(GithubError::Refused(_) | GithubError::NotFound) => {
            let line = Line::warn(
                subject,
                "its webhooks cannot be seen with this credential; they are taken in all the same, but those that \
                 get lost are not looked for",
                "give it \"Webhooks: read\" (classic token: admin:org_hook; at a repository repo or \
                 admin:repo_hook), or add \"queue\" to demand",
            );
            return (vec![line], 0);
        }
        Err(error) => return (vec![Line::warn(subject, chain(&error), "")], 0),
    };
    let telling: Vec<&HookRecord> = hooks.iter().filter(|hook| hook.active && hook.tells_of_jobs).collect();
    let ours: Vec<&&HookRecord> =
        telling.iter().filter(|hook| hook.url.trim_end_matches('/').ends_with(PATH)).collect();
    if ours.is_empty() {
        let other = if telling.is_empty() { "" } else { " at an address that ends with /webhook" };
        let line = Line::warn(
            subject,
            format_args!(
                "has no active webhook that tells of jobs{other}; that of a GitHub App or of an enterprise may, \
                 which is not to be seen here"
            ),
            SETTINGS,
        );
        // A proxy may give the daemon any address, so it reads the logs of all that tell of jobs.
        return (vec![line], telling.len());
    }
    let (mut lines, count) = (Vec::new(), ours.len());
    for hook in ours {
        lines.push(form(subject, hook));
        lines.extend(last(subject, hook, client).await);
    }
    (lines, count)
}

fn form(subject: &str, hook: &HookRecord) -> Line {
    let name = format!("webhook {} to {}", hook.id, hook.url);
    match hook.encoding {
        _ if !hook.signs => Line::fail(
            subject,
            format_args!("{name} has no secret, so that all of its deliveries are refused"),
            "give it the secret of webhook_secret_file, in Settings, Webhooks",
        ),
        Some(Encoding::Json) => Line::ok(subject, format_args!("{name} tells of jobs, signed and as JSON")),
        Some(Encoding::Form) => Line::ok(subject, format_args!("{name} tells of jobs, signed and as a form")),
        None => Line::warn(
            subject,
            format_args!("{name} writes in a form that is not known"),
            "set its content type to application/json, in Settings, Webhooks",
        ),
    }
}

/// Whether it got through when it was last tried.
async fn last(subject: &str, hook: &HookRecord, client: &Client) -> Option<Line> {
    let read = client.deliveries(hook.id, Timestamp::default(), 1, &mut LogMark::default()).await;
    let deliveries = match read {
        Ok(read) => read.map(|(deliveries, _)| deliveries).unwrap_or_default(),
        Err(error) => {
            let text = format!("the log of webhook {} cannot be read: {}", hook.id, chain(&error));
            return Some(Line::warn(subject, text, ""));
        }
    };
    let Some(last) = deliveries.iter().max_by_key(|delivery| delivery.delivered_at) else {
        return Some(Line::ok(subject, format_args!("webhook {} was not used in the last days", hook.id)));
    };
    let (id, at) = (hook.id, last.delivered_at);
    Some(if last.delivered {
        Line::ok(subject, format_args!("webhook {id} got through when it was last used, at {at}"))
    } else {
        Line::warn(
            subject,
            format_args!("webhook {id} did not get through when it was last used, at {at}: {}", last.status),
            "see that the daemon runs, and that the address leads to it; 401 is another secret than that of \
             webhook_secret_file",
        )
    })
}
