//! The labels of one runner: listing them, and changing custom ones.

use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, GithubError, endpoint::Endpoint, rest::Request, transport::encoded};
use crate::fleet::RegistrationId;

/// A label of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerLabel {
    /// GitHub's number.
    pub id: Option<u64>,
    /// What `runs-on` names.
    pub name: String,
    /// `read-only` for those that the runner's own configuration gave it, `custom` for all others.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

impl RunnerLabel {
    /// Whether GitHub refuses to remove it.
    pub fn is_read_only(&self) -> bool {
        self.kind.as_deref() == Some("read-only")
    }
}

impl Client {
    /// The labels of a runner.
    pub async fn labels(&self, id: RegistrationId) -> Result<Vec<RunnerLabel>, GithubError> {
        self.ask_labels(Endpoint::Labels, Method::GET, self.labels_address(id)?, None).await
    }

    /// Adds custom labels; returns all labels that the runner has then.
    pub async fn add_labels(
        &self,
        id: RegistrationId,
        names: &[String],
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.change_labels(Method::POST, self.labels_address(id)?, Some(&json!({ "labels": names }))).await
    }

    /// Replaces all custom labels; returns all labels that the runner has then.
    pub async fn set_labels(
        &self,
        id: RegistrationId,
        names: &[String],
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.change_labels(Method::PUT, self.labels_address(id)?, Some(&json!({ "labels": names }))).await
    }

    /// Removes one custom label; returns those that the runner has then. [`GithubError::NotFound`] when it
    /// has no such label, or there is no such runner.
    pub async fn remove_label(
        &self,
        id: RegistrationId,
        name: &str,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        // As the end of a path these would mean all labels, or the runner itself.
        if matches!(name, "" | "." | "..") {
            return Err(GithubError::Refused(format!("{name:?} is not a valid name for a label")));
        }
        let name = encoded(name);
        let address = self.rest().address(&format!("/actions/runners/{id}/labels/{name}"))?;
        self.change_labels(Method::DELETE, address, None).await
    }

    /// Removes all custom labels; returns those that the runner has then, the read-only ones.
    pub async fn remove_all_labels(&self, id: RegistrationId) -> Result<Vec<RunnerLabel>, GithubError> {
        self.change_labels(Method::DELETE, self.labels_address(id)?, None).await
    }

    fn labels_address(&self, id: RegistrationId) -> Result<Uri, GithubError> {
        self.rest().address(&format!("/actions/runners/{id}/labels"))
    }

    async fn change_labels(
        &self,
        method: Method,
        address: Uri,
        body: Option<&Value>,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        self.ask_labels(Endpoint::ChangeLabels, method, address, body).await
    }

    /// Every call answers 200 with the labels, removals too.
    async fn ask_labels(
        &self,
        endpoint: Endpoint,
        method: Method,
        address: Uri,
        body: Option<&Value>,
    ) -> Result<Vec<RunnerLabel>, GithubError> {
        let reply = self.rest().ask(Request { method, body, ..Request::get(endpoint, address) }).await?;
        match reply.answer.status {
            StatusCode::OK => reply.answer.json::<LabelsBody>().map(LabelsBody::labels),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            _ => Err(self.rest().refused(endpoint, &reply)),
        }
    }
}

/// Labels as sent.
#[derive(Deserialize)]
struct LabelsBody {
    labels: Vec<Value>,
}

impl LabelsBody {
    /// Those that have a name; what is no label spoils nothing.
    fn labels(self) -> Vec<RunnerLabel> {
        self.labels.into_iter().filter_map(|label| serde_json::from_value(label).ok()).collect()
    }
}
