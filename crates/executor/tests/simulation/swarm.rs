//! A host that is a Docker Swarm: its manager places the tasks of services on nodes, by spread. What it shows lags, nodes
//! are lost while what runs there goes on or dies, and nodes are paused and drained.

use std::collections::BTreeMap;

use dayfly_fleet::{
    Availability, Cluster, Constraint, DockerMode, HostName, Node, NodeId, Placed, Resources, Template, Why,
};

use crate::{
    calls::Answer,
    faults::Fault,
    random::Random,
    setting::{GIB, MINUTE, PoolSetting, SECOND, Setting},
    world::{Container, Fate, Happening, State, World, note},
};

/// How a node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The machine stops, and all that runs there.
    Machine,
    /// The manager cannot reach it, and GitHub can.
    Manager,
    /// Nobody can reach it, and what runs there goes on.
    Network,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeNews {
    Lost(Lost),
    /// The manager misses its heartbeats.
    Missed,
    Back,
    Paused,
    /// It is paused, to be drained when it has no runner any more.
    ToDrain,
    Resumed,
    /// Something that only the manager knows keeps it from placing anything on any node, or does not any more.
    Stuck(bool),
}

/// A node as it truly is.
pub(crate) struct SwarmNode {
    /// As the manager shows it.
    pub(crate) node: Node,
    /// How and since when it is lost.
    lost: Option<(Lost, u64)>,
}

/// The task of a runner's service.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    pub(crate) node: Option<usize>,
    /// Whether the manager has tried to place it and found no node.
    tried: bool,
    pub(crate) started_at: Option<u64>,
    pub(crate) ended_at: Option<u64>,
    /// How late its node reports to the manager.
    lag: u64,
}

/// Some nodes, of which the first has room for what all pools keep idle, and is never lost. By a chance of its own, so
/// that days without a Swarm go as they would.
pub(crate) fn draw(random: &mut Random, hosts: &[HostName], pools: &mut [PoolSetting]) -> Vec<Vec<Node>> {
    let mut swarms = vec![Vec::new(); hosts.len()];
    if !random.chance(450) {
        return swarms;
    }
    let host = random.index(hosts.len());
    let mut needed = Resources { memory: 4 * GIB, cpu_millis: 2000 };
    for setting in pools.iter_mut().filter(|pool| pool.hosts.contains(&host)) {
        let policy = &setting.pool.policy;
        let template = &mut setting.pool.template;
        suit_services(template);
        needed.memory += u64::from(policy.min_idle + 1) * template.resources.memory;
        needed.cpu_millis += u64::from(policy.min_idle + 1) * template.resources.cpu_millis;
        if random.chance(250) {
            let (attribute, value) = ("node.labels.disk".to_owned(), "ssd".to_owned());
            template.constraints = vec![Constraint { attribute, equal: true, value }];
        }
    }
    for index in 0..=random.within(1, 3) {
        let size = match index {
            0 => needed,
            _ => Resources { memory: random.within(2, 12) * GIB, cpu_millis: random.within(1, 6) * 1000 },
        };
        let disk = if index == 0 || random.chance(500) { "SSD" } else { "hdd" };
        let name = format!("node-{index}");
        swarms[host].push(Node {
            id: NodeId(name.as_str().into()),
            name,
            availability: Availability::Active,
            reachable: true,
            size,
            reserved: Resources {
                memory: if index == 0 { 0 } else { random.within(0, 2) * GIB },
                cpu_millis: 0,
            },
            other_runners: 0,
            drain_requested: false,
            attributes: BTreeMap::from([("node.labels.disk".to_owned(), disk.to_owned())]),
        });
    }
    swarms
}

/// Services have no sidecars and no devices.
fn suit_services(template: &mut Template) {
    template.docker = DockerMode::None;
    template.devices.clear();
}

impl Setting {
    pub(crate) fn is_swarm(&self, host: usize) -> bool {
        !self.swarms[host].is_empty()
    }

    /// Nodes with room for everything.
    pub(crate) fn enlarge_nodes(&mut self) {
        for node in self.swarms.iter_mut().flatten() {
            node.size = Resources { memory: 1000 * GIB, cpu_millis: 1_000_000 };
        }
    }
}

impl Container {
    /// Whether it runs, or its service will start it.
    pub(crate) fn takes_room(&self) -> bool {
        self.is_up() || self.task.is_some() && self.state == State::Created && !self.removed
    }
}

impl World {
    pub(crate) fn build_swarms(&mut self) {
        let nodes = |nodes: &Vec<Node>| {
            nodes.iter().map(|node| SwarmNode { node: node.clone(), lost: None }).collect()
        };
        self.swarms = self.setting.swarms.iter().map(nodes).collect();
        self.is_stuck = vec![false; self.swarms.len()];
        // Only news of jobs go wrong, or one thing alone.
        if self.setting.faults.spells == 0 {
            return;
        }
        for host in 0..self.swarms.len() {
            if self.swarms[host].is_empty() {
                continue;
            }
            for _ in 0..self.random.within(1, 6) {
                let node = 1 + self.random.index(self.swarms[host].len() - 1);
                let from = self.random.within(MINUTE / 2, self.setting.busy_for - MINUTE / 2);
                let most = (self.setting.busy_for - from).min(20 * MINUTE);
                let until = from + self.random.within(5 * SECOND, most);
                let how = self.random.of(&[Lost::Machine, Lost::Manager, Lost::Network]);
                let (begins, ends) = match self.random.index(6) {
                    2 => (NodeNews::Stuck(true), NodeNews::Stuck(false)),
                    0 => (NodeNews::Paused, NodeNews::Resumed),
                    1 => (NodeNews::ToDrain, NodeNews::Resumed),
                    _ => (NodeNews::Lost(how), NodeNews::Back),
                };
                self.after(from, Happening::Node(host, node, begins));
                let for_ever = matches!(begins, NodeNews::Lost(Lost::Machine | Lost::Network));
                if !for_ever || self.random.chance(600) {
                    self.after(until, Happening::Node(host, node, ends));
                }
            }
        }
    }

    pub(crate) fn node_news(&mut self, host: usize, index: usize, news: NodeNews) {
        let now = self.now;
        let node = &mut self.swarms[host][index];
        match news {
            NodeNews::Lost(how) if node.lost.is_none() => {
                node.lost = Some((how, now));
                let notices = self.random.within(9 * SECOND, 16 * SECOND);
                self.after(notices, Happening::Node(host, index, NodeNews::Missed));
                self.met.insert("a node is lost");
                self.lose_all_on(host, index, how);
            }
            NodeNews::Missed if node.lost.is_some_and(|(_, since)| now >= since + 9 * SECOND) => {
                node.node.reachable = false;
            }
            NodeNews::Back if node.lost.is_some() => {
                node.lost = None;
                node.node.reachable = true;
                self.met.insert("a lost node comes back");
                self.return_all_on(host, index);
            }
            NodeNews::Paused => node.node.availability = Availability::Paused,
            NodeNews::ToDrain => {
                node.node.availability = Availability::Paused;
                node.node.drain_requested = true;
            }
            NodeNews::Stuck(stuck) => self.is_stuck[host] = stuck,
            NodeNews::Resumed => {
                node.node.availability = Availability::Active;
                node.node.drain_requested = false;
            }
            _ => return,
        }
        note!(self, "world: node {index} of host {host}: {news:?}");
    }

    fn all_on(&self, host: usize, node: usize) -> Vec<usize> {
        let is_there = |&c: &usize| self.containers[c].task.is_some_and(|task| task.node == Some(node));
        self.present[host].iter().copied().filter(is_there).collect()
    }

    fn lose_all_on(&mut self, host: usize, node: usize, how: Lost) {
        for container in self.all_on(host, node) {
            let registration = self.containers[container].registration;
            match how {
                Lost::Machine if self.containers[container].is_up() => {
                    self.exits(container, 137, false);
                }
                Lost::Network => {
                    // GitHub gives up a job whose runner it does not hear from.
                    let delay = self.random.within(0, 30 * SECOND);
                    self.after(delay, Happening::Offline(registration));
                    let delay = self.random.within(8 * MINUTE, 15 * MINUTE);
                    self.after(delay, Happening::GiveUp(container, self.now));
                }
                Lost::Machine | Lost::Manager => {}
            }
        }
    }

    fn return_all_on(&mut self, host: usize, node: usize) {
        for container in self.all_on(host, node) {
            let registration = self.containers[container].registration;
            if self.containers[container].connected_at.is_some() {
                self.after(SECOND, Happening::Online(registration));
            }
            if self.containers[container].state == State::Created {
                self.after(SECOND, Happening::StartTask(container));
            }
            if self.following[host] {
                self.repeat_log(container);
            }
        }
    }

    /// GitHub gives up a job whose runner is cut off since then.
    pub(crate) fn gives_up(&mut self, container: usize, since: u64) {
        let c = &self.containers[container];
        let (registration, job) = (c.registration, c.job.filter(|_| c.has_job()));
        if self.lost_since(container).is_none_or(|(how, lost_at)| how != Lost::Network || lost_at != since) {
            return;
        }
        if let Some(job) = job {
            note!(self, "world: job {job} is given up");
            self.jobs[job].fate = Fate::Lost;
            self.job_ends(job);
            self.releases(registration);
            self.after(SECOND, Happening::Exit(container, 1, false));
        }
    }

    /// How and since when the node of a container is lost.
    fn lost_since(&self, container: usize) -> Option<(Lost, u64)> {
        let c = &self.containers[container];
        self.swarms[c.host].get(c.task?.node?)?.lost
    }

    /// Whether the engine can reach what runs in a container.
    pub(crate) fn is_cut_off(&self, container: usize) -> bool {
        self.lost_since(container).is_some()
    }

    /// Whether GitHub cannot.
    pub(crate) fn is_out_of_touch(&self, container: usize) -> bool {
        self.lost_since(container).is_some_and(|(how, _)| how != Lost::Manager)
    }

    /// A service was created: its task waits to be placed.
    pub(crate) fn is_a_task(&mut self, container: usize) {
        let lag = if self.random.chance(300) { self.random.within(0, 5 * SECOND) } else { 50 };
        self.containers[container].task = Some(Task { lag, ..Task::default() });
        let delay = self.random.within(50, 1500);
        self.after(delay, Happening::Place(container));
    }

    /// How many tasks a node has, and what they take.
    fn taken_on(&self, host: usize, node: usize) -> (usize, Resources) {
        let (mut count, mut taken) = (0, Resources::default());
        let all = self.all_on(host, node).into_iter().map(|c| &self.containers[c]);
        for c in all.filter(|c| c.takes_room()) {
            count += 1;
            taken.memory += c.resources.memory;
            taken.cpu_millis += c.resources.cpu_millis;
        }
        (count, taken)
    }

    /// The manager places a task on the node with the fewest, of those that are suitable.
    pub(crate) fn place(&mut self, container: usize) {
        let host = self.containers[container].host;
        let Some(task) = self.containers[container].task else { return };
        if task.node.is_some() || !self.containers[container].takes_room() {
            return;
        }
        let c = &self.containers[container];
        let constraints = &self.setting.pools[c.pool].pool.template.constraints;
        let mut suitable = Vec::new();
        for (index, SwarmNode { node, .. }) in self.swarms[host].iter().enumerate() {
            let (count, taken) = self.taken_on(host, index);
            let fits = |needed: u64, size: u64, reserved: u64, taken: u64| needed + reserved + taken <= size;
            if !self.is_stuck[host]
                && node.reachable
                && node.availability == Availability::Active
                && fits(c.resources.memory, node.size.memory, node.reserved.memory, taken.memory)
                && fits(
                    c.resources.cpu_millis,
                    node.size.cpu_millis,
                    node.reserved.cpu_millis,
                    taken.cpu_millis,
                )
                && satisfies(node, constraints)
            {
                suitable.push((count, index));
            }
        }
        let fewest = suitable.iter().map(|(count, _)| *count).min();
        suitable.retain(|(count, _)| Some(*count) == fewest);
        let chosen =
            if suitable.is_empty() { None } else { Some(suitable[self.random.index(suitable.len())].1) };
        let runner = self.containers[container].runner.clone();
        let task = self.containers[container].task.get_or_insert_default();
        task.tried = chosen.is_none();
        if let Some(node) = chosen {
            task.node = Some(node);
            note!(self, "world: {runner} is placed on node {node}");
            let pull = match self.random.index(10) {
                0 => self.random.within(5 * SECOND, 40 * SECOND),
                _ => self.random.within(200, 2 * SECOND),
            };
            self.after(pull, Happening::StartTask(container));
        } else {
            note!(self, "world: no node is suitable for {runner}");
            self.met.insert("a runner waits for a node");
            self.after(2 * SECOND, Happening::Place(container));
        }
    }

    /// A node starts a task that it was given.
    pub(crate) fn start_task(&mut self, container: usize) {
        let c = &self.containers[container];
        if c.state == State::Created && !c.removed && !self.is_cut_off(container) {
            self.starts(container);
        }
    }

    /// Whether the manager knows what a node did then.
    fn is_known(&self, container: usize, at: u64) -> bool {
        let at = at + self.containers[container].task.map_or(0, |task| task.lag);
        at <= self.now && self.lost_since(container).is_none_or(|(_, since)| at < since)
    }

    /// Whether it is known that a container has ended, if it has.
    pub(crate) fn shows_end(&self, container: usize) -> bool {
        let ended_at = self.containers[container].task.and_then(|task| task.ended_at);
        ended_at.is_none_or(|at| self.is_known(container, at))
    }

    /// What the manager shows of a host that is a Swarm.
    pub(crate) fn show_cluster(&self, host: usize) -> Option<Cluster> {
        if self.swarms[host].is_empty() {
            return None;
        }
        let nodes = self.swarms[host].iter().map(|node| node.node.clone()).collect();
        let mut runners = BTreeMap::new();
        for &index in &self.present[host] {
            let c = &self.containers[index];
            let Some(task) = c.task else { continue };
            if matches!(c.state, State::Down(_)) && self.shows_end(index) {
                continue;
            }
            let placed = match task.node {
                Some(node) => Placed::On {
                    node: self.swarms[host][node].node.id.clone(),
                    started: task.started_at.is_some_and(|at| self.is_known(index, at)),
                },
                None => Placed::Nowhere(task.tried.then(|| "no suitable node".to_owned())),
            };
            runners.insert(c.runner.clone(), placed);
        }
        Some(Cluster { nodes, runners })
    }

    /// A service is removed, whatever its task does on a node that the manager cannot reach.
    pub(crate) fn remove_service(&mut self, container: usize, why: Option<Why>) -> Answer {
        let c = &self.containers[container];
        let is_known_lost = |node: usize| !self.swarms[c.host][node].node.reachable;
        let is_lost = c.task.and_then(|task| task.node).is_some_and(is_known_lost);
        if c.is_up() && !is_lost {
            return Fault::EngineRefused.answer(false);
        }
        if c.is_up() && c.has_job() && c.job.is_some_and(|job| self.jobs[job].fate == Fate::Assigned) {
            let what = format!("{} has a job on a lost node and is removed for {why:?}", c.runner);
            self.breach(1, &what);
        }
        if why == Some(Why::NodeLost) {
            self.met.insert("a runner of a lost node is removed");
        }
        self.removed(container);
        Answer::Done
    }

    /// A node is drained: the manager stops whatever is there.
    pub(crate) fn drain_node(&mut self, host: usize, id: &NodeId) -> Answer {
        let Some(index) = self.swarms[host].iter().position(|node| node.node.id == *id) else {
            return Fault::EngineRefused.answer(false);
        };
        let node = &mut self.swarms[host][index].node;
        // The edge looks again, since it may have been resumed.
        if !node.drain_requested || node.availability == Availability::Active {
            return Fault::EngineRefused.answer(false);
        }
        node.availability = Availability::Drained;
        self.met.insert("a node is drained");
        note!(self, "world: node {index} of host {host} is drained");
        for container in self.all_on(host, index) {
            if self.containers[container].takes_room() {
                let what = format!("{} is on a node that is drained", self.containers[container].runner);
                self.breach(1, &what);
            }
        }
        Answer::Done
    }
}

/// As Docker compares.
pub(crate) fn satisfies(node: &Node, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| {
        let value = node.attributes.get(&constraint.attribute).map_or("", String::as_str);
        value.eq_ignore_ascii_case(&constraint.value) == constraint.equal
    })
}
