//! Self-hosted runners: list, get, delete, generate-jitconfig.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::exchange::{Asked, Content, DOCUMENTATION, Reply};
use dayfly_fleet::Timestamp;

use crate::world::{MintRefused, RUNNER_VERSION, Registration, World};

pub(super) const MAX_LABELS: usize = 100;

impl World {
    pub(super) fn list_runners(&self, asked: &Asked, scope: &str, busy_lies: bool, now: Timestamp) -> Reply {
        let wanted = |there: &&Registration| asked.query("name").is_none_or(|name| there.name == name);
        let rows = self.listed(scope, now).filter(wanted).map(|there| self.row(there, busy_lies, now));
        self.page(asked, "runners", rows.collect())
    }

    pub(super) fn get_runner(&self, scope: &str, id: u64, busy_lies: bool, now: Timestamp) -> Reply {
        match self.registration(scope, id) {
            Some(there) => Reply::json(StatusCode::OK, self.row(there, busy_lies, now)),
            None => Reply::not_found(),
        }
    }

    pub(super) fn delete_runner(&mut self, scope: &str, id: u64, busy_lies: bool, now: Timestamp) -> Reply {
        let Some(there) = self.registration(scope, id) else {
            return Reply::not_found();
        };
        if self.look(there, now).busy && !busy_lies {
            let message = format!("Bad request - Runner \"{}\" is still running a job", there.name);
            return invalid(&message);
        }
        self.forget(id);
        Reply::empty(StatusCode::NO_CONTENT)
    }

    pub(super) fn generate_jitconfig(&mut self, asked: &Asked, scope: &str, now: Timestamp) -> Reply {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&asked.body) else {
            return Reply::error(StatusCode::BAD_REQUEST, "Problems parsing JSON");
        };
        let wish = match Wish::of(&body) {
            Ok(wish) => wish,
            Err(problem) => return invalid(&format!("Invalid request.\n\n{problem}")),
        };
        let Wish { name, group, labels, work_folder } = wish;
        match self.mint(scope, &name, group, labels, &work_folder, now) {
            Ok((id, jit)) => {
                let runner = self.registration(scope, id).map(|there| self.row(there, false, now));
                Reply::json(StatusCode::CREATED, json!({ "runner": runner, "encoded_jit_config": jit }))
            }
            Err(MintRefused::NameTaken) => {
                let message = format!("Already exists - A runner with the name {name} already exists.");
                Reply::error(StatusCode::CONFLICT, &message)
            }
            Err(MintRefused::NoSuchGroup) => Reply::not_found(),
            Err(MintRefused::HostedGroup) => {
                Reply::error(StatusCode::FORBIDDEN, "The runner group cannot have self-hosted runners.")
            }
            Err(MintRefused::GroupFull(max)) => group_full(group, max),
        }
    }

    fn row(&self, there: &Registration, busy_lies: bool, now: Timestamp) -> Value {
        let look = self.look(there, now);
        json!({
            "id": there.id,
            "name": there.name,
            "os": if look.connected_once { "Linux" } else { "unknown" },
            "status": if look.online { "online" } else { "offline" },
            "busy": look.busy && !busy_lies,
            "ephemeral": true,
            "version": look.connected_once.then_some(RUNNER_VERSION),
            "runner_group_id": there.group,
            "labels": there.label_rows(),
        })
    }
}

impl Registration {
    pub(super) fn label_rows(&self) -> Vec<Value> {
        let kind = |label: &str| if self.is_read_only(label) { "read-only" } else { "custom" };
        self.labels
            .iter()
            .zip(1..)
            .map(|(label, at)| json!({ "id": self.id * 1000 + at, "name": label, "type": kind(label) }))
            .collect()
    }
}

/// What a mint asks for.
struct Wish {
    name: String,
    group: u64,
    labels: Vec<String>,
    work_folder: String,
}

impl Wish {
    fn of(body: &Map<String, Value>) -> Result<Self, String> {
        let required = |key: &str| {
            body.get(key).ok_or_else(|| format!("Invalid input: object is missing required key: {key}."))
        };
        let wrong = |key: &str, kind: &str| format!("Invalid property /{key}: it is not of type `{kind}`.");
        let name = required("name")?.as_str().ok_or_else(|| wrong("name", "string"))?;
        let group = required("runner_group_id")?;
        let group = group.as_u64().ok_or_else(|| wrong("runner_group_id", "integer"))?;
        let labels = required("labels")?.as_array().ok_or_else(|| wrong("labels", "array"))?;
        let texts: Option<Vec<String>> =
            labels.iter().map(|label| label.as_str().map(str::to_owned)).collect();
        let labels = texts.ok_or_else(|| wrong("labels", "array of string"))?;
        if labels.is_empty() {
            return Err("Invalid property /labels: 1 item required; only 0 were supplied.".to_owned());
        }
        if labels.len() > MAX_LABELS {
            let count = labels.len();
            return Err(format!(
                "Invalid property /labels: {MAX_LABELS} items allowed; {count} were supplied."
            ));
        }
        let work_folder = match body.get("work_folder") {
            None => "_work",
            Some(folder) => folder.as_str().ok_or_else(|| wrong("work_folder", "string"))?,
        };
        Ok(Self { name: name.to_owned(), group, labels, work_folder: work_folder.to_owned() })
    }
}

/// 422 in the simple form, whose `errors` may be missing.
pub(super) fn invalid(message: &str) -> Reply {
    let body = json!({ "message": message, "documentation_url": DOCUMENTATION, "status": "422" });
    Reply { status: StatusCode::UNPROCESSABLE_ENTITY, body: Content::Json(body), headers: Vec::new() }
}

pub(super) fn group_full(group: u64, max: usize) -> Reply {
    invalid(&format!("Runner group {group} has reached max limit of {max} runners"))
}

/// Does something to every runner of an answer, be it a list or a single one.
pub(super) fn each(body: &mut Value, mut change: impl FnMut(&mut Map<String, Value>)) {
    match body.get_mut("runners").and_then(Value::as_array_mut) {
        Some(rows) => rows.iter_mut().filter_map(Value::as_object_mut).for_each(change),
        None => body.as_object_mut().into_iter().for_each(&mut change),
    }
}
