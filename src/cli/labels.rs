//! `dayfly labels`: lists and changes the labels of one runner.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use super::{
    Global, Labels, LabelsGiven, LabelsList, LabelsRemove,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};
use crate::{
    github::{GithubError, RunnerLabel, RunnerRecord},
    text::chain,
};

/// A label that could not be removed, and why.
type Left = (String, String);

pub(super) fn run(global: &Global, labels: &Labels) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let (which, runner, json) = match labels {
        Labels::List(LabelsList { which, runner, json })
        | Labels::Add(LabelsGiven { which, runner, json, .. })
        | Labels::Set(LabelsGiven { which, runner, json, .. })
        | Labels::Remove(LabelsRemove { which, runner, json, .. }) => (which, runner, *json),
    };
    let target = ApiTarget::of(which, global)?;
    runtime()?.block_on(async {
        let record = target.runner(runner).await?;
        let id = record.id;
        let mut left = Vec::new();
        let answer = match labels {
            Labels::List(_) => target.client.labels(id).await,
            Labels::Add(given) => target.client.add_labels(id, &given.names).await,
            Labels::Set(given) => target.client.set_labels(id, &given.names).await,
            Labels::Remove(LabelsRemove { all: true, .. }) => target.client.remove_all_labels(id).await,
            Labels::Remove(remove) => {
                left = target.remove_labels(&record, &remove.names).await;
                target.client.labels(id).await
            }
        };
        let what = match labels {
            Labels::List(_) => "list the labels of a runner of",
            _ => "change the labels of a runner of",
        };
        let labels = answer.map_err(|error| target.failed(what, &error))?;
        target.show_labels(&record, &labels, &left, json)
    })
}

impl ApiTarget {
    /// Removes labels one by one, as GitHub's API requires; returns those that are left.
    async fn remove_labels(&self, runner: &RunnerRecord, names: &[String]) -> Vec<Left> {
        let mut left = Vec::new();
        for name in names {
            match self.client.remove_label(runner.id, name).await {
                Ok(_) => {}
                Err(GithubError::NotFound) => left.push((name.clone(), "it has no such label".to_owned())),
                Err(error) => left.push((name.clone(), chain(&error))),
            }
        }
        left
    }

    fn show_labels(
        &self,
        runner: &RunnerRecord,
        labels: &[RunnerLabel],
        left: &[Left],
        json: bool,
    ) -> anyhow::Result<ExitCode> {
        let name = terminal::cell(&runner.name, MOST);
        let mut out = stdout().lock();
        if json {
            let left: Vec<_> =
                left.iter().map(|(name, why)| serde_json::json!({ "name": name, "why": why })).collect();
            let whole = serde_json::json!({
                "url": self.client.scope(),
                "runner": { "id": runner.id, "name": runner.name },
                "labels": labels,
                "not_removed": left,
            });
            writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
        } else {
            for (label, why) in left {
                let (label, why) = (terminal::cell(label, MOST), terminal::printable(why));
                writeln!(stderr(), "label {label:?} was not removed from {name}: {why}")?;
            }
            if labels.is_empty() {
                writeln!(out, "{name} (id {}) has no labels", runner.id)?;
            } else {
                let kind = |label: &RunnerLabel| label.kind.clone().unwrap_or_else(|| "-".to_owned());
                let row = |label: &RunnerLabel| {
                    [terminal::cell(&label.name, 300), terminal::cell(&kind(label), MOST)]
                };
                writeln!(out, "{}", terminal::table(["LABEL", "KIND"], labels.iter().map(row)))?;
            }
        }
        Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
