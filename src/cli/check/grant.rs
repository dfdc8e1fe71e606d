//! Checks what a credential may do in a scope: a classic token's scopes, an App's permissions and whether
//! they are approved, and when a token expires. Other tokens do not show their permissions, and a test would
//! create something.

use std::time::Duration;

use super::report::Line;
use crate::{
    fleet::{Demand, Pool, Scope, Target, Timestamp},
    github::{AppGrant, Probe},
};

/// A token that expires sooner gets a warning.
const SOON: Duration = Duration::from_hours(7 * 24);

pub(super) fn lines(
    subject: &str,
    scope: &Scope,
    pools: &[&Pool],
    probe: &Probe,
    now: Timestamp,
) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(scopes) = &probe.token_scopes {
        lines.extend(of_scopes(subject, scope, pools, scopes));
    }
    if let Some(grant) = &probe.app {
        lines.extend(of_app(subject, scope, pools, grant, probe.app_lacks.as_deref()));
    }
    if let Some(at) = probe.token_expires_at {
        lines.push(if at.since(now) < SOON {
            Line::warn(
                subject,
                format_args!("the token expires at {at}"),
                "create a new token and replace the old one; the daemon picks it up without a restart",
            )
        } else {
            Line::ok(subject, format_args!("the token is valid until {at}"))
        });
    }
    lines
}

/// Whether a pool polls queues, and whether it uses webhooks.
fn sources(pools: &[&Pool]) -> (bool, bool) {
    let any = |wanted: fn(Demand) -> bool| pools.iter().any(|pool| wanted(pool.demand));
    (any(Demand::polls_queues), any(Demand::has_webhooks))
}

fn of_scopes(subject: &str, scope: &Scope, pools: &[&Pool], scopes: &[String]) -> Vec<Line> {
    const PAGE: &str = "select it on the token's page in Settings, Developer settings, Tokens (classic)";
    let has = |accepted: &[&str]| scopes.iter().any(|scope| accepted.contains(&scope.as_str()));
    let shown = if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") };
    // The first is the narrowest that is enough; the others include it.
    let needed: &[&str] = match scope.target() {
        Target::Organization { .. } => &["admin:org"],
        Target::Enterprise { .. } => &["manage_runners:enterprise", "admin:enterprise"],
        Target::Repository { .. } => &["repo"],
    };
    let mut lines = Vec::new();
    lines.push(if has(needed) {
        Line::ok(subject, format_args!("the token has the scope {:?}", needed[0]))
    } else {
        Line::fail(
            subject,
            format_args!(
                "the token lacks the scope {:?}, which it needs to add runners (it has: {shown})",
                needed[0]
            ),
            PAGE,
        )
    });
    let (queue, webhook) = sources(pools);
    let is_repository = matches!(scope.target(), Target::Repository { .. });
    if queue && !is_repository && !has(&["repo"]) {
        lines.push(Line::warn(
            subject,
            format_args!(
                "the token lacks the scope \"repo\", which it needs to read the queues of private \
                repositories (it has: {shown})"
            ),
            PAGE,
        ));
    }
    let hooks: &[&str] = match scope.target() {
        Target::Organization { .. } => &["admin:org_hook"],
        Target::Repository { .. } => &["repo", "admin:repo_hook"],
        Target::Enterprise { .. } => &[],
    };
    if webhook && !hooks.is_empty() && !has(hooks) {
        lines.push(Line::warn(
            subject,
            format_args!(
                "the token lacks the scope {}, which it needs to find lost webhooks (it has: {shown})",
                hooks.iter().map(|scope| format!("{scope:?}")).collect::<Vec<_>>().join(" or ")
            ),
            PAGE,
        ));
    }
    lines
}

fn of_app(subject: &str, scope: &Scope, pools: &[&Pool], grant: &AppGrant, lacks: Option<&str>) -> Vec<Line> {
    let AppGrant { installation_id, permissions } = grant;
    let account = scope.path().split('/').next().unwrap_or_default();
    let hint = format!(
        "add it in the App's settings, Permissions; then an owner of {account} must approve it in Settings, \
         GitHub Apps, Configure, \"Review request\""
    );
    let mut lines = vec![match lacks {
        Some(lacks) => Line::fail(
            subject,
            format_args!(
                "the App's installation {installation_id} lacks {lacks}, or it is not approved yet; no \
                 runner can be added without it"
            ),
            &hint,
        ),
        None => Line::ok(subject, format_args!("the App's installation {installation_id} may add runners")),
    }];
    let (queue, webhook) = sources(pools);
    let hooks = match scope.target() {
        Target::Repository { .. } => "repository_hooks",
        _ => "organization_hooks",
    };
    for (wanted, name, what) in
        [(queue, "actions", "queues cannot be read"), (webhook, hooks, "lost webhooks are not found")]
    {
        if wanted && !permissions.contains_key(name) {
            lines.push(Line::warn(
                subject,
                format_args!(
                    "the App's installation {installation_id} lacks {name}: read, or it is not \
                    approved yet; without it {what}"
                ),
                &hint,
            ));
        }
    }
    lines
}
