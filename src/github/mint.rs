//! Minting: generate-jitconfig, its outcomes, and the runner group that a pool names.

use std::time::Duration;

use http::{Method, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{
    Client, Endpoint, GithubError, Mint, MintedRunner, client,
    client::{Ask, Reply},
    link,
    listing::MAX_PAGES,
};
use crate::fleet::{RegistrationId, Target, Timestamp};

/// How long group ids are remembered.
const GROUPS_FRESH: Duration = Duration::from_hours(1);

/// Repositories have no groups; their runners are in the one that is numbered 1 (ubicloud#692).
const REPOSITORY_GROUP: u64 = 1;

/// The group names that an error lists at most.
const GROUPS_SHOWN: usize = 20;

/// A runner group of an organization or an enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerGroup {
    /// GitHub's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it is the one that runners are in when nothing else is said.
    #[serde(default)]
    pub default: bool,
    /// Which repositories may use it: `all`, `selected` or `private`.
    pub visibility: Option<String>,
    /// Whether public repositories may use it, which they may not unless somebody allows it.
    pub allows_public_repositories: Option<bool>,
    /// Whether it is the enterprise's and only lent to the organization.
    #[serde(default, deserialize_with = "or_default")]
    pub inherited: bool,
    /// Whether only some workflows may use it.
    #[serde(default, deserialize_with = "or_default")]
    pub restricted_to_workflows: bool,
    /// Which, where that is so.
    #[serde(default, deserialize_with = "or_default")]
    pub selected_workflows: Vec<String>,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The groups as last listed, and when.
pub(super) struct Groups {
    listed_at: Timestamp,
    groups: Vec<RunnerGroup>,
}

#[derive(Deserialize)]
struct GroupPage {
    total_count: Option<usize>,
    runner_groups: Vec<RunnerGroup>,
}

impl Client {
    /// Mints a runner: waits for its turn, finds the group, asks once.
    pub(super) async fn generate(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        self.mint_named(mint.name.as_str(), mint.group, mint.labels).await
    }

    /// The same for a runner of any name, for people who mint by hand.
    pub async fn mint_named(
        &self,
        name: &str,
        group: &str,
        labels: &[String],
    ) -> Result<MintedRunner, GithubError> {
        let group = self.group_id(group).await?;
        // Before it takes a turn that others could use.
        self.admitted(Endpoint::Mint).await?;
        let wait = self
            .limits()
            .mint_turn(self.deadline(), client::now())
            .map_err(|until| GithubError::RateLimited { until })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let body = json!({
            "name": name,
            "runner_group_id": group,
            "labels": labels,
            "work_folder": "_work",
        });
        let address = self.address("/actions/runners/generate-jitconfig")?;
        let ask = Ask { method: Method::POST, body: Some(&body), ..Ask::get(Endpoint::Mint, address) };
        let reply = self.ask(ask).await?;
        match reply.answer.status {
            StatusCode::CREATED => minted(&reply),
            StatusCode::CONFLICT => Err(GithubError::NameTaken),
            StatusCode::UNPROCESSABLE_ENTITY if says_registration_limit(&reply.complaint) => {
                Err(GithubError::RegistrationLimit(reply.complaint))
            }
            status => {
                if status == StatusCode::NOT_FOUND {
                    // The group may have been replaced by another of the same name.
                    self.group_cache().lock().await.take();
                }
                Err(self.refused(Endpoint::Mint, &reply))
            }
        }
    }

    /// The runner groups of an organization or an enterprise, as GitHub lists them now.
    pub async fn groups(&self) -> Result<Vec<RunnerGroup>, GithubError> {
        let mut address = self.address("/actions/runner-groups?per_page=100")?;
        let mut groups: Vec<RunnerGroup> = Vec::new();
        for _ in 0..MAX_PAGES {
            let reply = self.ask(Ask::get(Endpoint::Groups, address)).await?;
            if reply.answer.status != StatusCode::OK {
                return Err(self.refused(Endpoint::Groups, &reply));
            }
            let page: GroupPage = reply.answer.json()?;
            groups.extend(page.runner_groups);
            match link::next(&reply.answer.headers) {
                Some(next) => address = self.admit(&next)?,
                None if groups.len() < page.total_count.unwrap_or_default() => break,
                None => return Ok(groups),
            }
        }
        Err(GithubError::failed("incomplete list of runner groups"))
    }

    async fn group_id(&self, name: &str) -> Result<u64, GithubError> {
        if let Target::Repository { .. } = self.scope().target() {
            return Ok(REPOSITORY_GROUP);
        }
        // Held while asking, so that many mints at once ask once; and not for longer than an
        // exchange may take.
        let found = tokio::time::timeout(self.deadline(), async {
            let mut cache = self.group_cache().lock().await;
            let now = client::now();
            if let Some(known) = cache.as_ref().filter(|known| now.since(known.listed_at) < GROUPS_FRESH)
                && let Some(id) = find(&known.groups, name)
            {
                return Ok(id);
            }
            let groups = self.groups().await?;
            let found = find(&groups, name).ok_or_else(|| unknown(name, &groups));
            *cache = Some(Groups { listed_at: now, groups });
            found
        });
        found
            .await
            .unwrap_or_else(|_| Err(GithubError::failed("the runner groups could not be listed in time")))
    }
}

/// Reads what came with a 201. The registration exists from then on, whatever else is missing, so
/// its id must not get lost in an error.
fn minted(reply: &Reply) -> Result<MintedRunner, GithubError> {
    let body: Value = reply.answer.json()?;
    let Some(id) = body["runner"]["id"].as_u64().map(RegistrationId) else {
        return Err(GithubError::failed("201 without the id of a runner"));
    };
    match body["encoded_jit_config"].as_str().map(str::trim) {
        None | Some("") => Err(GithubError::NoJitConfig { id }),
        Some(config) => Ok(MintedRunner { id, jit: SecretString::from(config) }),
    }
}

/// The group of a name; "Default" is whichever group GitHub marks so, since it can be renamed.
fn find(groups: &[RunnerGroup], name: &str) -> Option<u64> {
    let named = groups.iter().find(|group| group.name.eq_ignore_ascii_case(name));
    let default = || groups.iter().find(|group| group.default && name.eq_ignore_ascii_case("default"));
    named.or_else(default).map(|group| group.id)
}

fn unknown(name: &str, groups: &[RunnerGroup]) -> GithubError {
    let mut names: Vec<String> =
        groups.iter().take(GROUPS_SHOWN).map(|group| format!("{:?}", group.name)).collect();
    if groups.len() > GROUPS_SHOWN {
        names.push(format!("{} more", groups.len() - GROUPS_SHOWN));
    }
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    GithubError::Refused(format!("there is no runner group {name:?}; the token sees: {names}"))
}

/// Whether the text of a 422 is that of a full runner group. GitHub gives no other sign: "Runner
/// group 1 has reached max limit of 10000 runners" (ggml-org/llama.cpp#7893, ubicloud#6102).
fn says_registration_limit(complaint: &str) -> bool {
    complaint.to_ascii_lowercase().contains("max limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u64, name: &str, default: bool) -> RunnerGroup {
        let group = serde_json::json!({ "id": id, "name": name, "default": default });
        serde_json::from_value(group).unwrap()
    }

    #[test]
    fn a_group_is_found_by_name_and_the_default_by_its_mark() {
        let groups = [group(1, "Everyone", true), group(7, "gpu", false)];
        assert_eq!(find(&groups, "Default"), Some(1));
        assert_eq!(find(&groups, "everyone"), Some(1));
        assert_eq!(find(&groups, "gpu"), Some(7));
        assert_eq!(find(&groups, "cpu"), None);
    }

    #[test]
    fn an_unknown_group_is_refused_with_those_that_exist() {
        let groups: Vec<_> = (0..30).map(|id| group(id, &format!("g{id}"), false)).collect();
        let text = unknown("gpu", &groups).to_string();
        assert!(text.contains("\"gpu\"") && text.contains("\"g19\", 10 more"), "{text}");
    }

    #[test]
    fn a_full_group_is_told_from_other_422s() {
        assert!(says_registration_limit("Runner group 1 has reached max limit of 10000 runners"));
        assert!(!says_registration_limit("Invalid property /labels: 1 item required; only 0 were supplied"));
    }
}
