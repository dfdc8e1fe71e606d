//! Lists and inspections of containers, with states that bollard does not know: its types refuse a whole response
//! for one of them, and Podman has states of its own. Also what else bollard cannot read hides no other container.

use std::collections::HashMap;

use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerSummary},
};
use futures_util::TryStreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is read of a listed container that cannot be read as a whole.
const LISTED: [&str; 5] = ["Id", "Names", "ImageID", "Labels", "State"];

/// What is read of an inspected container that cannot be read as a whole.
const INSPECTED: [&str; 3] = ["Id", "Name", "State"];

/// Docker's states; an empty text stands for one that this version does not know.
const STATES: [&str; 9] =
    ["", "created", "running", "paused", "restarting", "removing", "exited", "dead", "stopping"];

/// All containers that the filters select, running or not.
pub(super) async fn list_containers(
    docker: &Docker,
    filters: &HashMap<&str, Vec<String>>,
) -> Result<Vec<ContainerSummary>, Error> {
    let filters = serde_json::to_string(filters).map_err(Error::from)?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("all", "true")
        .append_pair("filters", &filters)
        .finish();
    let listed: Vec<Map<String, Value>> = get(docker, &format!("json?{query}")).await?;
    Ok(listed.into_iter().filter_map(summary).collect())
}

/// The inspection of a container.
pub(super) async fn inspect_container(docker: &Docker, id: &str) -> Result<ContainerInspectResponse, Error> {
    let inspected: Map<String, Value> = get(docker, &format!("{id}/json?")).await?;
    inspection(inspected).map_err(Error::from)
}

/// A response below `/containers/`, not read by bollard: an export is what it returns as it is. The rest of that
/// path becomes a parameter that no engine knows.
async fn get<T: DeserializeOwned>(docker: &Docker, path: &str) -> Result<T, Error> {
    let chunks = docker.export_container(&format!("{path}&path="));
    let body = chunks
        .try_fold(Vec::new(), |mut body, chunk| async move {
            body.extend_from_slice(&chunk);
            Ok(body)
        })
        .await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::JsonDataError { message: error.to_string(), column: error.column() })
}

/// `None` for something without an id that can be read.
fn summary(mut listed: Map<String, Value>) -> Option<ContainerSummary> {
    know_state(listed.get_mut("State"));
    read(listed, &LISTED).ok()
}

fn inspection(mut inspected: Map<String, Value>) -> serde_json::Result<ContainerInspectResponse> {
    know_state(inspected.get_mut("State").and_then(|state| state.get_mut("Status")));
    read(inspected, &INSPECTED)
}

fn read<T: DeserializeOwned>(mut fields: Map<String, Value>, needed: &[&str]) -> serde_json::Result<T> {
    if let Ok(read) = serde_json::from_value(Value::Object(fields.clone())) {
        return Ok(read);
    }
    fields.retain(|name, _| needed.contains(&name.as_str()));
    serde_json::from_value(Value::Object(fields))
}

/// Replaces a state by Docker's word for it.
fn know_state(state: Option<&mut Value>) {
    let Some(state) = state else { return };
    let known = match state.as_str().unwrap_or_default() {
        // Podman's: created but not prepared, and prepared but not started.
        "configured" | "initialized" => "created",
        // Podman's: its process has exited, and its resources are about to be released.
        "stopped" => "exited",
        other => STATES.into_iter().find(|known| *known == other).unwrap_or_default(),
    };
    *state = known.into();
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerStateStatusEnum, ContainerSummaryStateEnum};
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_state_of_another_engine_is_read_as_dockers() {
        use ContainerSummaryStateEnum as S;
        for (text, state) in [
            ("running", S::RUNNING),
            ("stopped", S::EXITED),
            ("configured", S::CREATED),
            ("initialized", S::CREATED),
            ("improper", S::EMPTY),
            ("", S::EMPTY),
        ] {
            let read = summary(object(json!({ "Id": "a", "State": text }))).unwrap();
            assert_eq!((read.id.as_deref(), read.state), (Some("a"), Some(state)), "{text}");
        }
        let state = json!({ "Status": "stopped", "Running": false, "ExitCode": 7 });
        let state = inspection(object(json!({ "Id": "a", "State": state }))).unwrap().state.unwrap();
        assert_eq!((state.status, state.exit_code), (Some(ContainerStateStatusEnum::EXITED), Some(7)));
    }

    #[test]
    fn a_container_that_is_described_in_a_new_way_is_listed_by_what_is_needed() {
        let new = json!({
            "Id": "a", "Names": ["/a"], "ImageID": "sha256:1", "Labels": { "k": "v" }, "State": "running",
            "Ports": "none", "Health": { "Status": "improving" },
        });
        let read = summary(object(new)).unwrap();
        assert_eq!((read.id.as_deref(), read.ports), (Some("a"), None));
        assert_eq!(read.labels.unwrap()["k"], "v");
        assert_eq!(read.state, Some(ContainerSummaryStateEnum::RUNNING));
        assert!(summary(object(json!({ "Id": 1 }))).is_none());
    }
}
