//! What only commands request: labels of a runner, tokens for `config.sh`, the runner software and the
//! deprecation of its versions.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    exchange::{Asked, Reply},
    runners::{MAX_LABELS, invalid},
};
use crate::world::World;
use dayfly_fleet::Timestamp;

/// How long a token for `config.sh` is good for.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// What is offered: system, architecture, end of the file's name.
const SYSTEMS: [(&str, &str, &str); 7] = [
    ("osx", "x64", "tar.gz"),
    ("osx", "arm64", "tar.gz"),
    ("linux", "x64", "tar.gz"),
    ("linux", "arm64", "tar.gz"),
    ("linux", "arm", "tar.gz"),
    ("win", "x64", "zip"),
    ("win", "arm64", "zip"),
];

/// What is to happen to the custom labels of a runner.
pub(super) enum Change {
    Add,
    Set,
    Remove(String),
    RemoveAll,
}

impl World {
    pub(super) fn labels(&self, scope: &str, id: u64) -> Reply {
        match self.registration(scope, id) {
            Some(there) => {
                let labels = there.label_rows();
                Reply::json(StatusCode::OK, json!({ "total_count": labels.len(), "labels": labels }))
            }
            None => Reply::not_found(),
        }
    }

    pub(super) fn change_labels(&mut self, asked: &Asked, scope: &str, id: u64, change: &Change) -> Reply {
        let Some(there) = self.registration(scope, id) else {
            return Reply::not_found();
        };
        let kept: Vec<String> =
            there.labels.iter().filter(|label| there.is_read_only(label)).cloned().collect();
        let mut labels = match change {
            Change::Add | Change::Remove(_) => there.labels.clone(),
            Change::Set | Change::RemoveAll => kept.clone(),
        };
        match change {
            Change::Add => match names(asked, 1) {
                Ok(names) => labels.extend(names),
                Err(refusal) => return refusal,
            },
            Change::Set => match names(asked, 0) {
                Ok(names) => labels.extend(names),
                Err(refusal) => return refusal,
            },
            Change::Remove(name) => {
                let name = name.to_ascii_lowercase();
                if kept.contains(&name) {
                    return invalid(&format!("The label '{name}' is read-only and cannot be removed."));
                }
                if !labels.contains(&name) {
                    return Reply::not_found();
                }
                labels.retain(|label| *label != name);
            }
            Change::RemoveAll => {}
        }
        self.relabel(id, labels);
        self.labels(scope, id)
    }

    /// A token that only the scale-set service takes: simulated runners register by JIT config alone.
    pub(super) fn runner_token(&mut self, scope: &str, now: Timestamp) -> Reply {
        let token = self.registration_token(scope);
        let expires_at = (now + TOKEN_LIFE).to_string();
        Reply::json(StatusCode::CREATED, json!({ "token": token, "expires_at": expires_at }))
    }

    pub(super) fn downloads(&self) -> Reply {
        let version = &self.settings.newest_runner;
        let rows = SYSTEMS.map(|(os, architecture, end)| {
            let file = format!("actions-runner-{os}-{architecture}-{version}.{end}");
            json!({
                "os": os,
                "architecture": architecture,
                "download_url": format!("https://github.com/actions/runner/releases/download/v{version}/{file}"),
                "filename": file,
                "temp_download_token": "simulated-download-token",
                "sha256_checksum": "5".repeat(64),
            })
        });
        Reply::json(StatusCode::OK, json!(rows))
    }

    pub(super) fn deprecation(&self, version: &str) -> Reply {
        let Some(planned) = &self.settings.ends_of_life else {
            return Reply::not_found();
        };
        let ends = planned.iter().find(|ends| ends.version == version);
        let at = |at: Option<Timestamp>| at.map_or(Value::Null, |at| json!(at.to_string()));
        let body = json!({
            "runner_version": version,
            "registration_deprecates_at": at(ends.and_then(|ends| ends.registration)),
            "runtime_deprecates_at": at(ends.and_then(|ends| ends.jobs)),
        });
        Reply::json(StatusCode::OK, body)
    }
}

/// The names that a body has, at least so many.
fn names(asked: &Asked, least: usize) -> Result<Vec<String>, Reply> {
    let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else {
        return Err(Reply::error(StatusCode::BAD_REQUEST, "Problems parsing JSON"));
    };
    let names: Option<Vec<String>> = body["labels"]
        .as_array()
        .and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    match names {
        None => Err(invalid("Invalid request.\n\nInvalid property /labels: it is not an array of string.")),
        Some(names) if names.len() < least || names.len() > MAX_LABELS => Err(invalid(&format!(
            "Invalid request.\n\nInvalid property /labels: {least} to {MAX_LABELS} items are allowed; {} \
             were supplied.",
            names.len()
        ))),
        Some(names) => Ok(names),
    }
}
