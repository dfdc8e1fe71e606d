//! Jobs and runners of scale sets: the assignment of jobs, and the messages to sets.

use serde_json::{Value, json};

use super::{Session, Set, Told};
use dayfly_fleet::Timestamp;

use crate::{
    scale_sets::view::ScaleSetView,
    world::{
        MintRefused, Registration, World,
        job_record::{JobRecord, JobState},
    },
};

/// Job messages of one answer at most.
const BATCH: usize = 50;

/// A moment that never was, as the service writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl World {
    pub(crate) fn mint_for_set(
        &mut self,
        scope: &str,
        set: i64,
        name: &str,
        work_folder: &str,
        now: Timestamp,
    ) -> Result<(u64, String), MintRefused> {
        let there = self.scale_sets.sets.get(&set).ok_or(MintRefused::NoSuchGroup)?;
        let (group, labels) = (u64::try_from(there.group).unwrap_or(1), there.labels.clone());
        let (id, jit) = self.mint(scope, name, group, labels, work_folder, now)?;
        self.scale_sets.runners.insert(id, set);
        Ok((id, jit))
    }

    /// Deletes a set with its runners, unless one of them has a job.
    pub(crate) fn delete_scale_set(&mut self, id: i64) -> bool {
        if self
            .scale_sets
            .sets
            .get(&id)
            .is_some_and(|set| set.jobs.values().any(|reported| *reported == Told::Started))
        {
            return false;
        }
        self.scale_sets.sets.remove(&id);
        let runners: Vec<u64> = self
            .scale_sets
            .runners
            .iter()
            .filter(|(_, set)| **set == id)
            .map(|(runner, _)| *runner)
            .collect();
        for runner in runners {
            self.forget(runner);
            self.scale_sets.runners.remove(&runner);
        }
        true
    }

    /// Gives a set the jobs that it asked for, as far as they are still to be had.
    pub(crate) fn acquire_for_set(&mut self, id: i64, requests: &[i64]) -> Vec<i64> {
        let mut won = Vec::new();
        for &request in requests {
            let Ok(job) = u64::try_from(request) else { continue };
            let elsewhere = |(other, set): (&i64, &Set)| {
                *other != id && matches!(set.jobs.get(&job), Some(Told::Assigned | Told::Started))
            };
            let free = self.queued.contains(&job) && !self.scale_sets.sets.iter().any(elsewhere);
            let Some(set) = self.scale_sets.sets.get_mut(&id).filter(|_| free) else { continue };
            if let Some(reported) = set.jobs.get_mut(&job)
                && *reported == Told::Offered
            {
                *reported = Told::Assigned;
                let message =
                    self.jobs.get(&job).map(|record| message("JobAssigned", job, record, json!({})));
                set.pending.extend(message);
                won.push(request);
            }
        }
        won
    }

    /// The next message of a set after `last`: one that was sent and not acknowledged, or a new one.
    /// What does not fit into a new one is left out, but for offers.
    pub(crate) fn next_message(&mut self, id: i64, last: i64, first_look: bool) -> Option<(i64, Vec<Value>)> {
        let started_wakes = self.settings.scale_sets.started_wakes;
        let set = self.scale_sets.sets.get_mut(&id)?;
        let again = set.unheard.range(last + 1..).next().or_else(|| {
            // Only at the begin of a poll, or an unacknowledged one would be sent in a circle.
            first_look.then(|| set.unheard.iter().next()).flatten()
        });
        if let Some((number, jobs)) = again {
            return Some((*number, jobs.clone()));
        }
        let wakes = |message: &Value| started_wakes || message["messageType"] != "JobStarted";
        if set.pending.is_empty() || !(first_look || set.pending.iter().any(wakes)) {
            return None;
        }
        let mut jobs: Vec<Value> = set.pending.drain(..).collect();
        let rest = jobs.split_off(jobs.len().min(BATCH));
        set.pending.extend(rest.into_iter().filter(|message| message["messageType"] == "JobAvailable"));
        set.sent += 1;
        set.unheard.insert(set.sent, jobs.clone());
        Some((set.sent, jobs))
    }

    pub(crate) fn scale_set_statistics(&self, id: i64) -> Value {
        let Some(set) = self.scale_sets.sets.get(&id) else { return Value::Null };
        let reported = |what| set.jobs.values().filter(|reported| **reported == what).count();
        let ids = self.scale_sets.runners.iter().filter(|(_, of)| **of == id).map(|(runner, _)| runner);
        let registered: Vec<_> = ids.filter_map(|runner| self.registrations.get(runner)).collect();
        let busy = reported(Told::Started);
        let assigned = set.claimed.map_or(set.assigned(), |claimed| claimed as usize);
        json!({
            "totalAvailableJobs": reported(Told::Offered),
            "totalAcquiredJobs": 0,
            "totalAssignedJobs": assigned,
            "totalRunningJobs": busy,
            "totalRegisteredRunners": registered.len(),
            "totalBusyRunners": busy,
            "totalIdleRunners": registered.len().saturating_sub(busy),
        })
    }

    pub(crate) fn scale_set_json(&self, id: i64) -> Value {
        let Some(set) = self.scale_sets.sets.get(&id) else { return Value::Null };
        let group = self.groups().find(|(group, _)| i64::try_from(*group) == Ok(set.group));
        let labels: Vec<Value> =
            set.labels.iter().map(|label| json!({ "type": "System", "name": label })).collect();
        json!({
            "id": id,
            "name": set.name,
            "runnerGroupId": set.group,
            "runnerGroupName": group.map(|(_, name)| name),
            "labels": labels,
            "RunnerSetting": { "disableUpdate": set.update_disabled },
            "createdOn": "2026-01-01T00:00:00Z",
            "runnerJitConfigUrl": format!("runtime/runnerscalesets/{id}/generatejitconfig"),
            "statistics": self.scale_set_statistics(id),
        })
    }

    /// The runners of a scope, as the service lists them; all of them, in sets or not.
    pub(crate) fn agents(&self, scope: &str, name: Option<&str>, now: Timestamp) -> Vec<Value> {
        let wanted = self.listed(scope, now).filter(|there| name.is_none_or(|name| there.name == name));
        let row = |there: &Registration| {
            let look = self.look(there, now);
            json!({
                "id": there.id,
                "name": there.name,
                "runnerScaleSetId": self.scale_sets.runners.get(&there.id),
                "status": if look.online { "online" } else { "offline" },
                "busy": look.busy,
                "ephemeral": true,
            })
        };
        wanted.map(row).collect()
    }

    pub(crate) fn scale_set_views(&self) -> Vec<ScaleSetView> {
        let runners = |id: i64| {
            let of = self.scale_sets.runners.iter().filter(move |(_, set)| **set == id);
            of.filter_map(|(runner, _)| Some(self.registrations.get(runner)?.name.clone())).collect()
        };
        let view = |(&id, set): (&i64, &Set)| ScaleSetView {
            id,
            scope: set.scope.clone(),
            name: set.name.clone(),
            labels: set.labels.clone(),
            owner: set.session.as_ref().map(|session| session.owner.clone()),
            assigned: set.assigned(),
            unheard: set.unheard.len() + usize::from(!set.pending.is_empty()),
            capacity: set.capacity,
            runners: runners(id),
        };
        self.scale_sets.sets.iter().map(view).collect()
    }

    /// Expires sessions, assigns jobs, and sends messages about them to sets.
    pub(in crate::world) fn settle_scale_sets(&mut self, now: Timestamp) {
        if self.scale_sets.sets.is_empty() {
            return;
        }
        let lifetime = self.settings.scale_sets.session_lifetime;
        for set in self.scale_sets.sets.values_mut() {
            let silent = |session: &mut Session| session.polls == 0 && session.heard_at + lifetime <= now;
            drop(set.session.take_if(silent));
        }
        self.tell_of_jobs();
        self.hand_out();
    }

    fn tell_of_jobs(&mut self) {
        for set in self.scale_sets.sets.values_mut() {
            let Set { jobs, pending, .. } = set;
            jobs.retain(|&id, reported| {
                let Some(record) = self.jobs.get(&id) else { return false };
                let runner = || {
                    let name = record.view.runner.clone().unwrap_or_default();
                    let there = self.registrations.values().find(|there| there.name == name);
                    json!({ "runnerId": there.map_or(0, |there| there.id), "runnerName": name })
                };
                match (record.view.state, *reported) {
                    (JobState::Queued, Told::Started) => *reported = Told::Assigned,
                    (JobState::InProgress, Told::Assigned) => {
                        *reported = Told::Started;
                        pending.push_back(message("JobStarted", id, record, runner()));
                    }
                    (JobState::InProgress | JobState::Completed(_), Told::Offered) => return false,
                    (JobState::Completed(conclusion), Told::Assigned | Told::Started) => {
                        let mut extra = runner();
                        extra["result"] = json!(format!("{conclusion:?}").to_lowercase());
                        pending.push_back(message("JobCompleted", id, record, extra));
                        return false;
                    }
                    (JobState::Waiting | JobState::Pending | JobState::Queued, _)
                    | (JobState::InProgress, Told::Started) => {}
                }
                true
            });
        }
    }

    fn hand_out(&mut self) {
        let assigns = self.settings.scale_sets.assigns;
        for &id in &self.queued {
            let Some(record) = self.jobs.get(&id) else { continue };
            let owner = record.view.scope.split('/').next();
            let taken = |set: &Set| matches!(set.jobs.get(&id), Some(Told::Assigned | Told::Started));
            if self.scale_sets.sets.values().any(taken) {
                continue;
            }
            let serves = |set: &&mut Set| {
                (set.scope == record.view.scope || Some(set.scope.as_str()) == owner)
                    && !record.labels().is_empty()
                    && record
                        .labels()
                        .iter()
                        .all(|wanted| set.labels.iter().any(|label| label.eq_ignore_ascii_case(wanted)))
            };
            for set in self.scale_sets.sets.values_mut().filter(serves) {
                if assigns && set.assigned() < set.capacity as usize {
                    set.jobs.insert(id, Told::Assigned);
                    set.pending.push_back(message("JobAssigned", id, record, json!({})));
                    break;
                }
                if !assigns && set.session.is_some() && !set.jobs.contains_key(&id) {
                    set.jobs.insert(id, Told::Offered);
                    set.pending.push_back(message(
                        "JobAvailable",
                        id,
                        record,
                        json!({ "acquireJobUrl": "" }),
                    ));
                }
            }
        }
    }
}

/// A job message; all of them have the same fields, and some have more.
fn message(kind: &str, id: u64, record: &JobRecord, extra: Value) -> Value {
    let view = &record.view;
    let (owner, repository) = view.scope.split_once('/').unwrap_or((&view.scope, "widgets"));
    let time = |at: Option<Timestamp>| at.map_or(NEVER.to_owned(), |at| at.to_string());
    let mut message = json!({
        "messageType": kind,
        "runnerRequestId": id,
        "jobId": format!("{id:08x}-0000-4000-8000-000000000000"),
        "repositoryName": repository,
        "ownerName": owner,
        "jobWorkflowRef": format!("{owner}/{repository}/.github/workflows/ci.yml@refs/heads/main"),
        "jobDisplayName": view.name,
        "workflowRunId": id,
        "eventName": "push",
        "requestLabels": record.labels(),
        "queueTime": time(Some(view.queued_at)),
        "scaleSetAssignTime": time(Some(view.queued_at)),
        "runnerAssignTime": time(view.started_at),
        "finishTime": time(view.completed_at),
    });
    if let (Some(message), Value::Object(extra)) = (message.as_object_mut(), extra) {
        message.extend(extra);
    }
    message
}
