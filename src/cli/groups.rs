//! `dayfly groups`: lists the runner groups of an organization or an enterprise.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::bail;

use super::{
    Global, Groups,
    place::{MOST, Place},
    plain,
    run::{runtime, start_logs},
};
use crate::{fleet::Target, github::RunnerGroup};

const HEADER: [&str; 7] =
    ["ID", "NAME", "DEFAULT", "REPOSITORIES", "PUBLIC REPOSITORIES", "WORKFLOWS", "INHERITED"];

pub(super) fn run(global: &Global, groups: &Groups) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let Groups::List(list) = groups;
    let place = Place::of(&list.which, global)?;
    if let Target::Repository { .. } = place.client.scope().target() {
        bail!(
            "{} is a repository, which has no runner groups; list those of its organization",
            place.client.scope()
        );
    }
    let mut groups = runtime()?
        .block_on(place.client.groups())
        .map_err(|error| place.failed("list the runner groups of", &error))?;
    groups.sort_by_key(|group| group.id);
    let mut out = stdout().lock();
    if list.json {
        let whole = serde_json::json!({ "url": place.client.scope(), "runner_groups": groups });
        writeln!(out, "{}", plain::json(&format!("{whole:#}")))?;
    } else {
        writeln!(out, "{}", plain::table(HEADER, groups.iter().map(cells)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(group: &RunnerGroup) -> [String; 7] {
    let yes_or_no = |it: Option<bool>| match it {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let workflows = match &group.selected_workflows[..] {
        _ if !group.restricted_to_workflows => "all".to_owned(),
        [] => "none".to_owned(),
        which => format!("only {}", which.join(", ")),
    };
    [
        group.id.to_string(),
        plain::cell(&group.name, MOST),
        yes_or_no(Some(group.default)).to_owned(),
        group.visibility.as_deref().map_or_else(|| "-".to_owned(), |word| plain::cell(word, MOST)),
        yes_or_no(group.allows_public_repositories).to_owned(),
        plain::cell(&workflows, 300),
        yes_or_no(Some(group.inherited)).to_owned(),
    ]
}
