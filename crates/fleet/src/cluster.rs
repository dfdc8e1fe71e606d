//! A host that is a cluster of machines, such as a Docker Swarm: the engine chooses the machine, and Dayfly launches only
//! what one of them has room for, so that no runner is minted that nothing can start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    constraint::Constraint,
    name::RunnerName,
    template::{Resources, Template},
};

/// The engine's id of a machine of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub Arc<str>);

/// Whether a machine takes more runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Active,
    /// It keeps what it has.
    Paused,
    /// The engine moves everything away from it.
    Drained,
}

impl Availability {
    /// Docker's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "pause",
            Self::Drained => "drain",
        }
    }
}

/// A machine of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub availability: Availability,
    /// Whether the manager reaches it. If not, its containers may be running all the same.
    pub reachable: bool,
    /// What it has for containers.
    pub size: Resources,
    /// What containers that are not runners of this instance reserve.
    pub reserved: Resources,
    /// Runners of other installations.
    pub other_runners: u32,
    /// Whether it is to be drained once no runner on it has a job.
    pub drain_requested: bool,
    /// What constraints compare: `node.labels.disk` and its value, for example.
    pub attributes: BTreeMap<String, String>,
}

/// Where the engine wants a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Nowhere yet; with why no node is suitable, once the engine has tried.
    Nowhere(Option<String>),
    /// On a node, where its container was started or not yet: the node may be pulling the image.
    On { node: NodeId, started: bool },
}

/// A cluster, as its manager reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// The runners of this instance whose containers have not exited.
    pub runners: BTreeMap<RunnerName, Placed>,
}

impl Node {
    /// Whether a runner that is created from a template could ever run on it.
    pub fn suits(&self, template: &Template) -> bool {
        let Resources { memory, cpu_millis } = template.resources;
        self.satisfies(&template.constraints)
            && memory <= self.size.memory
            && cpu_millis <= self.size.cpu_millis
    }

    /// Whether it is paused for a drain.
    pub(super) fn is_draining(&self) -> bool {
        self.drain_requested && self.availability == Availability::Paused
    }

    /// Whether it takes more runners at all.
    pub fn is_available(&self) -> bool {
        self.reachable && self.availability == Availability::Active
    }

    /// As Docker compares: without regard to case, and what a node does not have is empty.
    fn satisfies(&self, constraints: &[Constraint]) -> bool {
        constraints.iter().all(|constraint| {
            let value = self.attributes.get(&constraint.attribute).map_or("", String::as_str);
            value.eq_ignore_ascii_case(&constraint.value) == constraint.equal
        })
    }
}

/// What a runner needs of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) resources: Resources,
    pub(super) constraints: Vec<Constraint>,
}

impl Need {
    /// That of a runner that is created from a template.
    pub(super) fn of(template: &Template) -> Self {
        Self { resources: template.resources, constraints: template.constraints.clone() }
    }

    /// That of a runner that can be on any node.
    pub(super) fn anywhere(resources: Resources) -> Self {
        Self { resources, constraints: Vec::new() }
    }

    /// How many such runners a node has room for, of which this is free.
    fn times_on(&self, node: &Node, free: Resources) -> u64 {
        let times = |free: u64, needed| free.checked_div(needed).unwrap_or(u64::MAX);
        let Resources { memory, cpu_millis } = self.resources;
        if !node.satisfies(&self.constraints) {
            return 0;
        }
        times(free.memory, memory).min(times(free.cpu_millis, cpu_millis))
    }

    /// How many fewer of them a node has room for once it has another runner, at most.
    fn fewer_beside(&self, other: &Self) -> u64 {
        let fewer = |taken: u64, needed| if needed == 0 { 0 } else { taken.div_ceil(needed) };
        let (needed, taken) = (self.resources, other.resources);
        fewer(taken.memory, needed.memory).max(fewer(taken.cpu_millis, needed.cpu_millis))
    }
}

/// What this instance's runners take of the nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct OnNodes {
    placed: BTreeMap<NodeId, Resources>,
    /// What the runners need that have no node yet, with how many there are.
    unplaced: Vec<(Need, u64)>,
}

impl OnNodes {
    /// Adds a runner, on its node if it has one.
    pub(super) fn add(&mut self, node: Option<&NodeId>, need: Need) {
        match node {
            Some(node) => self.placed.entry(node.clone()).or_default().add(need.resources),
            None => match self.unplaced.iter_mut().find(|(other, _)| *other == need) {
                Some((_, count)) => *count += 1,
                None => self.unplaced.push((need, 1)),
            },
        }
    }

    /// Takes a runner away again.
    pub(super) fn remove(&mut self, node: Option<&NodeId>, resources: Resources) {
        if let Some(taken) = node.and_then(|node| self.placed.get_mut(node)) {
            taken.remove(resources);
        }
    }

    /// Whether one of the nodes has room for one more runner, wherever the engine puts those that have no node yet, and
    /// these still have room wherever it puts this one: in which order it places them is not known.
    pub(super) fn has_room(&self, nodes: &[Node], need: &Need) -> bool {
        let free: Vec<(&Node, Resources)> = nodes
            .iter()
            .filter(|node| node.is_available())
            .map(|node| {
                let mut free = node.size;
                free.remove(node.reserved);
                free.remove(self.placed.get(&node.id).copied().unwrap_or_default());
                (node, free)
            })
            .collect();
        let room = |need: &Need| {
            let times = free.iter().map(|(node, free)| need.times_on(node, *free));
            times.fold(0, u64::saturating_add)
        };
        // What cannot be beside it takes nothing from it.
        let loss = |need: &Need, other: &Need| {
            let meet = |(node, free): &(&Node, Resources)| {
                need.times_on(node, *free) > 0 && other.times_on(node, *free) > 0
            };
            if free.iter().any(meet) { need.fewer_beside(other) } else { 0 }
        };
        let taken = |need: &Need| -> u64 {
            let each = self.unplaced.iter().map(|(other, count)| loss(need, other).saturating_mul(*count));
            each.fold(0, u64::saturating_add)
        };
        let all = room(need);
        let leaves_room = |(other, _): &(Need, u64)| {
            let (room, taken) = (room(other), taken(other));
            room < taken || room >= taken.saturating_add(loss(other, need))
        };
        all > 0
            && all >= taken(need).saturating_add(loss(need, need))
            && self.unplaced.iter().all(leaves_room)
    }
}

/// Why no node of these is suitable.
pub(super) fn why_none(nodes: &[Node], need: &Need) -> String {
    let available: Vec<&Node> = nodes.iter().filter(|node| node.is_available()).collect();
    let eligible = available.iter().filter(|node| node.satisfies(&need.constraints)).count();
    let all = nodes.len();
    if available.is_empty() {
        format!("none of its {all} nodes is active and reachable")
    } else if eligible == 0 {
        let constraints: Vec<String> = need.constraints.iter().map(ToString::to_string).collect();
        format!("none of its {} active nodes satisfies {}", available.len(), constraints.join(", "))
    } else {
        format!("none of its {eligible} suitable nodes has the memory and cpus of another runner free")
    }
}

/// The nodes that are to be drained and have no runner any more, of this instance or of another.
pub(super) fn to_drain<'a>(nodes: &'a [Node], in_use: &BTreeSet<&NodeId>) -> impl Iterator<Item = &'a Node> {
    nodes.iter().filter(|node| node.is_draining() && node.other_runners == 0 && !in_use.contains(&node.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn node(name: &str, gib: u64) -> Node {
        Node {
            id: NodeId(name.into()),
            name: name.to_owned(),
            availability: Availability::Active,
            reachable: true,
            size: memory(gib),
            reserved: Resources::default(),
            other_runners: 0,
            drain_requested: false,
            attributes: BTreeMap::from([("node.labels.disk".to_owned(), format!("{name}-SSD"))]),
        }
    }

    fn memory(gib: u64) -> Resources {
        Resources { memory: gib * GIB, cpu_millis: 0 }
    }

    fn need(gib: u64) -> Need {
        Need { resources: memory(gib), constraints: Vec::new() }
    }

    #[test]
    fn room_is_that_of_one_node_and_not_the_sum() {
        let nodes = [node("a", 4), node("b", 4)];
        let mut taken = OnNodes::default();
        assert!(taken.has_room(&nodes, &need(4)) && !taken.has_room(&nodes, &need(5)));
        taken.add(Some(&nodes[0].id), need(3));
        assert!(taken.has_room(&nodes, &need(4)));
        // Wherever it goes, it leaves one of each.
        taken.add(None, need(2));
        assert!(taken.has_room(&nodes, &need(2)) && !taken.has_room(&nodes, &need(3)));
        taken.remove(Some(&nodes[0].id), memory(3));
        assert!(taken.has_room(&nodes, &need(4)));
    }

    #[test]
    fn what_others_reserve_and_what_is_not_available_is_no_room() {
        let reserved = Node { reserved: memory(3), ..node("a", 4) };
        let nothing = OnNodes::default();
        assert!(nothing.has_room(std::slice::from_ref(&reserved), &need(1)));
        assert!(!nothing.has_room(&[reserved], &need(2)));
        for unavailable in [
            Node { availability: Availability::Paused, ..node("a", 4) },
            Node { availability: Availability::Drained, ..node("a", 4) },
            Node { reachable: false, ..node("a", 4) },
        ] {
            assert!(!nothing.has_room(std::slice::from_ref(&unavailable), &need(0)), "{unavailable:?}");
            let why = why_none(&[unavailable], &need(0));
            assert_eq!(why, "none of its 1 nodes is active and reachable");
        }
    }

    #[test]
    fn constraints_compare_as_docker_does() {
        let constraint = |attribute: &str, equal, value: &str| Constraint {
            attribute: attribute.to_owned(),
            equal,
            value: value.to_owned(),
        };
        for (constraint, satisfied) in [
            (constraint("node.labels.disk", true, "a-ssd"), true),
            (constraint("node.labels.disk", true, "b-ssd"), false),
            (constraint("node.labels.disk", false, "a-ssd"), false),
            (constraint("node.labels.other", false, "x"), true),
            (constraint("node.labels.other", true, "x"), false),
        ] {
            let need = Need { resources: Resources::default(), constraints: vec![constraint] };
            assert_eq!(OnNodes::default().has_room(&[node("a", 1)], &need), satisfied, "{need:?}");
        }
    }

    #[test]
    fn a_node_is_drained_when_nothing_of_any_installation_runs_there() {
        let paused = Node { availability: Availability::Paused, drain_requested: true, ..node("a", 1) };
        let in_use = BTreeSet::from([&paused.id]);
        let drained = |node: &Node, in_use: &BTreeSet<&NodeId>| {
            to_drain(std::slice::from_ref(node), in_use).next().is_some()
        };
        assert!(drained(&paused, &BTreeSet::new()) && !drained(&paused, &in_use));
        assert!(!drained(&Node { other_runners: 1, ..paused.clone() }, &BTreeSet::new()));
        assert!(!drained(&Node { drain_requested: false, ..paused.clone() }, &BTreeSet::new()));
        assert!(!drained(&Node { availability: Availability::Active, ..paused.clone() }, &BTreeSet::new()));
    }
}
