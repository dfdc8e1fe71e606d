//! Fleets of several hosts and pools of several sizes, chosen at random: budgets, packing, and that nobody starves.

use std::{collections::BTreeMap, time::Duration};

use dayfly_fleet::{
    Action, Container, ContainerId, ContainerState, Devices, Evidence, Exit, Fleet, Host, HostName,
    ImageState, Instant, Launched, Placement, Policy, Pool, Registration, RegistrationId, Resources,
    RunnerName, RunnerStatus, Template, Timestamp,
};
use proptest::{collection::vec, prelude::*};

use crate::stage::{START, pool_named, queue_of, scope};

const GIB: u64 = 1 << 30;

/// Machines on which everything comes up at once and gets a job at once.
struct Machines {
    fleet: Fleet,
    now: Instant,
    budgets: BTreeMap<HostName, u64>,
    /// The memory of each pool's runners, in bytes.
    sizes: Vec<u64>,
    running: BTreeMap<RunnerName, (HostName, u64, Container)>,
    number: u64,
}

/// A pool of runners of this many gibibytes, with a label of its own, on all hosts.
fn pool(index: usize, gibibytes: u64, weight: u32, hosts: &[HostName], placement: Placement) -> Pool {
    let resources = Resources { memory: gibibytes * GIB, cpu_millis: 0 };
    let name = format!("p{index}");
    Pool {
        hosts: hosts.to_vec(),
        placement,
        labels: vec!["self-hosted".to_owned(), name.clone()],
        policy: Policy { min_idle: 0, max: 10_000, weight, ..Policy::default() },
        template: Template { resources, ..Template::default() },
        ..pool_named(&name)
    }
}

impl Machines {
    fn new(budgets: &[u64], pools: impl FnOnce(&[HostName]) -> Vec<Pool>) -> Self {
        let hosts: Vec<Host> = budgets
            .iter()
            .enumerate()
            .map(|(index, gibibytes)| Host {
                name: format!("h{index}").parse().unwrap(),
                max_runners: None,
                budget: Resources { memory: gibibytes * GIB, cpu_millis: 0 },
                devices: BTreeMap::new(),
                nodes: None,
            })
            .collect();
        let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
        let budgets = hosts.iter().map(|host| (host.name.clone(), host.budget.memory)).collect();
        let pools = pools(&names);
        let sizes = pools.iter().map(|pool| pool.template.resources.memory).collect();
        let fleet = Fleet::new("ci1".parse().unwrap(), 3, pools, hosts);
        let mut machines = Self { fleet, now: START, budgets, sizes, running: BTreeMap::new(), number: 0 };
        for host in names {
            let (image, state) = (Template::default().image, ImageState::Present("sha256:1".to_owned()));
            machines.observe(Evidence::Image { host, image, state });
        }
        machines.look();
        machines
    }

    fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    fn look(&mut self) {
        let began = self.now;
        let hosts: Vec<HostName> = self.budgets.keys().cloned().collect();
        for host in hosts {
            let here = self.running.values().filter(|(on, ..)| *on == host);
            let containers = here.map(|(.., container)| container.clone()).collect();
            self.observe(Evidence::Containers { host, began, containers, attachments: Vec::new() });
        }
        let registrations = self.running.iter().map(|(name, (.., container))| Registration {
            id: container.registration.unwrap(),
            name: name.to_string(),
            status: RunnerStatus::Online,
            busy: true,
        });
        let registrations = registrations.collect();
        self.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
    }

    /// Queued jobs, by number and pool.
    fn queue(&mut self, jobs: &[(u64, usize)]) {
        let ids = jobs.iter().map(|(id, _)| *id);
        let Evidence::Queue { repository, began, jobs: mut queued } = queue_of(ids, START, self.now) else {
            unreachable!("that is a queue")
        };
        for ((job, _), (_, pool)) in queued.iter_mut().zip(jobs) {
            job.labels.push(format!("p{pool}"));
        }
        self.observe(Evidence::Queue { repository, began, jobs: queued });
    }

    /// Plans once, and launches what is planned; returns the pools, by number.
    fn launch(&mut self) -> Result<Vec<usize>, TestCaseError> {
        let mut launched = Vec::new();
        for action in self.fleet.plan(self.now).actions {
            let Action::Launch { runner, host, .. } = action else { continue };
            self.number += 1;
            let (registration, id) = (RegistrationId(self.number), format!("c{}", self.number));
            let pool: usize = runner.pool()[1..].parse().unwrap();
            let memory = self.sizes[pool];
            let container = Container {
                id: ContainerId(id.as_str().into()),
                runner: runner.clone(),
                registration: Some(registration),
                scope: Some(scope()),
                template: Template::default().digest(),
                image: Some("sha256:1".to_owned()),
                resources: Resources { memory, cpu_millis: 0 },
                devices: Devices::default(),
                state: ContainerState::Up,
            };
            let outcome = Launched::Up { registration, container: container.id.clone() };
            launched.push(pool);
            self.running.insert(runner.clone(), (host, memory, container));
            self.observe(Evidence::Launch { runner, outcome });
        }
        for (host, taken) in self.taken() {
            prop_assert!(taken <= self.budgets[&host], "rule 5: {taken} on {host}");
        }
        Ok(launched)
    }

    fn taken(&self) -> BTreeMap<HostName, u64> {
        let mut taken = BTreeMap::new();
        for (host, memory, _) in self.running.values() {
            *taken.entry(host.clone()).or_default() += memory;
        }
        taken
    }

    /// The job of the runner that has had one for longest ends.
    fn oldest_done(&mut self) {
        let oldest = self.running.iter().min_by_key(|(_, (.., container))| container.registration);
        let Some(runner) = oldest.map(|(name, _)| name.clone()) else { return };
        self.running.remove(&runner);
        let exit = Exit {
            at: Timestamp::default(),
            ran: None,
            code: 0,
            out_of_memory: false,
            job: Some("build".to_owned()),
            result: None,
            version_deprecated: false,
            log_tail: "".into(),
        };
        self.observe(Evidence::Exited { runner, exit });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// Jobs of different sizes that come one by one fill the hosts one after the other: not more than a tenth more hosts
    /// are used than any order could do with, and one.
    #[test]
    fn packing_uses_few_hosts(order in vec(0..3usize, 5..60)) {
        let sizes = [1, 2, 4];
        let budgets = [16; 16];
        let mut machines = Machines::new(&budgets, |hosts| {
            sizes.iter().enumerate().map(|(n, size)| pool(n, *size, 1, hosts, Placement::Pack)).collect()
        });
        for (id, pool) in (1..).zip(&order) {
            machines.queue(&[(id, *pool)]);
            prop_assert_eq!(machines.launch()?, vec![*pool]);
            machines.now = machines.now + Duration::from_secs(1);
            machines.look();
        }
        let used = machines.taken().len() as u64;
        let least = order.iter().map(|&n| sizes[n]).sum::<u64>().div_ceil(16);
        prop_assert!(used * 10 <= least * 11 + 10, "{used} hosts where {least} might do");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(25) })]

    /// Pools of one priority that all always have jobs: whatever their sizes and weights, each gets a runner again and
    /// again.
    #[test]
    fn nobody_starves(
        pools in vec((1..=8u64, prop_oneof![Just(1), Just(10), Just(1000)]), 2..5),
        hosts in 1..3usize,
    ) {
        let mut machines = Machines::new(&vec![8; hosts], |hosts| {
            let one = |(n, (size, weight)): (usize, &(u64, u32))| pool(n, *size, *weight, hosts, Placement::Spread);
            pools.iter().enumerate().map(one).collect()
        });
        let mut waited = vec![Duration::ZERO; pools.len()];
        for step in 0..240_u64 {
            let jobs: Vec<(u64, usize)> =
                (0..4 * pools.len()).map(|n| (1000 * step + n as u64, n % pools.len())).collect();
            machines.queue(&jobs);
            for pool in machines.launch()? {
                waited[pool] = Duration::ZERO;
            }
            machines.look();
            machines.oldest_done();
            machines.now = machines.now + Duration::from_secs(20);
            for waited in &mut waited {
                *waited += Duration::from_secs(20);
            }
            let longest = Duration::from_mins(10) * u32::try_from(pools.len()).unwrap();
            prop_assert!(waited.iter().all(|waited| *waited < longest), "{waited:?}");
        }
    }
}
