//! Scale sets themselves: found by name in a runner group, created, brought up to date, deleted.

use std::fmt;

use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    ScaleSetError, ScaleSets,
    problem::{Exception, Problem},
    service::Call,
};
use crate::{
    fleet::Target,
    github::{GithubError, lenient_json::Row, lenient_json::name_in},
};

/// GitHub's id of a scale set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScaleSetId(pub i64);

impl fmt::Display for ScaleSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A scale set as returned by the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleSet {
    /// GitHub's number.
    pub id: ScaleSetId,
    /// Its name, unique in its runner group.
    pub name: String,
    /// The labels that jobs find it by. GHES before 3.21 may have dropped all but the name.
    pub labels: Vec<String>,
    /// Whether automatic updates of its runners are disabled; `None` where the service does not report it.
    pub update_disabled: Option<bool>,
}

/// A set that exists now, just created or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// The set.
    pub set: ScaleSet,
    /// Whether it was created just now.
    pub created: bool,
}

/// The number of the default runner group, which is never looked up (actions-runner-controller,
/// `createRunnerScaleSet`).
const DEFAULT_GROUP: i64 = 1;

pub(super) const SETS: &str = "runtime/runnerscalesets";

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(super) struct ServiceList<T> {
    /// The total that the service reports; `value` may hold fewer.
    pub(super) count: Option<usize>,
    pub(super) value: Option<Vec<Row<T>>>,
}

#[derive(Deserialize)]
struct Group {
    id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScaleSetBody {
    id: Option<i64>,
    name: Option<String>,
    labels: Option<Vec<LabelBody>>,
    #[serde(rename = "RunnerSetting", alias = "runnerSetting")]
    setting: Option<SettingBody>,
}

#[derive(Deserialize)]
struct LabelBody {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettingBody {
    disable_update: Option<bool>,
}

impl ScaleSetBody {
    fn set(self) -> Result<ScaleSet, GithubError> {
        let id = self.id.ok_or_else(|| GithubError::failed("the scale set has no id"))?;
        Ok(ScaleSet {
            id: ScaleSetId(id),
            name: self.name.unwrap_or_default(),
            labels: self.labels.unwrap_or_default().into_iter().filter_map(|label| label.name).collect(),
            update_disabled: self.setting.and_then(|setting| setting.disable_update),
        })
    }
}

impl ScaleSets {
    /// The set of this name in a runner group, if there is one.
    pub async fn find(&self, group: &str, name: &str) -> Result<Option<ScaleSet>, ScaleSetError> {
        let group = self.group_id(group).await?;
        Ok(self.find_in(group, name).await?)
    }

    /// Finds the set of this name, or creates it with these labels. An existing set is not changed: it may
    /// belong to another installation, and its labels cannot be changed.
    pub async fn ensure(&self, group: &str, name: &str, labels: &[String]) -> Result<Ensured, ScaleSetError> {
        let group = self.group_id(group).await?;
        if let Some(set) = self.find_in(group, name).await? {
            return Ok(Ensured { set, created: false });
        }
        match self.create_in(group, name, labels).await? {
            Ok(set) => Ok(Ensured { set, created: true }),
            // The response to an earlier request was lost, or another client was quicker.
            Err(problem) => match self.find_in(group, name).await? {
                Some(set) => Ok(Ensured { set, created: false }),
                None => Err(problem.error(&format!("creating the scale set {name:?}")).into()),
            },
        }
    }

    /// Deletes a set with its offline runners; returns whether it existed. The service refuses while one of
    /// its jobs is running, but not while it has a session: the caller has to check that.
    pub async fn delete(&self, set: &ScaleSet) -> Result<bool, ScaleSetError> {
        let name = &set.name;
        let path = format!("{SETS}/{}", set.id);
        match self.call(Call { method: Method::DELETE, ..Call::get("scale_set", &path) }).await? {
            Ok(_) => Ok(true),
            Err(problem) if problem.exception == Exception::NoSuchSet => Ok(false),
            Err(problem) if problem.status == StatusCode::NOT_FOUND => Ok(false),
            Err(problem) if problem.exception == Exception::JobStillRunning => {
                let says = problem.says;
                let why = format!(
                    "a job is running on a runner of the scale set {name:?}; retry when it has finished \
                     ({says})"
                );
                Err(GithubError::Refused(why).into())
            }
            Err(problem) => Err(problem.error(&format!("deleting the scale set {name:?}")).into()),
        }
    }

    async fn find_in(&self, group: i64, name: &str) -> Result<Option<ScaleSet>, GithubError> {
        let group = group.to_string();
        let query = [("runnerGroupId", group.as_str()), ("name", name)];
        let found = self.call(Call { query: &query, ..Call::get("scale_set", SETS) }).await?;
        let what = || format!("looking up the scale set {name:?}");
        let answer = found.map_err(|problem| problem.error(&what()))?;
        let listed: ServiceList<ScaleSetBody> = answer.json()?;
        let sets = listed.value.unwrap_or_default();
        let (counted, received) = (listed.count.unwrap_or(sets.len()), sets.len());
        // A server that does not know the filter lists all sets of the scope.
        let wanted = name.to_lowercase();
        let is_it = |name: Option<&String>| name.is_some_and(|name| name.to_lowercase() == wanted);
        let lost = |row: &Row<ScaleSetBody>| match row {
            Row::Read(_) => false,
            Row::Unreadable(raw) => name_in(raw).is_none_or(|name| is_it(Some(&name))),
        };
        if sets.iter().any(lost) {
            return Err(GithubError::failed(format!("unreadable response when {}", what())));
        }
        let mut named = sets.into_iter().filter_map(Row::read).filter(|set| is_it(set.name.as_ref()));
        match (named.next(), named.count()) {
            (Some(wire), 0) => wire.set().map(Some),
            (Some(_), more) => {
                Err(GithubError::failed(format!("found {} scale sets when {}", more + 1, what())))
            }
            (None, _) if counted > received => Err(GithubError::failed(format!(
                "incomplete list when {}: GitHub reports {counted} but listed {received}",
                what()
            ))),
            (None, _) => Ok(None),
        }
    }

    async fn create_in(
        &self,
        group: i64,
        name: &str,
        labels: &[String],
    ) -> Result<Result<ScaleSet, Problem>, GithubError> {
        let labels: Vec<Value> =
            labels.iter().map(|label| json!({ "type": "System", "name": label })).collect();
        let body = json!({
            "name": name,
            "runnerGroupId": group,
            "labels": labels,
            "RunnerSetting": { "disableUpdate": true },
        });
        match self.call(Call::post("scale_set", SETS, &body)).await? {
            Ok(answer) => Ok(Ok(answer.json::<ScaleSetBody>()?.set()?)),
            Err(problem) if problem.status.is_client_error() => Ok(Err(problem)),
            Err(problem) => Err(problem.error(&format!("creating the scale set {name:?}"))),
        }
    }

    /// Disables automatic updates of a set's runners. Only the owner of its session may change a set.
    pub async fn disable_update(&self, set: ScaleSetId) -> Result<(), ScaleSetError> {
        let path = format!("{SETS}/{set}");
        let body = json!({ "RunnerSetting": { "disableUpdate": true } });
        let call = Call { method: Method::PATCH, ..Call::post("scale_set", &path, &body) };
        let changed = self.call(call).await?;
        changed.map(drop).map_err(|problem| problem.error("updating the scale set").into())
    }

    async fn group_id(&self, name: &str) -> Result<i64, GithubError> {
        if matches!(self.client().scope().target(), Target::Repository { .. })
            || name.eq_ignore_ascii_case("default")
        {
            return Ok(DEFAULT_GROUP);
        }
        let query = [("groupName", name)];
        let found = self.call(Call { query: &query, ..Call::get("groups", "runtime/runnergroups/") }).await?;
        let answer =
            found.map_err(|problem| problem.error(&format!("looking up the runner group {name:?}")))?;
        let listed: ServiceList<Group> = answer.json()?;
        let groups = listed.value.unwrap_or_default();
        let count = listed.count.unwrap_or(groups.len());
        match (count, groups.into_iter().find_map(|row| row.read()?.id)) {
            (1, Some(id)) => Ok(id),
            (0, _) => Err(GithubError::Refused(format!(
                "there is no runner group {name:?} in {}; create it, or correct the pool's group",
                self.client().scope()
            ))),
            (count, _) => {
                Err(GithubError::failed(format!("there are {count} runner groups with the name {name:?}")))
            }
        }
    }
}
