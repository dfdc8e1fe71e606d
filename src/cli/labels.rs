//! `dayfly labels`: lists and changes the labels of one runner.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use super::{
    Global, Labels, LabelsGiven, LabelsList, LabelsRemove,
    place::{MOST, Place},
    plain,
    run::{runtime, start_logs},
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
    let place = Place::of(which, global)?;
    runtime()?.block_on(async {
        let record = place.runner(runner).await?;
        let id = record.id;
        let mut left = Vec::new();
        let answer = match labels {
            Labels::List(_) => place.client.labels(id).await,
            Labels::Add(given) => place.client.add_labels(id, &given.names).await,
            Labels::Set(given) => place.client.set_labels(id, &given.names).await,
            Labels::Remove(LabelsRemove { all: true, .. }) => place.client.remove_all_labels(id).await,
            Labels::Remove(remove) => {
                left = place.remove_labels(&record, &remove.names).await;
                place.client.labels(id).await
            }
        };
        let what = match labels {
            Labels::List(_) => "list the labels of a runner of",
            _ => "change the labels of a runner of",
        };
        let labels = answer.map_err(|error| place.failed(what, &error))?;
        place.show_labels(&record, &labels, &left, json)
    })
}

impl Place {
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
        let name = plain::cell(&runner.name, MOST);
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
            writeln!(out, "{}", plain::json(&format!("{whole:#}")))?;
        } else {
            for (label, why) in left {
                let (label, why) = (plain::cell(label, MOST), plain::printable(why));
                writeln!(stderr(), "label {label:?} was not removed from {name}: {why}")?;
            }
            if labels.is_empty() {
                writeln!(out, "{name} (id {}) has no labels", runner.id)?;
            } else {
                let kind = |label: &RunnerLabel| label.kind.clone().unwrap_or_else(|| "-".to_owned());
                let row =
                    |label: &RunnerLabel| [plain::cell(&label.name, 300), plain::cell(&kind(label), MOST)];
                writeln!(out, "{}", plain::table(["LABEL", "KIND"], labels.iter().map(row)))?;
            }
        }
        Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
