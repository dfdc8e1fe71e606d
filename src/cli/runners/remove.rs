//! `runners remove`: removes registrations from GitHub, one by one, and never one that has a job.

use std::{
    collections::BTreeSet,
    io::{BufRead, IsTerminal, Write, stderr, stdin, stdout},
    process::ExitCode,
};

use anyhow::bail;
use serde::Serialize;

use super::Whose;
use crate::{
    cli::{
        RunnersRemove,
        api_target::{ApiTarget, MOST},
        terminal,
    },
    fleet::RegistrationId,
    github::{GithubError, RunnerApi, RunnerRecord},
    text::chain,
};

/// The result of removing one runner.
#[derive(Serialize)]
struct Outcome<'a> {
    /// The runner as it was named on the command line.
    runner: &'a str,
    id: Option<RegistrationId>,
    name: Option<String>,
    result: Removal,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Removal {
    Removed,
    /// It was removed by something else in the meantime.
    Gone,
    Busy,
    NotFound,
    Failed,
}

/// Fails when a confirmation is needed and this is not a terminal.
pub(super) fn may_ask(remove: &RunnersRemove) -> anyhow::Result<()> {
    if !remove.yes && !stdin().is_terminal() {
        bail!("nothing was removed: cannot ask for confirmation, because this is not a terminal; add --yes");
    }
    Ok(())
}

/// Finds all runners, asks once, and removes them. The exit code is 1 when one is left.
pub(super) async fn remove(target: &ApiTarget, remove: &RunnersRemove) -> anyhow::Result<ExitCode> {
    let mut found: Vec<(&str, Result<Option<RunnerRecord>, GithubError>)> = Vec::new();
    let mut ids = BTreeSet::new();
    for runner in &remove.runners {
        let record = target.find(runner).await;
        // A runner that was named twice, or by id and by name, is removed once.
        if !matches!(&record, Ok(Some(record)) if !ids.insert(record.id)) {
            found.push((runner, record));
        }
    }
    if !remove.yes && !ids.is_empty() && !confirmed(target, &found)? {
        writeln!(stderr(), "nothing was removed")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut outcomes = Vec::new();
    for (runner, record) in found {
        let outcome = one(target, runner, record).await;
        if !remove.json {
            report(&outcome)?;
        }
        outcomes.push(outcome);
    }
    if remove.json {
        let whole = serde_json::json!({ "url": target.client.scope(), "runners": outcomes });
        writeln!(stdout(), "{}", terminal::json(&format!("{whole:#}")))?;
    }
    let done = |outcome: &Outcome<'_>| matches!(outcome.result, Removal::Removed | Removal::Gone);
    Ok(if outcomes.iter().all(done) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn confirmed(
    target: &ApiTarget,
    found: &[(&str, Result<Option<RunnerRecord>, GithubError>)],
) -> anyhow::Result<bool> {
    let mut err = stderr().lock();
    writeln!(err, "To be removed from {}:", target.client.scope())?;
    for record in found.iter().filter_map(|(_, record)| record.as_ref().ok()?.as_ref()) {
        let (name, whose) =
            (terminal::cell(&record.name, MOST), Whose::of(&record.name, target.instance.as_ref()));
        writeln!(err, "  {name} (id {}), {whose}", record.id)?;
    }
    write!(err, "Remove? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

async fn one<'a>(
    target: &ApiTarget,
    runner: &'a str,
    record: Result<Option<RunnerRecord>, GithubError>,
) -> Outcome<'a> {
    let unknown = |result, detail| Outcome { runner, id: None, name: None, result, detail };
    let record = match record {
        Ok(Some(record)) => record,
        Ok(None) => return unknown(Removal::NotFound, String::new()),
        Err(error) => return unknown(Removal::Failed, chain(&error)),
    };
    let (result, detail) = if record.busy {
        // Not even requested: GitHub would refuse, and if it ever did not, the job would be lost.
        (Removal::Busy, String::new())
    } else {
        match target.client.delete(record.id).await {
            Ok(()) if Whose::of(&record.name, target.instance.as_ref()).ours => {
                (Removal::Removed, OURS.to_owned())
            }
            Ok(()) => (Removal::Removed, String::new()),
            Err(GithubError::NotFound) => (Removal::Gone, String::new()),
            Err(GithubError::Busy) => (Removal::Busy, String::new()),
            Err(error) => (Removal::Failed, chain(&error)),
        }
    };
    Outcome { runner, id: Some(record.id), name: Some(record.name), result, detail }
}

const OURS: &str = "it belongs to this instance: the daemon removes its container, and launches another \
    runner if the pool wants one";

fn report(outcome: &Outcome<'_>) -> anyhow::Result<()> {
    let name = terminal::cell(outcome.name.as_deref().unwrap_or(outcome.runner), MOST);
    let id = outcome.id.map_or_else(String::new, |id| format!(" (id {id})"));
    let result = match outcome.result {
        Removal::Removed => "removed",
        Removal::Gone => "already gone",
        Removal::Busy => "not removed: it is running a job",
        Removal::NotFound => "not removed: there is no such runner",
        Removal::Failed => "not removed",
    };
    let colon = if outcome.detail.is_empty() { "" } else { ": " };
    let line = format!("{name}{id}: {result}{colon}{}", terminal::printable(&outcome.detail));
    match outcome.result {
        Removal::Removed | Removal::Gone => writeln!(stdout(), "{line}")?,
        Removal::Busy | Removal::NotFound | Removal::Failed => writeln!(stderr(), "{line}")?,
    }
    Ok(())
}
