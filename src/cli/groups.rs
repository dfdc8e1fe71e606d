//! `dayfly groups`: lists the runner groups of an organization or an enterprise.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::bail;

use super::{
    Global, Groups,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};
use crate::{fleet::Target, github::RunnerGroup};

const HEADER: [&str; 7] =
    ["ID", "NAME", "DEFAULT", "REPOSITORIES", "PUBLIC REPOSITORIES", "WORKFLOWS", "INHERITED"];

pub(super) fn run(global: &Global, groups: &Groups) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let Groups::List(list) = groups;
    let target = ApiTarget::of(&list.which, global)?;
    if let Target::Repository { .. } = target.client.scope().target() {
        bail!(
            "{} is a repository, which has no runner groups; list those of its organization",
            target.client.scope()
        );
    }
    let mut groups = runtime()?
        .block_on(target.client.groups())
        .map_err(|error| target.failed("list the runner groups of", &error))?;
    groups.sort_by_key(|group| group.id);
    let mut out = stdout().lock();
    if list.json {
        let whole = serde_json::json!({ "url": target.client.scope(), "runner_groups": groups });
        writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
    } else {
        writeln!(out, "{}", terminal::table(HEADER, groups.iter().map(cells)))?;
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
        terminal::cell(&group.name, MOST),
        yes_or_no(Some(group.default)).to_owned(),
        group.visibility.as_deref().map_or_else(|| "-".to_owned(), |word| terminal::cell(word, MOST)),
        yes_or_no(group.allows_public_repositories).to_owned(),
        terminal::cell(&workflows, 300),
        yes_or_no(Some(group.inherited)).to_owned(),
    ]
}
