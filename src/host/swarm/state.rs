//! What tasks and nodes of a Swarm mean for runners. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    Node as ListedNode, NodeSpecAvailabilityEnum, NodeState, ResourceObject, Service, Task, TaskState,
};

use crate::{
    fleet::{Availability, Node, NodeId, Placed, Resources},
    host::container::LABEL_RUNNER,
};

/// Label of a node: it is drained once no runner on it has a job.
pub const LABEL_DRAIN: &str = "dev.dayfly.drain";

/// The exit code of a task that was stopped, where the Swarm has removed it before it was read.
pub(super) const STOPPED: i64 = 143;

/// The task of a runner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) node: Option<NodeId>,
    pub(super) state: State,
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Not running yet; with why there is no node for it.
    Before(Option<String>),
    Running,
    /// It has ended, or was refused before it began.
    Over(End),
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct End {
    pub(super) code: Option<i64>,
    /// The Swarm's reason.
    pub(super) why: String,
    /// When, by the clock of the manager.
    pub(super) at: String,
}

impl Seen {
    /// Where the Swarm has the runner, unless it has ended.
    pub(super) fn placed(&self) -> Option<Placed> {
        match (&self.state, &self.node) {
            (State::Over(_), _) => None,
            (State::Running, Some(node)) => Some(Placed::On { node: node.clone(), started: true }),
            (State::Before(_), Some(node)) => Some(Placed::On { node: node.clone(), started: false }),
            (State::Before(why), None) => Some(Placed::Nowhere(why.clone())),
            (State::Running, None) => Some(Placed::Nowhere(None)),
        }
    }

    /// Whether its container may be running.
    pub(super) fn is_running(&self) -> bool {
        self.state == State::Running
    }
}

/// The task of a service that counts: the one that runs, else one that is about to, else the newest.
pub(super) fn task_of<'t>(tasks: impl IntoIterator<Item = &'t Task>) -> Option<Seen> {
    let rank = |seen: &Seen| match seen.state {
        State::Running => 2,
        State::Before(_) => 1,
        State::Over(_) => 0,
    };
    let read = |task: &'t Task| Some((seen(task)?, task.created_at.as_deref().unwrap_or_default()));
    tasks.into_iter().filter_map(read).max_by_key(|(seen, at)| (rank(seen), *at)).map(|(seen, _)| seen)
}

fn seen(task: &Task) -> Option<Seen> {
    let status = task.status.clone().unwrap_or_default();
    let is_dismissed = !matches!(
        task.desired_state,
        None | Some(
            TaskState::NEW
                | TaskState::ALLOCATED
                | TaskState::PENDING
                | TaskState::ASSIGNED
                | TaskState::ACCEPTED
                | TaskState::PREPARING
                | TaskState::READY
                | TaskState::STARTING
                | TaskState::RUNNING
                // That of a job.
                | TaskState::COMPLETE
        )
    );
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let over = || {
        let code = status.container_status.as_ref().and_then(|container| container.exit_code);
        let why = text(status.err.clone()).or_else(|| text(status.message.clone())).unwrap_or_default();
        State::Over(End { code, why, at: status.timestamp.clone().unwrap_or_default() })
    };
    let state = match status.state {
        Some(TaskState::RUNNING) => State::Running,
        Some(
            TaskState::COMPLETE
            | TaskState::SHUTDOWN
            | TaskState::FAILED
            | TaskState::REJECTED
            | TaskState::REMOVE
            | TaskState::ORPHANED,
        ) => over(),
        _ if is_dismissed => over(),
        _ => State::Before(text(status.err.clone())),
    };
    let node = text(task.node_id.clone()).map(|id| NodeId(id.into()));
    Some(Seen { id: task.id.clone()?, node, state })
}

/// What the tasks of others take of each node: what they reserve, and how many of them are runners.
pub(super) type Others = BTreeMap<NodeId, (Resources, u32)>;

/// What running tasks take of the nodes, other than those of these services.
pub(super) fn others(tasks: &[Task], ours: &[Service]) -> Others {
    let is_ours = |task: &Task| ours.iter().any(|service| service.id == task.service_id);
    let mut taken = Others::new();
    for task in tasks.iter().filter(|task| !is_ours(task)) {
        let Some(Seen { node: Some(node), state: State::Before(_) | State::Running, .. }) = seen(task) else {
            continue;
        };
        let spec = task.spec.clone().unwrap_or_default();
        let (resources, runners) = taken.entry(node).or_default();
        let reserved = resources_of(spec.resources.and_then(|all| all.reservations).as_ref());
        resources.memory += reserved.memory;
        resources.cpu_millis += reserved.cpu_millis;
        let labels = spec.container_spec.and_then(|container| container.labels).unwrap_or_default();
        *runners += u32::from(labels.contains_key(LABEL_RUNNER));
    }
    taken
}

/// A node, with what others take of it.
pub(super) fn node(listed: ListedNode, others: &Others) -> Option<Node> {
    let id = NodeId(listed.id?.into());
    let (reserved, other_runners) = others.get(&id).copied().unwrap_or_default();
    let spec = listed.spec.unwrap_or_default();
    let description = listed.description.unwrap_or_default();
    let labels = spec.labels.unwrap_or_default();
    let name = description.hostname.filter(|name| !name.is_empty()).unwrap_or_else(|| id.0.to_string());
    let platform = description.platform.unwrap_or_default();
    let engine_labels = description.engine.and_then(|engine| engine.labels).unwrap_or_default();
    let drain_requested = labels.contains_key(LABEL_DRAIN);
    let plain = [
        ("node.id", Some(id.0.to_string())),
        ("node.hostname", Some(name.clone())),
        ("node.role", spec.role.map(|role| role.to_string())),
        ("node.platform.os", platform.os),
        ("node.platform.arch", platform.architecture),
    ];
    let mut attributes: BTreeMap<String, String> =
        plain.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let prefixed = |prefix: &'static str, labels: HashMap<String, String>| {
        labels.into_iter().map(move |(key, value)| (format!("{prefix}{key}"), value))
    };
    attributes.extend(prefixed("node.labels.", labels));
    attributes.extend(prefixed("engine.labels.", engine_labels));
    Some(Node {
        name,
        availability: match spec.availability {
            Some(NodeSpecAvailabilityEnum::PAUSE) => Availability::Paused,
            Some(NodeSpecAvailabilityEnum::DRAIN) => Availability::Drained,
            _ => Availability::Active,
        },
        reachable: listed.status.and_then(|status| status.state) == Some(NodeState::READY),
        size: resources_of(description.resources.as_ref()),
        reserved,
        other_runners,
        drain_requested,
        attributes,
        id,
    })
}

fn resources_of(resources: Option<&ResourceObject>) -> Resources {
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    resources.map_or_else(Resources::default, |resources| Resources {
        memory: positive(resources.memory_bytes),
        cpu_millis: positive(resources.nano_cpus) / 1_000_000,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(id: &str, node: &str, state: &str, desired: &str) -> Task {
        serde_json::from_value(json!({
            "ID": id, "ServiceID": "s", "NodeID": node, "DesiredState": desired,
            "CreatedAt": format!("2026-01-01T00:00:0{}Z", id.len()),
            "Status": { "State": state, "Err": if state == "pending" { "no suitable node" } else { "" } },
            "Spec": {
                "ContainerSpec": { "Labels": { LABEL_RUNNER: "r" } },
                "Resources": { "Reservations": { "MemoryBytes": 5, "NanoCPUs": 2_000_000 } }
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_task_is_placed_where_it_has_a_node_and_started_when_it_runs() {
        let on = |started| Some(Placed::On { node: NodeId("n".into()), started });
        for (node, state, desired, placed) in [
            ("", "new", "running", Some(Placed::Nowhere(None))),
            ("", "pending", "running", Some(Placed::Nowhere(Some("no suitable node".to_owned())))),
            ("n", "assigned", "running", on(false)),
            ("n", "preparing", "running", on(false)),
            ("n", "running", "running", on(true)),
            // It is being stopped, and has not ended.
            ("n", "running", "shutdown", on(true)),
            ("n", "running", "complete", on(true)),
            ("n", "complete", "complete", None),
            ("n", "complete", "shutdown", None),
            ("n", "failed", "shutdown", None),
            ("n", "rejected", "shutdown", None),
            ("", "pending", "shutdown", None),
            ("n", "orphaned", "shutdown", None),
        ] {
            assert_eq!(
                task_of(&[task("t", node, state, desired)]).unwrap().placed(),
                placed,
                "{state} {desired}"
            );
        }
    }

    #[test]
    fn of_several_tasks_the_running_one_counts_else_the_newest() {
        let tasks = [task("a", "n", "running", "running"), task("bb", "n", "rejected", "shutdown")];
        assert_eq!(task_of(&tasks).unwrap().id, "a");
        let tasks = [task("a", "n", "rejected", "shutdown"), task("bb", "n", "failed", "shutdown")];
        assert_eq!(task_of(&tasks).unwrap().id, "bb");
        assert_eq!(task_of(&[]), None);
    }

    #[test]
    fn what_others_reserve_is_counted_by_node() {
        let tasks = [
            task("a", "n", "running", "running"),
            task("b", "n", "complete", "shutdown"),
            task("c", "m", "preparing", "running"),
            Task { service_id: Some("ours".to_owned()), ..task("d", "n", "running", "running") },
        ];
        let ours = [Service { id: Some("ours".to_owned()), ..Service::default() }];
        let one = (Resources { memory: 5, cpu_millis: 2 }, 1);
        let expected = BTreeMap::from([(NodeId("n".into()), one), (NodeId("m".into()), one)]);
        assert_eq!(others(&tasks, &ours), expected);
    }

    #[test]
    fn a_node_is_read_with_what_constraints_compare() {
        let listed: ListedNode = serde_json::from_value(json!({
            "ID": "n", "Spec": { "Role": "worker", "Availability": "pause", "Labels": { "disk": "ssd", LABEL_DRAIN: "" } },
            "Description": {
                "Hostname": "ci1", "Platform": { "OS": "linux", "Architecture": "x86_64" },
                "Resources": { "NanoCPUs": 2_000_000_000_u64, "MemoryBytes": 4096 }, "Engine": { "Labels": { "zone": "b" } }
            },
            "Status": { "State": "ready" }
        }))
        .unwrap();
        let node = node(listed, &Others::new()).unwrap();
        assert_eq!(
            (node.name.as_str(), node.availability, node.reachable),
            ("ci1", Availability::Paused, true)
        );
        assert_eq!(node.size, Resources { memory: 4096, cpu_millis: 2000 });
        assert!(node.drain_requested);
        for (attribute, value) in [
            ("node.labels.disk", "ssd"),
            ("engine.labels.zone", "b"),
            ("node.role", "worker"),
            ("node.hostname", "ci1"),
        ] {
            assert_eq!(node.attributes[attribute], value);
        }
    }
}
