//! The setting of a day: pools, hosts, policies and faults, all chosen with its seed.

use std::time::Duration;

use dayfly_fleet::{
    Demand, Host, HostName, InstanceId, Node, Policy, Pool, Resources, Scope, Target, Template,
};

use crate::{extras, random::Random, swarm};

/// One second in the world's milliseconds.
pub(crate) const SECOND: u64 = 1000;
/// One minute in the world's milliseconds.
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// When every day begins.
pub(crate) const MORNING: u64 = 777_000_000;

pub(crate) const GIB: u64 = 1 << 30;

/// How often what goes wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// GitHub calls that fail.
    pub(crate) github: u64,
    /// Lists that lack a runner, or all, and do not say so.
    pub(crate) short_lists: u64,
    /// Engine calls that fail.
    pub(crate) engine: u64,
    /// Runners that do not live as they should.
    pub(crate) runners: u64,
    /// Log lines and events that are never delivered.
    pub(crate) silence: u64,
    /// Jobs after whose start `busy` turns false again.
    pub(crate) flips: u64,
    /// Minutes-long troubles a day, at most.
    pub(crate) spells: u64,
    /// Kills of the daemon a day, at most.
    pub(crate) kills: u64,
}

/// A day's circumstances.
pub(crate) struct Setting {
    pub(crate) instance: InstanceId,
    pub(crate) scopes: Vec<Scope>,
    /// All repositories that have jobs.
    pub(crate) repositories: Vec<Scope>,
    pub(crate) hosts: Vec<Host>,
    /// The nodes of each host that is a Swarm.
    pub(crate) swarms: Vec<Vec<Node>>,
    pub(crate) pools: Vec<PoolSetting>,
    pub(crate) faults: Faults,
    /// How long jobs arrive and faults happen.
    pub(crate) busy_for: u64,
    /// Only this fails, for all of the busy time, and nothing else does (rule 9).
    pub(crate) alone: Option<Alone>,
}

/// What fails alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alone {
    Scope(usize),
    Host(usize),
    Pool(usize),
}

/// The job source of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Idle,
    Queue,
    HintsOverIdle,
    HintsOverQueue,
    ScaleSet,
}

impl Source {
    pub(crate) const COUNT: usize = Self::ScaleSet as usize + 1;

    pub(crate) fn looks(self) -> bool {
        matches!(self, Self::Queue | Self::HintsOverQueue)
    }

    pub(crate) fn hears(self) -> bool {
        matches!(self, Self::HintsOverIdle | Self::HintsOverQueue)
    }

    fn demand(self) -> Demand {
        match self {
            Self::ScaleSet => Demand::ScaleSet,
            _ => Demand::Jobs { queue: self.looks(), webhook: self.hears() },
        }
    }
}

/// A pool and its jobs.
pub(crate) struct PoolSetting {
    pub(crate) pool: Pool,
    pub(crate) scope: usize,
    /// Where its runners may run, by index.
    pub(crate) hosts: Vec<usize>,
    /// Its job source.
    pub(crate) source: Source,
    /// The pools whose jobs its runners can take too, itself included.
    pub(crate) serves: Vec<usize>,
    /// Taken out of the configuration.
    pub(crate) gone: bool,
    /// Milliseconds between bursts, at most.
    pub(crate) burst_gap: u64,
    /// Jobs in a burst, at most.
    pub(crate) burst: u64,
    /// How long a job takes, at most.
    pub(crate) job_for: u64,
}

impl Setting {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let scopes: Vec<Scope> =
            ["https://github.com/acme", "https://github.com/acme/widgets", "https://git.acme.example/ci"]
                [..=random.index(3)]
                .iter()
                .map(|url| url.parse().expect("a scope"))
                .collect();
        let hosts: Vec<HostName> = ["alpha", "beta"][..=random.index(2)]
            .iter()
            .map(|name| name.parse().expect("a host name"))
            .collect();
        let aged = random.chance(350);
        let names = ["linux", "linux-x64", "gpu", "a-ci1"];
        let mut pools: Vec<PoolSetting> = names[..=random.index(4)]
            .iter()
            .map(|name| PoolSetting::draw(random, name, &scopes, &hosts, aged))
            .collect();
        if random.chance(15) {
            // More than may be minted within a minute where queues are polled.
            let many = &mut pools[0];
            (many.source, many.pool.demand) = (Source::Queue, Source::Queue.demand());
            (many.pool.policy.min_idle, many.pool.policy.max) = (100, 110);
        }
        overlap(random, &mut pools);
        let mut extra = Random::new(random.clone().next());
        extras::furnish(&mut extra, &mut pools);
        extras::spread(&mut extra, &mut pools, &hosts);
        let swarms = swarm::draw(&mut Random::new(extra.clone().next()), &hosts, &mut pools);
        let hosts = hosts
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let on_host = || pools.iter().filter(|p| p.hosts.contains(&index));
                let devices = extras::devices(&mut extra, on_host());
                let nodes = (!swarms[index].is_empty()).then(Vec::new);
                Host { devices, nodes, ..budget(random, name, on_host()) }
            })
            .collect();
        let mut repositories: Vec<Scope> = Vec::new();
        for scope in &scopes {
            match scope.target() {
                Target::Repository { .. } => repositories.push(scope.clone()),
                _ => repositories.extend(["one", "two"].map(|name| {
                    scope.repository(&format!("{}/{name}", scope.path())).expect("a repository")
                })),
            }
        }
        let mut setting = Self {
            repositories,
            instance: "ci1".parse().expect("an instance"),
            scopes,
            hosts,
            swarms,
            pools,
            faults: Faults::draw(random),
            busy_for: random.within(10, 40) * MINUTE,
            alone: None,
        };
        if setting.pools.len() > 1 && random.chance(120) {
            setting.fail_alone(random);
        }
        setting
    }

    /// One thing fails all day; everything else is well, and idle enough to measure how long jobs wait.
    fn fail_alone(&mut self, random: &mut Random) {
        self.faults = Faults::default();
        self.alone = Some(match random.index(3) {
            0 => Alone::Scope(random.index(self.scopes.len())),
            1 => Alone::Host(random.index(self.hosts.len())),
            _ => Alone::Pool(random.index(self.pools.len())),
        });
        for pool in &mut self.pools {
            pool.pool.policy.max_job_age = None;
            pool.pool.policy.min_idle = pool.pool.policy.min_idle.max(1);
            pool.pool.policy.max = pool.pool.policy.max.max(4);
            pool.job_for = 15 * SECOND;
            pool.burst = 1;
            pool.burst_gap = 100 * SECOND;
        }
        for host in &mut self.hosts {
            host.max_runners = None;
            host.budget = Resources::default();
            host.devices = extras::plenty();
        }
        self.enlarge_nodes();
    }

    /// Whether a pool has nothing to do with what fails alone.
    pub(crate) fn is_apart(&self, pool: usize) -> bool {
        match self.alone {
            None => false,
            Some(Alone::Scope(scope)) => self.pools[pool].scope != scope,
            // With another host it has to go on.
            Some(Alone::Host(host)) => self.pools[pool].hosts.iter().any(|&other| other != host),
            Some(Alone::Pool(failing)) => pool != failing,
        }
    }

    /// The same day, with polls instead of hints.
    pub(crate) fn without_hints(&mut self) {
        for pool in &mut self.pools {
            if pool.source.hears() {
                pool.source = Source::Queue;
                pool.pool.demand = pool.source.demand();
            }
        }
    }

    /// Whether a pool's scope has a repository.
    pub(crate) fn covers(&self, pool: usize, repository: usize) -> bool {
        let (scope, repository) = (&self.pools[pool].pool.scope, &self.repositories[repository]);
        scope == repository
            || (!matches!(scope.target(), Target::Repository { .. })
                && repository.as_str().starts_with(&format!("{scope}/")))
    }

    /// The pools as configured now.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &PoolSetting> {
        self.pools.iter().filter(|pool| !pool.gone)
    }
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        // Only news of jobs go wrong.
        if random.chance(200) {
            return Self::default();
        }
        let rates = [0, 2, 10, 40];
        Self {
            github: random.of(&rates),
            short_lists: random.of(&[0, 0, 3, 10]),
            engine: random.of(&rates),
            runners: random.of(&[0, 20, 80, 200]),
            silence: random.of(&[0, 20, 100, 500]),
            flips: random.of(&[0, 50, 300]),
            spells: random.of(&[0, 2, 6]),
            kills: random.of(&[0, 2, 6]),
        }
    }
}

impl PoolSetting {
    fn draw(random: &mut Random, name: &str, scopes: &[Scope], hosts: &[HostName], aged: bool) -> Self {
        let (scope, host) = (random.index(scopes.len()), random.index(hosts.len()));
        let source = random.of(&[
            Source::Idle,
            Source::Queue,
            Source::HintsOverIdle,
            Source::HintsOverQueue,
            Source::ScaleSet,
        ]);
        let spares = matches!(source, Source::Idle | Source::HintsOverIdle);
        let min_idle = if spares { random.of(&[1, 1, 2, 3]) } else { random.of(&[0, 0, 1]) };
        let seconds = |random: &mut Random, low, high| Duration::from_secs(random.within(low, high));
        let policy = Policy {
            min_idle,
            max: min_idle + random.of(&[1, 2, 4, 8]),
            priority: random.of(&[0, 0, 1, -1]),
            weight: 1,
            idle_timeout: seconds(random, 20, 180),
            idle_confirmation: seconds(random, 20, 60),
            boot_timeout: seconds(random, 60, 120),
            schedule: dayfly_fleet::Schedule::default(),
            max_job_age: aged.then(|| seconds(random, 150, 400)),
        };
        let template = Template {
            image: format!("runner-{name}"),
            resources: Resources {
                memory: random.within(1, 4) * GIB,
                cpu_millis: random.of(&[500, 1000, 2000]),
            },
            ..Template::default()
        };
        Self {
            pool: Pool {
                name: name.parse().expect("a pool name"),
                scope: scopes[scope].clone(),
                credential: "default".into(),
                hosts: vec![hosts[host].clone()],
                placement: dayfly_fleet::Placement::default(),
                group: "Default".to_owned(),
                labels: vec!["self-hosted".to_owned(), name.to_owned()],
                demand: source.demand(),
                repositories: Vec::new(),
                allow_public: false,
                match_unlabelled: false,
                policy,
                template,
            },
            scope,
            hosts: vec![host],
            source,
            serves: Vec::new(),
            gone: false,
            burst_gap: random.of(&[20, 60, 240]) * SECOND,
            burst: random.of(&[1, 4, 12]),
            job_for: random.of(&[10, 40, 100]) * SECOND,
        }
    }
}

/// Some pools can do what another can, and more; a scale set serves only itself.
fn overlap(random: &mut Random, pools: &mut [PoolSetting]) {
    for index in 0..pools.len() {
        pools[index].serves.push(index);
        let other = random.index(pools.len());
        let (richer, plain) = (&pools[index], &pools[other]);
        let sets = [richer, plain].iter().any(|pool| pool.source == Source::ScaleSet);
        if other != index
            && richer.scope == plain.scope
            && !sets
            && richer.pool.labels.len() == 2
            && plain.pool.labels.len() == 2
            && random.chance(500)
        {
            let label = plain.pool.name.to_string();
            pools[index].pool.labels.push(label);
            pools[index].serves.push(other);
        }
    }
}

/// A host with room for what its pools keep idle, and a little more.
fn budget<'a>(random: &mut Random, name: HostName, pools: impl Iterator<Item = &'a PoolSetting>) -> Host {
    let (mut count, mut memory, mut cpu_millis) = (0, 0, 0);
    for PoolSetting { pool, .. } in pools {
        count += pool.policy.min_idle;
        let each = pool.template.total_resources();
        memory += u64::from(pool.policy.min_idle) * each.memory;
        cpu_millis += u64::from(pool.policy.min_idle) * each.cpu_millis;
    }
    let spare = random.within(1, 8);
    let budget = Resources {
        memory: if random.chance(300) { memory + spare * 6 * GIB } else { 0 },
        cpu_millis: if random.chance(300) { cpu_millis + spare * 2500 } else { 0 },
    };
    let spare = u32::try_from(random.within(1, 8)).expect("small");
    let max_runners = random.chance(300).then_some(count + spare);
    Host { name, max_runners, budget, devices: std::collections::BTreeMap::default(), nodes: None }
}
