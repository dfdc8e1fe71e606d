//! `dayfly runners`: lists, shows and removes runners on GitHub. What is shown comes from GitHub, not from
//! the daemon.

mod remove;
mod whose;

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    process::ExitCode,
};

use serde::Serialize;

use self::whose::Whose;
use super::{
    Global, Runners, RunnersGet, RunnersList, RunnersRemove,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};
use crate::{
    fleet::{InstanceId, RunnerStatus, Target},
    github::RunnerRecord,
};

pub(super) fn run(global: &Global, runners: &Runners) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    if let Runners::Remove(remove) = runners {
        remove::may_ask(remove)?;
    }
    let which = match runners {
        Runners::List(RunnersList { which, .. })
        | Runners::Get(RunnersGet { which, .. })
        | Runners::Remove(RunnersRemove { which, .. }) => which,
    };
    let target = ApiTarget::of(which, global)?;
    runtime()?.block_on(async {
        match runners {
            Runners::List(list) => target.list(list).await,
            Runners::Get(get) => target.show(&get.runner, get.json).await,
            Runners::Remove(remove) => remove::remove(&target, remove).await,
        }
    })
}

/// A runner, with what GitHub's record does not contain.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    record: &'a RunnerRecord,
    group_name: Option<&'a str>,
    #[serde(flatten)]
    whose: Whose,
}

/// The names of an organization's runner groups by id; empty where they cannot be listed.
type Groups = BTreeMap<u64, String>;

impl<'a> Row<'a> {
    fn new(record: &'a RunnerRecord, groups: &'a Groups, instance: Option<&InstanceId>) -> Self {
        let group_name = record.group.and_then(|id| groups.get(&id)).map(String::as_str);
        Self { record, group_name, whose: Whose::of(&record.name, instance) }
    }

    fn status(&self) -> String {
        match &self.record.status {
            RunnerStatus::Online => "online".to_owned(),
            RunnerStatus::Offline => "offline".to_owned(),
            RunnerStatus::Other(word) if word.is_empty() => "-".to_owned(),
            RunnerStatus::Other(word) => terminal::cell(word, MOST),
        }
    }

    fn group(&self) -> String {
        match (self.group_name, self.record.group) {
            (Some(name), _) => terminal::cell(name, MOST),
            (None, Some(id)) => format!("id {id}"),
            (None, None) => "-".to_owned(),
        }
    }

    fn version(&self) -> String {
        self.record.version.as_deref().map_or_else(|| "-".to_owned(), |version| terminal::cell(version, MOST))
    }

    fn ephemeral(&self) -> &'static str {
        match self.record.ephemeral {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        }
    }

    fn cells(&self) -> [String; 9] {
        [
            self.record.id.to_string(),
            terminal::cell(&self.record.name, MOST),
            self.status(),
            if self.record.busy { "busy" } else { "no" }.to_owned(),
            terminal::cell(&self.record.labels.join(","), MOST),
            self.group(),
            self.version(),
            self.ephemeral().to_owned(),
            self.whose.to_string(),
        ]
    }
}

const HEADER: [&str; 9] =
    ["ID", "NAME", "STATUS", "BUSY", "LABELS", "GROUP", "VERSION", "EPHEMERAL", "WHOSE"];

impl ApiTarget {
    async fn list(&self, list: &RunnersList) -> anyhow::Result<ExitCode> {
        let (records, groups) = tokio::join!(self.client.records(), self.groups());
        let mut records = records.map_err(|error| self.failed("list the runners of", &error))?;
        if let Some(name) = list.name.as_ref().map(|name| name.to_lowercase()) {
            records.retain(|record| record.name.to_lowercase().contains(&name));
        }
        records.sort_by(|one, other| one.name.cmp(&other.name));
        let rows: Vec<_> =
            records.iter().map(|record| Row::new(record, &groups, self.instance.as_ref())).collect();
        let mut out = stdout().lock();
        if list.json {
            let whole = serde_json::json!({ "url": self.client.scope(), "runners": rows });
            writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
        } else if rows.is_empty() {
            let named = list.name.as_ref().map_or_else(String::new, |name| {
                format!(" with {:?} in their names", terminal::cell(name, MOST))
            });
            writeln!(out, "{} has no self-hosted runners{named}", self.client.scope())?;
        } else {
            writeln!(out, "{}", terminal::table(HEADER, rows.iter().map(Row::cells)))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&self, runner: &str, json: bool) -> anyhow::Result<ExitCode> {
        let (record, groups) = tokio::join!(self.runner(runner), self.groups());
        let record = record?;
        let row = Row::new(&record, &groups, self.instance.as_ref());
        let mut out = stdout().lock();
        if json {
            writeln!(out, "{}", terminal::json(&format!("{:#}", serde_json::to_value(&row)?)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let text =
            |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| terminal::cell(text, MOST));
        for (what, how) in [
            ("id", record.id.to_string()),
            ("name", terminal::cell(&record.name, MOST)),
            ("status", row.status()),
            ("busy", if record.busy { "yes" } else { "no" }.to_owned()),
            ("labels", terminal::cell(&record.labels.join(", "), 1000)),
            ("group", row.group()),
            ("version", row.version()),
            ("system", text(record.os.as_deref())),
            ("ephemeral", row.ephemeral().to_owned()),
            ("whose", row.whose.to_string()),
        ] {
            writeln!(out, "{what:<11} {how}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Only used to show names instead of ids, so a failure is ignored.
    async fn groups(&self) -> Groups {
        if let Target::Repository { .. } = self.client.scope().target() {
            return Groups::new();
        }
        let groups = self.client.groups().await.unwrap_or_default();
        groups.into_iter().map(|group| (group.id, group.name)).collect()
    }
}
