//! Checks a pool's runner group: whether it exists, and which repositories it serves.

use super::report::Line;
use crate::{
    fleet::{Pool, Scope, Target, Visibility},
    github::{Client, RunnerGroup},
};

/// Names that a line lists at most.
const SHOWN: usize = 5;

const SETTINGS: &str = "the organization's settings, Actions, Runner groups";

/// The group of a pool, found as the daemon finds it: "Default" is the group that GitHub marks as such.
pub(super) async fn lines(client: &Client, pool: &Pool, groups: &[RunnerGroup]) -> Vec<Line> {
    let subject = format!("pool {:?}", pool.name.as_str());
    let wanted = pool.group.as_str();
    let same = groups.iter().filter(|group| group.name.eq_ignore_ascii_case(wanted));
    let default = || groups.iter().find(|group| group.default && wanted.eq_ignore_ascii_case("default"));
    let Some(group) = same.min_by_key(|group| group.inherited).or_else(default) else {
        let names: Vec<_> = groups.iter().map(|group| format!("{:?}", group.name)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return vec![Line::fail(
            subject,
            format_args!("there is no runner group {wanted:?}; visible to the token: {names}"),
            format_args!("set group to one of these, or create it in {SETTINGS}"),
        )];
    };
    let name = format!("runner group {:?}", group.name);
    let mut lines = vec![whom_it_serves(client, pool, group, &subject, &name).await];
    if group.inherited {
        lines.push(Line::fail(
            &subject,
            format_args!(
                "{name} belongs to the enterprise, and no runner can be added to it from the organization"
            ),
            "set group to a group of the organization, or register at the enterprise",
        ));
    }
    if group.allows_public_repositories == Some(true) && !pool.allow_public {
        lines.push(Line::fail(
            &subject,
            format_args!(
                "{name} serves public repositories too: anyone who opens a pull request there may run code \
                 on these hosts"
            ),
            format_args!(
                "clear \"Allow public repositories\" in {SETTINGS}; or read Security in the README and set \
                 allow_public = true"
            ),
        ));
    }
    if group.allows_public_repositories == Some(false) && pool.allow_public {
        lines.push(Line::warn(
            &subject,
            format_args!(
                "{name} does not allow public repositories, so allow_public has no effect; their jobs stay \
                 queued"
            ),
            format_args!("remove allow_public, or allow them in {SETTINGS}"),
        ));
    }
    if group.restricted_to_workflows {
        let workflows = listed(&group.selected_workflows);
        lines.push(Line::ok(
            &subject,
            format_args!("{name} serves only these workflows, jobs of all others stay queued: {workflows}"),
        ));
    }
    lines
}

async fn whom_it_serves(
    client: &Client,
    pool: &Pool,
    group: &RunnerGroup,
    subject: &str,
    name: &str,
) -> Line {
    let of_enterprise = matches!(pool.scope.target(), Target::Enterprise { .. });
    match (group.visibility.as_deref(), group.allows_public_repositories) {
        (Some("selected"), _) if of_enterprise => Line::warn(
            subject,
            format_args!(
                "{name} serves only the organizations selected for it; jobs of all others stay queued"
            ),
            "make sure that yours are among them, in the enterprise's settings, Policies, Actions, Runner \
             groups",
        ),
        (Some("selected"), _) => selected(client, pool, group, subject, name).await,
        (Some("private"), _) => Line::ok(subject, format_args!("{name} serves private repositories")),
        (_, Some(false)) => Line::ok(
            subject,
            format_args!("{name} serves all repositories except public ones, whose jobs stay queued"),
        ),
        (_, Some(true)) => Line::ok(subject, format_args!("{name} serves all repositories, public ones too")),
        (_, None) => Line::ok(subject, format_args!("{name} exists")),
    }
}

async fn selected(client: &Client, pool: &Pool, group: &RunnerGroup, subject: &str, name: &str) -> Line {
    let policy = client.group_policy(group.clone()).await.ok();
    let Some(Visibility::Selected(served)) = policy.map(|policy| policy.visibility) else {
        return Line::warn(
            subject,
            format_args!(
                "{name} serves only the repositories selected for it; jobs of all others stay queued"
            ),
            format_args!("make sure that yours are among them, in {SETTINGS}"),
        );
    };
    let path = |scope: &Scope| scope.path().to_owned();
    let missing: Vec<String> =
        pool.repositories.iter().filter(|repository| !served.contains(repository)).map(path).collect();
    if served.is_empty() || !missing.is_empty() {
        let whom = if missing.is_empty() { "any repository".to_owned() } else { listed(&missing) };
        return Line::fail(
            subject,
            format_args!("{name} does not serve {whom}; its jobs stay queued"),
            format_args!("select it in {SETTINGS}"),
        );
    }
    let served = listed(&served.iter().map(path).collect::<Vec<_>>());
    Line::ok(
        subject,
        format_args!("{name} serves only these repositories, jobs of all others stay queued: {served}"),
    )
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN).cloned().collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}
