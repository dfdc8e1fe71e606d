//! Several pools and hosts in one place, on which everything that is launched comes up at once, and lists show it. A
//! cluster places runners as its engine does.

use super::*;

/// Why a cluster has no node for a runner, as its manager reports it.
pub(super) const NO_SUITABLE_NODE: &str = "no suitable node (insufficient resources on 2 nodes)";

/// Pools and hosts.
pub(super) struct Site {
    pub(super) fleet: Fleet,
    pub(super) now: Instant,
    /// What runs, with whether it has a job.
    pub(super) running: BTreeMap<RunnerName, (HostName, Container, bool)>,
    /// The hosts that cannot be reached.
    pub(super) silent: Vec<HostName>,
    /// The nodes of the hosts that are clusters.
    pub(super) nodes: BTreeMap<HostName, Vec<Node>>,
    /// Where clusters have runners. One that is missing here is placed before the next list.
    pub(super) placed: BTreeMap<RunnerName, Placed>,
    /// Whether clusters find no node for anything.
    pub(super) places_nothing: bool,
    /// The runners that are not connected to GitHub, and those that have no registration.
    pub(super) offline: BTreeSet<RunnerName>,
    pub(super) unregistered: BTreeSet<RunnerName>,
    /// What GitHub answers to deregistrations.
    pub(super) answer: Deregistered,
    /// Whether responses to removals are lost.
    pub(super) loses_responses: bool,
    /// What was done beside launches, since that was last read.
    steps: Vec<String>,
    /// How runners have ended.
    pub(super) ends: Vec<ExitReason>,
    number: u64,
}

pub(super) fn named(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(super) fn host_of(name: &str) -> Host {
    Host { name: named(name), ..host() }
}

pub(super) fn sized(name: &str, max_runners: u32) -> Host {
    Host { max_runners: Some(max_runners), ..host_of(name) }
}

pub(super) fn with_memory(name: &str, gibibytes: u64) -> Host {
    Host { budget: memory(gibibytes), ..host_of(name) }
}

pub(super) fn memory(gibibytes: u64) -> Resources {
    Resources { memory: gibibytes << 30, cpu_millis: 0 }
}

/// A cluster whose nodes are not known yet.
pub(super) fn cluster(name: &str) -> Host {
    Host { nodes: Some(Vec::new()), ..host_of(name) }
}

pub(super) fn node(name: &str, gibibytes: u64) -> Node {
    Node {
        id: NodeId(name.into()),
        name: name.to_owned(),
        availability: Availability::Active,
        reachable: true,
        size: memory(gibibytes),
        reserved: Resources::default(),
        other_runners: 0,
        drain_requested: false,
        attributes: BTreeMap::new(),
    }
}

pub(super) fn on(name: &str, hosts: &[&str], policy: Policy) -> Pool {
    let hosts = hosts.iter().map(|host| named(host)).collect();
    Pool { name: name.parse().unwrap(), hosts, ..pool(policy) }
}

pub(super) fn labelled(label: &str, pool: Pool) -> Pool {
    Pool { labels: vec!["self-hosted".to_owned(), label.to_owned()], ..pool }
}

pub(super) fn of_size(gibibytes: u64, mut pool: Pool) -> Pool {
    pool.template.resources = memory(gibibytes);
    pool
}

pub(super) fn engine_failed(detail: &str) -> Trouble {
    Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: detail.to_owned() }
}

pub(super) fn counted(launched: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for one in launched {
        *counts.entry(one.as_str()).or_default() += 1;
    }
    counts
}

impl Site {
    pub(super) fn new(pools: Vec<Pool>, hosts: Vec<Host>) -> Self {
        let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
        let fleet = Fleet::new("ci1".parse().unwrap(), 1, pools, hosts);
        let mut site = Self {
            fleet,
            now: Instant::from_millis(1_800_000_000_000),
            running: BTreeMap::new(),
            silent: Vec::new(),
            nodes: BTreeMap::new(),
            placed: BTreeMap::new(),
            places_nothing: false,
            offline: BTreeSet::new(),
            unregistered: BTreeSet::new(),
            answer: Deregistered::Removed,
            loses_responses: false,
            steps: Vec::new(),
            ends: Vec::new(),
            number: 0,
        };
        for host in names {
            let (image, state) = (Template::default().image, ImageState::Present("sha256:1".to_owned()));
            site.observe(Evidence::Image { host, image, state });
        }
        site.look();
        site
    }

    /// The same with the nodes of a cluster, which a list has shown.
    pub(super) fn with_nodes(mut self, host: &str, nodes: Vec<Node>) -> Self {
        self.nodes.insert(named(host), nodes);
        self.look();
        self
    }

    /// What is there now, found by a daemon that has just started.
    pub(super) fn restarted(self, pools: Vec<Pool>, hosts: Vec<Host>) -> Self {
        let mut site = Self { fleet: Self::new(pools, hosts).fleet, ..self };
        site.now = site.now + Duration::from_secs(1);
        site.look();
        site
    }

    pub(super) fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    /// Reads what the machines have.
    pub(super) fn sized(mut self, size: Resources) -> Self {
        for host in self.fleet.hosts.keys().cloned().collect::<Vec<_>>() {
            self.observe(Evidence::HostSize { host, size });
        }
        self
    }

    /// Lists everything.
    pub(super) fn look(&mut self) {
        let began = self.now;
        let answering = self.fleet.hosts.keys().filter(|host| !self.silent.contains(host));
        for host in answering.cloned().collect::<Vec<_>>() {
            let here = self.running.values().filter(|(on, ..)| *on == host);
            let containers = here.map(|(_, container, _)| container.clone()).collect();
            self.observe(Evidence::Containers {
                host: host.clone(),
                began,
                containers,
                attachments: Vec::new(),
            });
            if let Some(nodes) = self.nodes.get(&host).cloned() {
                self.place(&host);
                let here = self.placed.iter().filter(|(name, _)| self.is_on(name, &host));
                let runners = here.map(|(name, placed)| (name.clone(), placed.clone())).collect();
                self.observe(Evidence::Cluster { host, cluster: Cluster { nodes, runners } });
            }
        }
        let registered = self.running.iter().filter(|(name, _)| !self.unregistered.contains(*name));
        let listed = registered.map(|(name, (_, container, busy))| Registration {
            id: container.registration.unwrap(),
            name: name.to_string(),
            status: if self.offline.contains(name) { RunnerStatus::Offline } else { RunnerStatus::Online },
            busy: *busy,
        });
        let registrations = listed.collect();
        self.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
    }

    fn is_on(&self, runner: &RunnerName, host: &HostName) -> bool {
        self.running.get(runner).is_some_and(|(on, ..)| on == host)
    }

    /// Places what a cluster has not placed yet: on the node with the fewest runners, of those that have room.
    fn place(&mut self, host: &HostName) {
        let waiting: Vec<RunnerName> =
            self.running.keys().filter(|name| self.is_on(name, host)).cloned().collect();
        for name in waiting {
            if matches!(self.placed.get(&name), Some(Placed::On { .. })) {
                continue;
            }
            let needed = self.running[&name].1.resources.memory;
            let fits = |node: &&Node| {
                let (_, taken) = self.taken_on(host, &node.id);
                let free = node.size.memory.saturating_sub(node.reserved.memory + taken);
                node.reachable && node.availability == Availability::Active && needed <= free
            };
            let suitable = self.nodes[host].iter().filter(|_| !self.places_nothing).filter(fits);
            let chosen = suitable.min_by_key(|node| self.taken_on(host, &node.id).0);
            let placed = match chosen {
                Some(node) => Placed::On { node: node.id.clone(), started: true },
                None => Placed::Nowhere(Some(NO_SUITABLE_NODE.to_owned())),
            };
            self.placed.insert(name, placed);
        }
    }

    /// How many runners are on a node, and the memory that they have.
    pub(super) fn taken_on(&self, host: &HostName, node: &NodeId) -> (usize, u64) {
        let on_node = |(name, placed): &(&RunnerName, &Placed)| {
            matches!(placed, Placed::On { node: on, .. } if on == node) && self.is_on(name, host)
        };
        let here = || self.placed.iter().filter(on_node);
        (here().count(), here().map(|(name, _)| self.running[name].1.resources.memory).sum())
    }

    pub(super) fn wait(&mut self, length: Duration) {
        self.now = self.now + length;
        self.look();
    }

    /// Jobs for the labels of a pool, as a poll shows them.
    pub(super) fn queue(&mut self, jobs: impl IntoIterator<Item = u64>, label: Option<&str>) {
        self.queue_each(jobs, |_| label);
    }

    /// Jobs with one more label each, by their numbers.
    pub(super) fn queue_each<'l>(
        &mut self,
        jobs: impl IntoIterator<Item = u64>,
        label: impl Fn(u64) -> Option<&'l str>,
    ) {
        let Evidence::Queue { repository, began, mut jobs } = queue_of(jobs, self.now, self.now) else {
            unreachable!()
        };
        for (job, _) in &mut jobs {
            job.labels.extend(label(job.id.0).map(str::to_owned));
        }
        self.observe(Evidence::Queue { repository, began, jobs });
    }

    /// Plans, and lets happen what is planned. Returns where runners were launched, as `pool@host`.
    pub(super) fn plan(&mut self) -> Vec<String> {
        let Plan { actions, events, .. } = self.fleet.plan(self.now);
        self.ends.extend(events.iter().filter_map(|event| match event {
            Event::Exited { reason, .. } => Some(*reason),
            _ => None,
        }));
        let launched = actions.iter().filter_map(|action| match action {
            Action::Launch { pool, host, .. } => Some(format!("{pool}@{host}")),
            _ => None,
        });
        let launched = launched.collect();
        for action in actions {
            self.carry_out(action);
        }
        launched
    }

    /// Goes on for so long, with a list and a pass every ten seconds. Returns what was launched.
    pub(super) fn live(&mut self, length: Duration) -> Vec<String> {
        let (until, mut launched) = (self.now + length, self.plan());
        while self.now < until {
            self.wait(Duration::from_secs(10));
            launched.extend(self.plan());
        }
        launched
    }

    /// What was done beside launches since this was last read.
    pub(super) fn steps(&mut self) -> Vec<String> {
        std::mem::take(&mut self.steps)
    }

    /// A container for a runner, which has just been started.
    pub(super) fn container(&mut self, runner: &RunnerName) -> Container {
        self.number += 1;
        let template = &self.fleet.pools[runner.pool()].pool.template;
        Container {
            id: ContainerId(format!("c{}", self.number).into()),
            runner: runner.clone(),
            registration: Some(RegistrationId(self.number)),
            scope: Some(scope()),
            template: template.digest(),
            image: Some("sha256:1".to_owned()),
            resources: template.resources,
            devices: Devices::default(),
            state: ContainerState::Up,
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Launch { runner, host, devices, .. } if !self.silent.contains(&host) => {
                let container = Container { devices, ..self.container(&runner) };
                let (registration, id) = (container.registration.unwrap(), container.id.clone());
                self.running.insert(runner.clone(), (host, container, false));
                let outcome = Launched::Up { registration, container: id };
                self.observe(Evidence::Launch { runner, outcome });
            }
            Action::Launch { .. } => {}
            Action::Deregister { runner, ask, why, .. } => {
                self.step(ask.is_some(), "deregister", why);
                let has_job = self.running.get(&runner).is_some_and(|(.., busy)| *busy);
                let outcome =
                    if ask.is_some() && has_job { Deregistered::Vetoed(None) } else { self.answer.clone() };
                if outcome == Deregistered::Removed {
                    self.unregistered.insert(runner.clone());
                }
                self.observe(Evidence::Deregister { runner, outcome });
            }
            Action::Stop { runner, ask, why, .. } => {
                self.step(ask, "stop", why);
                self.running.remove(&runner);
                self.observe(Evidence::Exited { runner: runner.clone(), exit: exit(None, 143, self.now) });
                self.observe(Evidence::Stop { runner, outcome: Stopped::Down });
            }
            Action::Remove { runner, why, .. } => {
                self.step(false, "remove", why);
                self.running.remove(&runner);
                let trouble = || engine_failed("timed out");
                let outcome = if self.loses_responses { Removed::Failed(trouble()) } else { Removed::Gone };
                self.observe(Evidence::Remove { runner, outcome });
            }
            Action::DrainNode { node, .. } => self.steps.push(format!("drain {}", node.0)),
        }
    }

    fn step(&mut self, asks: bool, what: &str, why: Why) {
        let ask = if asks { "ask, " } else { "" };
        self.steps.push(format!("{ask}{what}: {}", why.as_str()));
    }

    /// How many runners of each pool run on each host.
    pub(super) fn where_they_run(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (name, (host, ..)) in &self.running {
            *counts.entry(format!("{}@{host}", name.pool())).or_default() += 1;
        }
        counts
    }

    /// Gives every idle runner of a pool a job.
    pub(super) fn all_busy(&mut self, pool: &str) {
        for (_, (.., busy)) in self.running.iter_mut().filter(|(name, _)| name.pool() == pool) {
            *busy = true;
        }
        self.look();
    }

    /// Ends one busy runner of a pool with its job.
    pub(super) fn one_done(&mut self, pool: &str) {
        let done = self.running.iter().find(|(name, (.., busy))| name.pool() == pool && *busy);
        let runner = done.map(|(name, _)| name.clone()).unwrap();
        self.running.remove(&runner);
        self.observe(Evidence::Exited { runner, exit: exit(Some("build"), 0, self.now) });
    }

    pub(super) fn fails(&mut self, host: &str) {
        self.observe(Evidence::HostTrouble { host: named(host), trouble: engine_failed("timed out") });
    }

    pub(super) fn held(&self, pool: &str) -> (Option<Held>, Option<String>) {
        let status = self.fleet.status();
        let pool = status.pools.iter().find(|report| report.name.as_str() == pool).unwrap();
        (pool.held, pool.held_detail.clone())
    }
}
