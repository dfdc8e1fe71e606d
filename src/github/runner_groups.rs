//! The runner groups of an organization or enterprise: listing them, their access, and finding a pool's group
//! by name.

use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    GithubError,
    endpoint::Endpoint,
    lenient_json::Row,
    paging::{Cost, List, PageBody, Pages},
    rest::{Response, RestClient},
    single_flight::SingleFlight,
};
use crate::{
    clock,
    fleet::{Instant, Target},
};

/// More pages than any list has: a group serves 10,000 repositories at most, a hundred pages.
const MAX_PAGES: usize = 500;

/// How long groups are cached.
const GROUPS_FRESH: Duration = Duration::from_hours(1);

/// After a refused mint they are listed once in so long, but for a 404, which nearly always means the group.
const REFRESH_PAUSE: Duration = Duration::from_mins(1);

/// Repositories have no groups; their runners are in the one that is numbered 1 (ubicloud#692).
const REPOSITORY_GROUP: u64 = 1;

/// The group that GitHub reserves for its own runners; adding one is answered with 403.
const HOSTED_GROUP: u64 = 2;

/// The group names that an error lists at most.
const GROUPS_SHOWN: usize = 20;

/// A runner group of an organization or enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerGroup {
    /// GitHub's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it is the default group.
    #[serde(default)]
    pub default: bool,
    /// Whom it serves: `all`, `selected` or `private` repositories of an organization, `all` or
    /// `selected` organizations of an enterprise.
    pub visibility: Option<String>,
    /// Whether public repositories may use it; the default is no.
    pub allows_public_repositories: Option<bool>,
    /// Whether it is the enterprise's, shown to the organization.
    #[serde(default, deserialize_with = "or_default")]
    pub inherited: bool,
    /// Whether only [`Self::selected_workflows`] may use it.
    #[serde(default, deserialize_with = "or_default")]
    pub restricted_to_workflows: bool,
    /// Those workflows, as `owner/repository/path@ref`.
    #[serde(default, deserialize_with = "or_default")]
    pub selected_workflows: Vec<String>,
}

/// The groups of a scope as they were last listed, for mints.
#[derive(Default)]
pub(super) struct GroupCache {
    known: Mutex<Option<Groups>>,
    /// Many mints at once list the groups once.
    listing: SingleFlight,
}

/// The groups of the last list, and its time.
struct Groups {
    listed_at: Instant,
    /// When a refused mint had them listed.
    refreshed_at: Option<Instant>,
    rows: Vec<RunnerGroup>,
}

/// A repository that a group serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupRepository {
    /// GitHub's number.
    pub id: Option<u64>,
    /// `owner/name`
    pub full_name: String,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The runner groups of an organization (the enterprise's that it sees among them) or of an enterprise, as GitHub
/// lists them now.
pub(super) async fn groups(rest: &RestClient) -> Result<Vec<RunnerGroup>, GithubError> {
    all(rest, Endpoint::Groups, "/actions/runner-groups?per_page=100", "runner_groups").await
}

/// The repositories that a group of an organization with `visibility` `selected` serves.
pub(super) async fn group_repositories(
    rest: &RestClient,
    group: u64,
) -> Result<Vec<GroupRepository>, GithubError> {
    let path = format!("/actions/runner-groups/{group}/repositories?per_page=100");
    all(rest, Endpoint::GroupRepositories, &path, "repositories").await
}

/// All pages of a list, whose rows are under `key`; an incomplete one is an error. PageBody that cannot be read are left
/// out.
async fn all<T: DeserializeOwned + Clone + Send + Sync>(
    rest: &RestClient,
    endpoint: Endpoint,
    path: &str,
    key: &'static str,
) -> Result<Vec<T>, GithubError> {
    let of = rest.scope();
    let read = |reply: &Response| {
        let mut page: Value = reply.answer.json()?;
        let total = page["total_count"].as_u64().unwrap_or_default();
        // serde's error text would quote the input.
        let rows: Vec<Row<T>> = serde_json::from_value(page[key].take())
            .map_err(|_| GithubError::failed(format!("a list with unreadable {key}")))?;
        let (rows, unreadable) = rest.readable(rows, key, of);
        Ok(PageBody { total, rows, unreadable })
    };
    let list = List { rest, endpoint, of, max_pages: MAX_PAGES, read: &read };
    let walked =
        list.walk(rest.address(path)?, &mut Pages::default(), &mut Cost::default(), |_| false).await?;
    let incomplete = || GithubError::failed(format!("incomplete list of {key}"));
    let walked = walked.ok_or_else(incomplete)?;
    let counted = walked.pages.last().map_or(0, |page| page.total);
    let received = walked.rows().count() + walked.unreadable().count();
    if walked.cut.is_some() || (received as u64) < counted {
        return Err(incomplete());
    }
    Ok(walked.rows().cloned().collect())
}

impl GroupCache {
    /// The number of the group that a pool names.
    pub(super) async fn id_of(&self, rest: &RestClient, name: &str) -> Result<u64, GithubError> {
        if let Target::Repository { .. } = rest.scope().target() {
            return Ok(REPOSITORY_GROUP);
        }
        let cached = || {
            let known = self.known.lock();
            let known = known.as_ref().filter(|known| clock::now().since(known.listed_at) < GROUPS_FRESH)?;
            find(&known.rows, name).map(|group| Ok(group.id))
        };
        let listed = self.listing.one(cached, async {
            let listed_at = clock::now();
            let rows = Box::pin(groups(rest)).await?;
            let found = find(&rows, name).map(|group| group.id).ok_or_else(|| unknown(name, &rows));
            *self.known.lock() = Some(Groups { listed_at, refreshed_at: None, rows });
            // That this one does not exist is no failure for those who wait for another.
            Ok(found)
        });
        // No longer than an exchange may take.
        let listed = tokio::time::timeout(rest.deadline(), listed).await;
        listed
            .unwrap_or_else(|_| Err(GithubError::failed("the runner groups could not be listed in time")))?
    }

    /// What a refused mint into a group may have met: the group's number if it has another one by now, since it was
    /// deleted and created again; an error if the group cannot be used; `None` if it is not the group.
    pub(super) async fn id_after_refusal(
        &self,
        rest: &RestClient,
        name: &str,
        id: u64,
        status: StatusCode,
    ) -> Result<Option<u64>, GithubError> {
        if let Target::Repository { .. } = rest.scope().target() {
            return Ok(None);
        }
        let fresh = || {
            let known = self.known.lock();
            let has_another = |known: &Groups| find(&known.rows, name).is_some_and(|group| group.id != id);
            let was_refreshed =
                |known: &Groups| known.refreshed_at.is_some_and(|at| clock::now().since(at) < REFRESH_PAUSE);
            let is_fresh = match status {
                StatusCode::FORBIDDEN => true,
                StatusCode::NOT_FOUND => known.as_ref().is_some_and(has_another),
                _ => known.as_ref().is_some_and(|known| has_another(known) || was_refreshed(known)),
            };
            is_fresh.then_some(())
        };
        let refreshed = self.listing.one(fresh, async {
            self.known.lock().take();
            let rows = Box::pin(groups(rest)).await?;
            let now = clock::now();
            *self.known.lock() = Some(Groups { listed_at: now, refreshed_at: Some(now), rows });
            Ok(())
        });
        if refreshed.await.is_err() {
            return Ok(None);
        }
        let known = self.known.lock();
        let Some(Groups { rows: groups, .. }) = &*known else { return Ok(None) };
        match find(groups, name) {
            None => Err(unknown(name, groups)),
            Some(group) if group.id != id => Ok(Some(group.id)),
            Some(group) if status == StatusCode::NOT_FOUND || group.is_foreign() => {
                Err(unusable(group, status, groups))
            }
            Some(_) => Ok(None),
        }
    }
}

impl RunnerGroup {
    /// Whether this scope cannot add runners to it.
    fn is_foreign(&self) -> bool {
        self.inherited || self.id == HOSTED_GROUP
    }
}

/// The group of a name; of two the organization's own before the enterprise's. "Default" is
/// the group that GitHub marks so, since it can be renamed.
fn find<'g>(groups: &'g [RunnerGroup], name: &str) -> Option<&'g RunnerGroup> {
    let named = groups.iter().filter(|group| group.name.eq_ignore_ascii_case(name));
    let default = || groups.iter().find(|group| group.default && name.eq_ignore_ascii_case("default"));
    named.min_by_key(|group| group.inherited).or_else(default)
}

fn unknown(name: &str, groups: &[RunnerGroup]) -> GithubError {
    GithubError::Refused(format!(
        "there is no runner group {name:?}; visible to the token: {}",
        names(groups.iter())
    ))
}

fn unusable(group: &RunnerGroup, status: StatusCode, groups: &[RunnerGroup]) -> GithubError {
    let why = if group.id == HOSTED_GROUP {
        "is for GitHub's own runners"
    } else if group.inherited {
        "belongs to the enterprise: its runners are registered at the enterprise"
    } else {
        "accepts no runners, although GitHub lists it"
    };
    let usable = groups.iter().filter(|other| other.id != group.id && !other.is_foreign());
    GithubError::Refused(format!(
        "runner group {:?} {why} ({}); set group to another one: {}",
        group.name,
        status.as_u16(),
        names(usable)
    ))
}

fn names<'g>(groups: impl Iterator<Item = &'g RunnerGroup>) -> String {
    let mut names: Vec<String> = groups.map(|group| format!("{:?}", group.name)).collect();
    if names.len() > GROUPS_SHOWN {
        let more = names.len() - GROUPS_SHOWN;
        names.truncate(GROUPS_SHOWN);
        names.push(format!("{more} more"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u64, name: &str, default: bool) -> RunnerGroup {
        RunnerGroup {
            id,
            name: name.to_owned(),
            default,
            visibility: None,
            allows_public_repositories: None,
            inherited: false,
            restricted_to_workflows: false,
            selected_workflows: Vec::new(),
        }
    }

    #[test]
    fn a_group_is_found_by_name_and_the_default_by_its_mark() {
        let inherited = RunnerGroup { inherited: true, ..group(4, "gpu", false) };
        let groups = [group(1, "Everyone", true), inherited, group(7, "gpu", false)];
        let found = |name| find(&groups, name).map(|group| group.id);
        assert_eq!(found("Default"), Some(1));
        assert_eq!(found("everyone"), Some(1));
        assert_eq!(found("gpu"), Some(7));
        assert_eq!(found("cpu"), None);
    }

    #[test]
    fn an_unknown_group_is_refused_with_those_that_exist() {
        let groups: Vec<_> = (0..30).map(|id| group(id, &format!("g{id}"), false)).collect();
        let text = unknown("gpu", &groups).to_string();
        assert!(text.contains("\"gpu\"") && text.contains("\"g19\", 10 more"), "{text}");
    }

    #[test]
    fn an_unusable_group_is_refused_with_those_that_can_be_used() {
        let hosted = group(2, "GitHub Actions", false);
        let inherited = RunnerGroup { inherited: true, ..group(4, "ent", false) };
        let groups = [group(1, "Default", true), hosted.clone(), inherited.clone()];
        for (group, why) in [(&hosted, "GitHub's own"), (&inherited, "the enterprise")] {
            let text = unusable(group, StatusCode::FORBIDDEN, &groups).to_string();
            assert!(text.contains(why) && text.ends_with("another one: \"Default\""), "{text}");
        }
    }

    #[test]
    fn what_a_server_leaves_out_or_nulls_has_a_meaning() {
        let read: RunnerGroup =
            serde_json::from_str(r#"{"id":1,"name":"a","inherited":null,"selected_workflows":null}"#)
                .unwrap();
        assert_eq!(read, group(1, "a", false));
    }
}
