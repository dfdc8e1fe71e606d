//! The runners of scale sets, which the service calls agents.

use serde_json::{Value, json};

use super::answer::{Asked, Reply};
use dayfly_fleet::Timestamp;

use crate::world::{MintRefused, World};

const NOT_FOUND: &str =
    "GitHub.DistributedTask.WebApi.TaskAgentNotFoundException, GitHub.DistributedTask.WebApi";
const EXISTS: &str = "GitHub.DistributedTask.WebApi.TaskAgentExistsException, GitHub.DistributedTask.WebApi";
const RUNNING: &str =
    "GitHub.DistributedTask.WebApi.TaskAgentJobStillRunningException, GitHub.DistributedTask.WebApi";

impl World {
    pub(super) fn answer_mint(&mut self, asked: &Asked, scope: &str, set: i64, now: Timestamp) -> Reply {
        let body = asked.json().unwrap_or_default();
        let name = body["name"].as_str().unwrap_or_default();
        let folder = body["workFolder"].as_str().unwrap_or("_work");
        match self.mint_for_set(scope, set, name, folder, now) {
            Ok((id, jit)) => Reply::json(json!({
                "runner": { "id": id, "name": name, "runnerScaleSetId": set },
                "encodedJITConfig": jit,
            })),
            Err(MintRefused::NameTaken) => {
                Reply::exception(409, EXISTS, &format!("Already exists: a runner with the name {name}."))
            }
            Err(_) => Reply::exception(400, "System.ArgumentException", "The runner cannot be made."),
        }
    }

    pub(super) fn answer_agents(&self, asked: &Asked, scope: &str, id: Option<i64>, now: Timestamp) -> Reply {
        let rows: Vec<Value> = self.agents(scope, asked.query("agentName"), now);
        match id {
            None => Reply::list(&rows),
            Some(id) => match rows.into_iter().find(|row| row["id"] == id) {
                Some(row) => Reply::json(row),
                None => Reply::exception(404, NOT_FOUND, "No agent exists with this id."),
            },
        }
    }

    /// One that is not there was removed, as the service says.
    pub(super) fn answer_remove_agent(&mut self, scope: &str, id: i64, now: Timestamp) -> Reply {
        let Ok(id) = u64::try_from(id) else { return Reply::empty(204) };
        let busy = self.registration(scope, id).is_some_and(|there| self.look(there, now).busy);
        if busy {
            return Reply::exception(400, RUNNING, "The agent is still running a job.");
        }
        if self.registration(scope, id).is_some() {
            self.forget(id);
        }
        Reply::empty(204)
    }
}
