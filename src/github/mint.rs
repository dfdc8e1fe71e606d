//! Minting: generate-jitconfig and its outcomes.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    GithubError, MintedRunner,
    endpoint::Endpoint,
    rest::{Reason, Request, Response, RestClient},
    runner_groups::GroupCache,
};
use crate::fleet::RegistrationId;

/// How long no mint is requested after GitHub has reported that the repository is archived.
const ARCHIVED_PAUSE: Duration = Duration::from_hours(1);

/// What is remembered from one mint to the next.
#[derive(Default)]
pub(super) struct Mints {
    groups: GroupCache,
    /// Since when mints are refused because the repository is archived, and the error.
    archived: Mutex<Option<(Instant, String)>>,
}

impl Mints {
    /// Mints a runner: finds the group, asks once; and once more if the group has another number by now.
    pub(super) async fn mint(
        &self,
        rest: &RestClient,
        name: &str,
        group: &str,
        labels: &[String],
    ) -> Result<MintedRunner, GithubError> {
        let group_id = self.groups.id_of(rest, group).await?;
        if let Some(refusal) = self.archived() {
            return Err(refusal);
        }
        let refused = match ask(rest, name, group_id, labels).await? {
            Ok(minted) => return Ok(minted),
            Err(refused) => refused,
        };
        let status = refused.answer.status;
        if status == StatusCode::FORBIDDEN
            && Reason::of(&refused.answer.headers, &refused.complaint) == Reason::Archived
        {
            return Err(self.note_archived(rest.refused(Endpoint::Mint, &refused)));
        }
        // Nothing was registered, so a retry is safe.
        let Some(group_id) = self.groups.id_after_refusal(rest, group, group_id, status).await? else {
            return Err(rest.refused(Endpoint::Mint, &refused));
        };
        let minted = ask(rest, name, group_id, labels).await?;
        minted.map_err(|refused| rest.refused(Endpoint::Mint, &refused))
    }

    /// The refusal of a mint for an archived repository, while it is not asked again.
    fn archived(&self) -> Option<GithubError> {
        let archived = self.archived.lock();
        let (since, why) = archived.as_ref()?;
        (since.elapsed() < ARCHIVED_PAUSE).then(|| GithubError::Refused(why.clone()))
    }

    fn note_archived(&self, refusal: GithubError) -> GithubError {
        if let GithubError::Refused(why) = &refusal {
            *self.archived.lock() = Some((Instant::now(), why.clone()));
        }
        refusal
    }
}

/// Asks for one runner; a refusal that may mean the group is the caller's to read.
async fn ask(
    rest: &RestClient,
    name: &str,
    group_id: u64,
    labels: &[String],
) -> Result<Result<MintedRunner, Response>, GithubError> {
    let body = json!({
        "name": name,
        "runner_group_id": group_id,
        "labels": labels,
        "work_folder": "_work",
    });
    let address = rest.address("/actions/runners/generate-jitconfig")?;
    let ask = Request { method: Method::POST, body: Some(&body), ..Request::get(Endpoint::Mint, address) };
    let reply = rest.ask(ask).await?;
    match reply.answer.status {
        StatusCode::CREATED => minted(&reply).map(Ok),
        StatusCode::CONFLICT => Err(GithubError::NameTaken),
        StatusCode::UNPROCESSABLE_ENTITY if says_registration_limit(&reply.complaint) => {
            Err(GithubError::RegistrationLimit(reply.complaint))
        }
        StatusCode::BAD_REQUEST
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::UNPROCESSABLE_ENTITY => Ok(Err(reply)),
        _ => Err(rest.refused(Endpoint::Mint, &reply)),
    }
}

/// Reads what came with a 201. The registration exists from then on, even if all else is missing, so
/// its id must not get lost in an error.
fn minted(reply: &Response) -> Result<MintedRunner, GithubError> {
    let body: Value = reply.answer.json()?;
    let Some(id) = body["runner"]["id"].as_u64().map(RegistrationId) else {
        return Err(GithubError::failed("status 201 without a runner id"));
    };
    match body["encoded_jit_config"].as_str().map(str::trim) {
        None | Some("") => Err(GithubError::NoJitConfig { id }),
        Some(config) => Ok(MintedRunner { id, jit: SecretString::from(config) }),
    }
}

/// Whether the text of a 422 is that of a full runner group. GitHub gives no other sign: "Runner
/// group 1 has reached max limit of 10000 runners" (ggml-org/llama.cpp#7893, ubicloud#6102).
fn says_registration_limit(complaint: &str) -> bool {
    complaint.to_ascii_lowercase().contains("max limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_group_is_distinguished_from_other_422s() {
        assert!(says_registration_limit("Runner group 1 has reached max limit of 10000 runners"));
        assert!(!says_registration_limit("Invalid property /labels: 1 item required; only 0 were supplied"));
    }
}
