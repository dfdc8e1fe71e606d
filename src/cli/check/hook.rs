//! Checks a scope's webhooks: whether one sends workflow jobs, signs them, has a supported content type, and
//! succeeded at its last delivery.

use super::report::Line;
use crate::{
    fleet::{Pool, Scope, Target, Timestamp},
    github::{Client, GithubError, HookRecord, LogMark, webhook::Encoding},
    text::chain,
};

/// The path that the daemon accepts deliveries at.
const PATH: &str = "/webhook";

const SETTINGS: &str = "Settings, Webhooks: payload URL https://YOUR-ADDRESS/webhook, content type \
                        application/json, the secret of webhook_secret_file, event \"Workflow jobs\"";

/// Checks the webhooks of a scope whose pools use them; also returns how many delivery logs the daemon reads.
pub(super) async fn lines(
    subject: &str,
    scope: &Scope,
    pools: &[&Pool],
    client: &Client,
) -> (Vec<Line>, usize) {
    let webhook = |pool: &&Pool| pool.demand.has_webhooks();
    if !pools.iter().any(webhook) {
        return (Vec::new(), 0);
    }
    if let Target::Enterprise { .. } = scope.target() {
        let text = "an enterprise's webhooks cannot be checked; the enterprise's settings show them";
        return (vec![Line::ok(subject, text)], 0);
    }
    let hooks = match client.hooks().await {
        Ok(hooks) => hooks,
        Err(GithubError::Refused(_) | GithubError::NotFound) => {
            let line = Line::warn(
                subject,
                "its webhooks cannot be listed with this credential; deliveries are accepted all the same, \
                 but lost ones are not found",
                "give it \"Webhooks: read\" (classic token: admin:org_hook; for a repository: repo or \
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
        let other = if telling.is_empty() { "" } else { " with a payload URL that ends with /webhook" };
        let line = Line::warn(
            subject,
            format_args!(
                "has no active webhook for the event \"Workflow jobs\"{other}; one of a GitHub App or of an \
                 enterprise may exist, which is not visible here"
            ),
            SETTINGS,
        );
        // A proxy may give the daemon any address, so it reads the logs of all webhooks that send workflow
        // jobs.
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
            format_args!("{name} has no secret, so all of its deliveries are rejected"),
            "set its secret to that of webhook_secret_file, in Settings, Webhooks",
        ),
        Some(Encoding::Json) => {
            Line::ok(subject, format_args!("{name} sends workflow jobs, signed, as JSON"))
        }
        Some(Encoding::Form) => {
            Line::ok(subject, format_args!("{name} sends workflow jobs, signed, as a form"))
        }
        None => Line::warn(
            subject,
            format_args!("{name} has a content type that is not supported"),
            "set its content type to application/json, in Settings, Webhooks",
        ),
    }
}

/// Checks its last delivery.
async fn last(subject: &str, hook: &HookRecord, client: &Client) -> Option<Line> {
    let read = client.deliveries(hook.id, Timestamp::default(), 1, &mut LogMark::default()).await;
    let deliveries = match read {
        Ok(read) => read.map(|(deliveries, _)| deliveries).unwrap_or_default(),
        Err(error) => {
            let text = format!("the delivery log of webhook {} cannot be read: {}", hook.id, chain(&error));
            return Some(Line::warn(subject, text, ""));
        }
    };
    let Some(last) = deliveries.iter().max_by_key(|delivery| delivery.delivered_at) else {
        return Some(Line::ok(
            subject,
            format_args!("webhook {} had no deliveries in the last days", hook.id),
        ));
    };
    let (id, at) = (hook.id, last.delivered_at);
    Some(if last.delivered {
        Line::ok(subject, format_args!("webhook {id}: the last delivery, at {at}, succeeded"))
    } else {
        Line::warn(
            subject,
            format_args!("webhook {id}: the last delivery, at {at}, failed: {}", last.status),
            "make sure that the daemon is running and that the payload URL leads to it; 401 means that the \
             secret differs from that of webhook_secret_file",
        )
    })
}
