//! Clusters of nodes and pools of several sizes, chosen at random: the engine places what is launched by spread, in an
//! order of its own, and finds a node for everything.

use std::{collections::BTreeMap, time::Duration};

use dayfly_fleet::{
    Action, Availability, Cluster, Constraint, Container, ContainerId, ContainerState, Deregistered, Devices,
    Evidence, Exit, Fleet, Host, ImageState, Instant, Launched, Node, NodeId, Placed, Policy, Pool,
    Registration, RegistrationId, Removed, Resources, RunnerName, RunnerStatus, Stopped, Template, Timestamp,
};
use proptest::{collection::vec, prelude::*};

use crate::stage::{START, host_name, pool_named, queue_of, scope};

const GIB: u64 = 1 << 30;

/// What happens to a cluster between two passes.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// So many jobs wait for a pool.
    Jobs(u8, u8),
    /// The engine shows what it has.
    List,
    /// A runner that has a job ends.
    Done(u8),
    /// A node takes runners again, is paused, or is lost; others reserve more of it or less.
    Changes(u8, u8),
    Wait(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (any::<u8>(), any::<u8>()).prop_map(|(pool, jobs)| Happening::Jobs(pool, jobs)),
        4 => Just(Happening::List),
        3 => any::<u8>().prop_map(Happening::Done),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, how)| Happening::Changes(node, how)),
        1 => any::<u8>().prop_map(Happening::Wait),
    ]
}

/// A cluster whose nodes start everything at once, and whose runners get a job at once.
struct Swarm {
    fleet: Fleet,
    now: Instant,
    nodes: Vec<Node>,
    pools: Vec<Pool>,
    running: BTreeMap<RunnerName, (Container, Placed)>,
    /// How many jobs wait for each pool.
    jobs: Vec<u8>,
    /// Whether the engine finds no node for anything.
    is_stuck: bool,
    /// Chance, for the order in which the engine places, and which of equal nodes it takes.
    chance: u64,
    number: u64,
}

fn node(index: usize, gibibytes: u64) -> Node {
    let name = format!("n{index}");
    Node {
        id: NodeId(name.as_str().into()),
        name,
        availability: Availability::Active,
        reachable: true,
        size: Resources { memory: gibibytes * GIB, cpu_millis: 8000 },
        reserved: Resources::default(),
        other_runners: 0,
        drain_requested: false,
        attributes: BTreeMap::from([("node.labels.parity".to_owned(), (index % 2).to_string())]),
    }
}

/// A pool of runners of this many gibibytes, which may be for the nodes with odd numbers only.
fn pool(index: usize, gibibytes: u64, is_odd: bool) -> Pool {
    let name = format!("p{index}");
    let odd = Constraint { attribute: "node.labels.parity".to_owned(), equal: true, value: "1".to_owned() };
    let resources = Resources { memory: gibibytes * GIB, cpu_millis: 1000 };
    let constraints = if is_odd { vec![odd] } else { Vec::new() };
    Pool {
        labels: vec!["self-hosted".to_owned(), name.clone()],
        policy: Policy { min_idle: 0, max: 1000, ..Policy::default() },
        template: Template { resources, constraints, ..Template::default() },
        ..pool_named(&name)
    }
}

impl Swarm {
    fn new(sizes: &[u64], pools: &[(u64, bool)], chance: u64) -> Self {
        let nodes = sizes.iter().enumerate().map(|(index, size)| node(index, *size)).collect();
        let pools: Vec<Pool> =
            pools.iter().enumerate().map(|(index, (size, is_odd))| pool(index, *size, *is_odd)).collect();
        let host = Host {
            name: host_name(),
            max_runners: None,
            budget: Resources::default(),
            devices: BTreeMap::new(),
            nodes: Some(Vec::new()),
        };
        let jobs = vec![0; pools.len()];
        let fleet = Fleet::new("ci1".parse().unwrap(), 5, pools.clone(), vec![host]);
        let (now, running) = (START, BTreeMap::new());
        let mut swarm = Self { fleet, now, nodes, pools, running, jobs, is_stuck: false, chance, number: 0 };
        let (image, state) = (Template::default().image, ImageState::Present("sha256:1".to_owned()));
        swarm.observe(Evidence::Image { host: host_name(), image, state });
        swarm.list();
        swarm
    }

    fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    fn draw(&mut self, below: usize) -> usize {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.chance >> 33).unwrap() % below.max(1)
    }

    fn list(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        let (began, host) = (self.now, host_name());
        let containers = self.running.values().map(|(container, _)| container.clone()).collect();
        self.observe(Evidence::Containers { host: host.clone(), began, containers, attachments: Vec::new() });
        let runners = self.running.iter().map(|(name, (_, placed))| (name.clone(), placed.clone())).collect();
        let cluster = Cluster { nodes: self.nodes.clone(), runners };
        self.observe(Evidence::Cluster { host, cluster });
        let registrations = self.running.iter().map(|(name, (container, placed))| Registration {
            id: container.registration.unwrap(),
            name: name.to_string(),
            status: if is_placed(placed) { RunnerStatus::Online } else { RunnerStatus::Offline },
            busy: is_placed(placed),
        });
        let registrations = registrations.collect();
        self.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
    }

    fn queue(&mut self) {
        let ids: Vec<(u64, usize)> = (0..self.jobs.len())
            .flat_map(|pool| (0..self.jobs[pool]).map(move |job| (1000 * pool as u64 + u64::from(job), pool)))
            .collect();
        let Evidence::Queue { repository, began, mut jobs } =
            queue_of(ids.iter().map(|(id, _)| *id), START, self.now)
        else {
            unreachable!("that is a queue")
        };
        for ((job, _), (_, pool)) in jobs.iter_mut().zip(&ids) {
            job.labels.push(format!("p{pool}"));
        }
        self.observe(Evidence::Queue { repository, began, jobs });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Jobs(pool, jobs) => {
                let pool = usize::from(pool) % self.jobs.len();
                self.jobs[pool] = jobs % 12;
                self.queue();
            }
            Happening::List => self.list(),
            Happening::Done(which) => self.done(which),
            Happening::Changes(which, how) => {
                let index = usize::from(which) % self.nodes.len();
                let node = &mut self.nodes[index];
                node.reachable = how % 5 != 0;
                node.availability = if how % 7 == 0 { Availability::Paused } else { Availability::Active };
                node.reserved.memory = u64::from(how % 3) * GIB;
                // What the engine knows and the daemon does not is another property's.
                self.list();
            }
            Happening::Wait(seconds) => self.now = self.now + Duration::from_secs(seconds.into()),
        }
    }

    fn done(&mut self, which: u8) {
        let busy: Vec<&RunnerName> =
            self.running.iter().filter(|(_, (_, placed))| is_placed(placed)).map(|(name, _)| name).collect();
        let Some(runner) = busy.get(usize::from(which) % busy.len().max(1)).copied().cloned() else { return };
        self.running.remove(&runner);
        self.observe(Evidence::Exited { runner, exit: exit(0, Some("build")) });
    }

    fn taken_on(&self, node: &Node) -> (usize, Resources) {
        let (mut count, mut taken) = (0, Resources::default());
        for (container, placed) in self.running.values() {
            if matches!(placed, Placed::On { node: on, .. } if *on == node.id) {
                count += 1;
                taken.memory += container.resources.memory;
                taken.cpu_millis += container.resources.cpu_millis;
            }
        }
        (count, taken)
    }

    /// The engine places a runner: on one of the nodes with the fewest, of those that are suitable.
    fn place(&mut self, runner: &RunnerName) {
        let pool = self.pools.iter().find(|pool| pool.name.as_str() == runner.pool()).unwrap();
        let needed = pool.template.resources;
        let is_suitable = |node: &&Node| {
            let (_, taken) = self.taken_on(node);
            node.reachable
                && node.availability == Availability::Active
                && node.suits(&pool.template)
                && needed.memory + taken.memory + node.reserved.memory <= node.size.memory
                && needed.cpu_millis + taken.cpu_millis <= node.size.cpu_millis
        };
        let suitable: Vec<&Node> = self.nodes.iter().filter(|_| !self.is_stuck).filter(is_suitable).collect();
        let fewest = suitable.iter().map(|node| self.taken_on(node).0).min();
        let equal = suitable.into_iter().filter(|node| Some(self.taken_on(node).0) == fewest);
        let equal: Vec<NodeId> = equal.map(|node| node.id.clone()).collect();
        let chosen = self.draw(equal.len());
        self.running.get_mut(runner).unwrap().1 = match equal.get(chosen) {
            Some(node) => Placed::On { node: node.clone(), started: true },
            None => Placed::Nowhere(Some("no suitable node".to_owned())),
        };
    }

    /// Plans once, and lets happen what is planned. Returns the pools of which runners were launched.
    fn pass(&mut self) -> Result<Vec<String>, TestCaseError> {
        let plan = self.fleet.plan(self.now);
        let again = self.fleet.plan(self.now);
        prop_assert!(again.actions.is_empty(), "rule 7: {again:?}");
        let mut launched = Vec::new();
        for action in plan.actions {
            match action {
                Action::Launch { runner, .. } => launched.push(runner),
                Action::Deregister { runner, .. } => {
                    self.observe(Evidence::Deregister { runner, outcome: Deregistered::Removed });
                }
                Action::Stop { runner, .. } => {
                    self.running.remove(&runner);
                    self.observe(Evidence::Exited { runner: runner.clone(), exit: exit(143, None) });
                    self.observe(Evidence::Stop { runner, outcome: Stopped::Down });
                }
                Action::Remove { runner, .. } => {
                    self.running.remove(&runner);
                    self.observe(Evidence::Remove { runner, outcome: Removed::Gone });
                }
                Action::DrainNode { .. } => {}
            }
        }
        let mut waiting = launched.clone();
        for runner in &launched {
            self.launch(runner);
        }
        while !waiting.is_empty() {
            let next = self.draw(waiting.len());
            let runner = waiting.swap_remove(next);
            self.place(&runner);
        }
        Ok(launched.iter().map(|runner| runner.pool().to_owned()).collect())
    }

    fn launch(&mut self, runner: &RunnerName) {
        self.number += 1;
        let (registration, id) = (RegistrationId(self.number), ContainerId(runner.as_str().into()));
        let pool = self.pools.iter().find(|pool| pool.name.as_str() == runner.pool()).unwrap();
        let container = Container {
            id: id.clone(),
            runner: runner.clone(),
            registration: Some(registration),
            scope: Some(scope()),
            template: pool.template.digest(),
            image: Some("sha256:1".to_owned()),
            resources: pool.template.resources,
            devices: Devices::default(),
            state: ContainerState::Up,
        };
        self.running.insert(runner.clone(), (container, Placed::Nowhere(None)));
        let outcome = Launched::Up { registration, container: id };
        self.observe(Evidence::Launch { runner: runner.clone(), outcome });
    }

    /// How many runners of each pool no node is suitable for.
    fn pending(&self) -> BTreeMap<&str, u32> {
        let mut pending = BTreeMap::new();
        for (name, _) in self.running.iter().filter(|(_, (_, placed))| !is_placed(placed)) {
            *pending.entry(name.pool()).or_default() += 1;
        }
        pending
    }

    /// What a pool of this size still fits into, on all nodes.
    fn fits(&self, pool: &Pool) -> bool {
        self.nodes.iter().any(|node| {
            let (_, taken) = self.taken_on(node);
            node.reachable
                && node.availability == Availability::Active
                && node.suits(&pool.template)
                && pool.template.resources.memory + taken.memory + node.reserved.memory <= node.size.memory
                && pool.template.resources.cpu_millis + taken.cpu_millis <= node.size.cpu_millis
        })
    }
}

fn is_placed(placed: &Placed) -> bool {
    matches!(placed, Placed::On { .. })
}

fn exit(code: i64, job: Option<&str>) -> Exit {
    Exit {
        at: Timestamp::default(),
        ran: None,
        code,
        out_of_memory: false,
        job: job.map(str::to_owned),
        result: None,
        version_deprecated: false,
        log_tail: "".into(),
    }
}

fn pools() -> impl Strategy<Value = Vec<(u64, bool)>> {
    vec((1..9u64, any::<bool>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever the sizes, and in whatever order the engine places: each runner that is launched has a node.
    #[test]
    fn everything_that_is_launched_has_a_node(
        sizes in vec(1..17u64, 1..6),
        pools in pools(),
        story in vec(happening(), 1..80),
        chance in any::<u64>(),
    ) {
        let mut swarm = Swarm::new(&sizes, &pools, chance);
        for happening in story {
            swarm.happen(happening);
            swarm.pass()?;
            prop_assert!(swarm.pending().is_empty(), "{:?} {:?}", swarm.pending(), swarm.nodes);
        }
        // And what there is room for is launched.
        for pool in 0..pools.len() {
            swarm.jobs.fill(0);
            swarm.jobs[pool] = 200;
            for _ in 0..4 {
                swarm.now = swarm.now + Duration::from_secs(20);
                swarm.list();
                swarm.queue();
                swarm.pass()?;
            }
            prop_assert!(!swarm.fits(&swarm.pools[pool]), "{:?}", swarm.fleet.status().pools);
        }
    }

    /// An engine that finds no node costs each pool one mint, until that runner has waited for long.
    #[test]
    fn a_pool_has_one_runner_without_a_node(
        sizes in vec(1..17u64, 1..6),
        pools in pools(),
        jobs in vec(1..12u8, 3),
        chance in any::<u64>(),
    ) {
        let mut swarm = Swarm::new(&sizes, &pools, chance);
        swarm.is_stuck = true;
        let mut mints: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..180 {
            swarm.now = swarm.now + Duration::from_secs(19);
            swarm.list();
            swarm.jobs.copy_from_slice(&jobs[..pools.len()]);
            swarm.queue();
            for pool in swarm.pass()? {
                *mints.entry(pool).or_default() += 1;
            }
            prop_assert!(swarm.pending().values().all(|count| *count == 1));
        }
        prop_assert!(mints.values().all(|mints| *mints <= 4), "in an hour {mints:?}");
    }
}
