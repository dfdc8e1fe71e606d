//! The runners of a scale set: minted by the set, removed by the service, which refuses while one
//! has a job.

use std::{sync::Arc, time::Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    ScaleSetId, ScaleSets,
    problem::Exception,
    service::Call,
    sets::{SETS, ServiceList},
};
use crate::{
    fleet::{Registration, RegistrationId, RunnerStatus},
    github::{
        GithubError, Listing, Mint, MintedRunner, RunnerApi,
        lenient_json::name_in,
        lenient_json::{Row, lenient},
    },
};

/// Below the service's base; the pool's number is always 0.
const AGENTS: &str = "distributedtask/pools/0/agents";

/// The runners of the set that we hold the session of. Cheap to clone; clones share the set.
///
/// Without a session nothing is minted: the set may be another client's, and its jobs with it.
#[derive(Clone, Debug)]
pub struct ScaleSetRunners {
    sets: ScaleSets,
    serving: Arc<Mutex<Serving>>,
}

/// Which set we serve, or why we do not.
#[derive(Clone, Debug)]
enum Serving {
    Set(ScaleSetId),
    No(String),
}

/// A runner as sent; the service calls it an agent. `status` and `busy` are known from other
/// clients only (cloudbase/garm), so they may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    id: Option<u64>,
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    busy: Option<bool>,
}

#[derive(Deserialize)]
struct Minted {
    runner: Option<Agent>,
    #[serde(rename = "encodedJITConfig", default)]
    jit: SecretString,
}

impl ScaleSetRunners {
    /// Runners of a set that is not known yet.
    pub fn new(sets: ScaleSets) -> Self {
        let serving = Serving::No("its session is not open yet".to_owned());
        Self { sets, serving: Arc::new(Mutex::new(serving)) }
    }

    /// The scale sets of the scope.
    pub fn sets(&self) -> &ScaleSets {
        &self.sets
    }

    /// From now on the set is ours.
    pub fn hold(&self, set: ScaleSetId) {
        self.set_serving(Serving::Set(set));
    }

    /// From now on no set is ours; `why` reads after "is not in use here: ".
    pub fn let_go(&self, why: impl Into<String>) {
        self.set_serving(Serving::No(why.into()));
    }

    fn set_serving(&self, now: Serving) {
        *self.serving.lock() = now;
    }

    fn set(&self) -> Result<ScaleSetId, GithubError> {
        match &*self.serving.lock() {
            Serving::Set(set) => Ok(*set),
            Serving::No(why) => {
                Err(GithubError::Refused(format!("the pool's scale set is not in use here: {why}")))
            }
        }
    }

    /// The runner of this name, if there is one: what a mint leaves whose reply was lost.
    pub async fn find(&self, name: &str) -> Result<Option<RegistrationId>, GithubError> {
        let query = [("agentName", name)];
        let found = self.sets.call(Call { query: &query, ..Call::get("get", AGENTS) }).await?;
        let answer = found.map_err(|problem| problem.error("getting a runner of the scale set"))?;
        let listed: ServiceList<Agent> = answer.json()?;
        for row in listed.value.unwrap_or_default() {
            match row {
                Row::Read(Agent { id: Some(id), name: Some(found), .. }) if found == name => {
                    return Ok(Some(RegistrationId(id)));
                }
                Row::Unreadable(raw) if name_in(&raw).is_none_or(|found| found == name) => {
                    return Err(GithubError::failed(format!(
                        "GitHub's record of runner {name} cannot be read"
                    )));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl ScaleSets {
    /// The runners of all scale sets of the scope, of all clients, in full. An incomplete list is an
    /// error. It is the same for each of the scope's sets, so that asking once for all is enough.
    ///
    /// The scope's own list has these runners too. While that does not change, and nothing of ours was minted or
    /// removed, the answer of before is given for some minutes.
    pub async fn list(&self) -> Result<Listing, GithubError> {
        let (now, revision) = (Instant::now(), self.client().list_revision());
        if let Some(listing) = self.listed().again(revision, now) {
            return Ok(listing);
        }
        let listing = self.list_now().await?;
        self.listed().keep(revision, now, &listing);
        Ok(listing)
    }

    async fn list_now(&self) -> Result<Listing, GithubError> {
        let found = self.call(Call::get("list", AGENTS)).await?;
        let answer = found.map_err(|problem| problem.error("listing the runners of the scale sets"))?;
        let listed: ServiceList<Agent> = answer.json()?;
        let rows = listed.value.unwrap_or_default();
        let (counted, received) = (listed.count.unwrap_or(rows.len()), rows.len());
        if counted > received {
            return Err(GithubError::failed(format!(
                "incomplete list: GitHub reports {counted} runners but listed {received}"
            )));
        }
        let mut listing = Listing::default();
        for row in rows {
            match row {
                Row::Read(Agent { id: Some(id), name: Some(name), status, busy }) => {
                    listing.registrations.push(registration(id, name, status.as_deref(), busy));
                }
                Row::Read(agent) => listing.unreadable.push(agent.name),
                Row::Unreadable(raw) => listing.unreadable.push(name_in(&raw)),
            }
        }
        let client = self.client();
        client.rest().report_unreadable("runners of scale sets", client.scope(), listing.unreadable.len());
        Ok(listing)
    }
}

impl RunnerApi for ScaleSetRunners {
    /// Those of all clients in the scope, as [`ScaleSets::list`].
    async fn list(&self) -> Result<Listing, GithubError> {
        self.sets.list().await
    }

    /// Group and labels are the set's own.
    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        let set = self.set()?;
        self.sets.listed().changes(Instant::now());
        let path = format!("{SETS}/{set}/generatejitconfig");
        let body = json!({ "name": mint.name.as_str(), "workFolder": "_work" });
        let answer = match self.sets.call(Call::post("mint", &path, &body)).await? {
            Ok(answer) => answer,
            Err(problem) => {
                return Err(match (problem.exception, problem.status) {
                    (Exception::RunnerExists, _) | (Exception::Other, StatusCode::CONFLICT) => {
                        GithubError::NameTaken
                    }
                    _ => problem.error("registering a runner for the scale set"),
                });
            }
        };
        // It exists from here on, so its id must not get lost in an error.
        let minted: Minted = answer.json()?;
        let Some(id) = minted.runner.and_then(|runner| runner.id).map(RegistrationId) else {
            return Err(GithubError::failed("the new runner has no id"));
        };
        match minted.jit.expose_secret().trim() {
            "" => Err(GithubError::NoJitConfig { id }),
            config => Ok(MintedRunner { id, jit: SecretString::from(config) }),
        }
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        self.sets.listed().changes(Instant::now());
        let path = format!("{AGENTS}/{id}");
        let call = Call { method: Method::DELETE, ..Call::get("delete", &path) };
        let Err(problem) = self.sets.call(call).await? else { return Ok(()) };
        match (problem.exception, problem.status) {
            (Exception::JobStillRunning, _) => Err(GithubError::Busy),
            (Exception::NoSuchRunner, _) | (Exception::Other, StatusCode::NOT_FOUND) => {
                Err(GithubError::NotFound)
            }
            _ => Err(problem.error("removing a runner of the scale set")),
        }
    }
}

fn registration(id: u64, name: String, status: Option<&str>, busy: Option<bool>) -> Registration {
    let status = match status {
        Some(word) if word.eq_ignore_ascii_case("online") => RunnerStatus::Online,
        Some(word) if word.eq_ignore_ascii_case("offline") => RunnerStatus::Offline,
        other => RunnerStatus::Other(other.unwrap_or("unknown").into()),
    };
    Registration { id: RegistrationId(id), name, status, busy: busy.unwrap_or_default() }
}
