//! An installation at rest, of any size, built by the evidence that a daemon would have seen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use dayfly_fleet::{
    Container, ContainerId, ContainerState, Demand, Devices, Evidence, Exit, Fleet, Host, HostName,
    ImageState, InstanceId, Instant, Job, JobFacts, JobId, JobState, Names, Placement, Policy, Pool,
    Registration, RegistrationId, Resources, RunnerName, RunnerStatus, Scope, Template, Timestamp,
};

/// Each scope and each host serves so many pools.
const POOLS_TOGETHER: usize = 10;

/// Of ten runners of a pool so many have a job.
const BUSY_OF_TEN: usize = 6;

const START: Instant = Instant::from_millis(1_795_348_800_000);

/// Pools, and the runners that both sides show.
pub(crate) struct Installation {
    instance: InstanceId,
    pools: Vec<Pool>,
    hosts: Vec<Host>,
    runners: Vec<(RunnerName, usize)>,
    per_pool: usize,
}

impl Installation {
    /// Runners spread evenly over pools, each pool as full as it wants to be.
    pub(crate) fn new(runners: usize, pools: usize) -> Result<Self> {
        let instance: InstanceId = "ci1".parse()?;
        let per_pool = runners / pools;
        let idle = (0..per_pool).filter(|number| !is_busy(*number)).count();
        let hosts = (0..pools.div_ceil(POOLS_TOGETHER)).map(|number| {
            let name = host_of(number * POOLS_TOGETHER)?;
            Ok(Host {
                name,
                max_runners: Some(u32::MAX),
                budget: Resources::default(),
                devices: BTreeMap::new(),
                nodes: None,
            })
        });
        let hosts = hosts.collect::<Result<_>>()?;
        let pools = (0..pools).map(|number| {
            Ok(Pool {
                name: format!("pool-{number}").parse()?,
                scope: scope_of(number)?,
                credential: "default".into(),
                hosts: vec![host_of(number)?],
                placement: Placement::default(),
                group: "Default".to_owned(),
                labels: vec!["self-hosted".to_owned(), format!("pool-{number}")],
                demand: Demand::IDLE,
                repositories: Vec::new(),
                allow_public: false,
                match_unlabelled: false,
                policy: Policy {
                    min_idle: u32::try_from(idle)?,
                    max: u32::try_from(2 * per_pool)?,
                    ..Policy::default()
                },
                template: Template::default(),
            })
        });
        let pools = pools.collect::<Result<Vec<Pool>>>()?;
        let mut names = Names::new(instance.clone(), 1);
        let runners = (0..pools.len() * per_pool)
            .map(|number| {
                (names.next(&pools[number % pools.len()].name, Timestamp::default()), number / pools.len())
            })
            .collect();
        Ok(Self { instance, pools, hosts, runners, per_pool })
    }

    /// The same at its limits, with queues and webhooks as job sources.
    pub(crate) fn crowded(runners: usize, pools: usize) -> Result<Self> {
        let mut all = Self::new(runners, pools)?;
        for pool in &mut all.pools {
            pool.demand = Demand::Jobs { queue: true, webhook: true };
            pool.policy.max = u32::try_from(all.per_pool)?;
        }
        Ok(all)
    }

    /// A poll of the queue of one repository for each pool, `jobs` in all.
    pub(crate) fn queues(&self, jobs: usize, began: Instant) -> Result<Vec<Evidence>> {
        let per_pool = jobs / self.pools.len();
        let queues = self.pools.iter().enumerate().map(|(number, pool)| {
            let repository: Scope = format!("{}/repository-{number}", pool.scope).parse()?;
            let job = |nth: usize| Job {
                id: JobId((number * per_pool + nth) as u64),
                labels: pool.labels.clone(),
                enterprise: None,
                public: Some(false),
                workflows: Vec::new(),
                queued_at: START,
                facts: Arc::new(JobFacts {
                    name: "build".to_owned(),
                    repository: repository.clone(),
                    run_id: nth as u64,
                    url: String::new(),
                    queued_at: Timestamp::default(),
                }),
            };
            let jobs = (0..per_pool).map(|nth| (job(nth), JobState::Queued)).collect();
            Ok(Evidence::Queue { repository: repository.clone(), began, jobs })
        });
        queues.collect()
    }

    /// How many runners there are.
    pub(crate) fn len(&self) -> usize {
        self.runners.len()
    }

    /// A fleet that has seen everything three times and has planned.
    pub(crate) fn settled(&self) -> (Fleet, Instant) {
        let mut fleet = Fleet::new(self.instance.clone(), 2, self.pools.clone(), self.hosts.clone());
        let template = Template::default();
        for host in &self.hosts {
            let state = ImageState::Present("sha256:1".to_owned());
            let (host, image) = (host.name.clone(), template.image.clone());
            fleet.observe(Evidence::Image { host, image, state }, START);
        }
        let mut now = START;
        for _ in 0..3 {
            // Far enough apart that an end after them is not a quick one.
            now = now + Duration::from_mins(2);
            for evidence in self.everything(now) {
                fleet.observe(evidence, now);
            }
            fleet.plan(now);
        }
        (fleet, now + Duration::from_secs(1))
    }

    /// A complete list of each host and each scope.
    pub(crate) fn everything(&self, began: Instant) -> Vec<Evidence> {
        let (template, pools) = (Template::default().digest(), self.pools.len());
        let numbered = || self.runners.iter().enumerate();
        let containers = self.hosts.iter().map(|host| {
            let here = numbered().filter(|(number, _)| self.pools[number % pools].hosts[0] == host.name);
            let containers = here.map(|(number, (name, _))| Container {
                id: ContainerId(format!("{number:064x}").into()),
                runner: name.clone(),
                registration: Some(RegistrationId(number as u64 + 1)),
                scope: Some(self.pools[number % pools].scope.clone()),
                image: None,
                template: template.clone(),
                resources: Resources::default(),
                devices: Devices::default(),
                state: ContainerState::Up,
            });
            Evidence::Containers {
                host: host.name.clone(),
                began,
                containers: containers.collect(),
                attachments: Vec::new(),
            }
        });
        let mut scopes: Vec<&Scope> = self.pools.iter().map(|pool| &pool.scope).collect();
        scopes.dedup();
        let registrations = scopes.into_iter().map(|scope| {
            let here = numbered().filter(|(number, _)| self.pools[number % pools].scope == *scope);
            let registrations = here.map(|(number, (name, nth))| Registration {
                id: RegistrationId(number as u64 + 1),
                name: name.to_string(),
                status: RunnerStatus::Online,
                busy: is_busy(*nth),
            });
            Evidence::Registrations {
                scope: scope.clone(),
                began,
                registrations: registrations.collect(),
                unseen: Vec::new(),
            }
        });
        containers.chain(registrations).collect()
    }

    /// The end of one idle runner of each pool, which each pool then replaces.
    pub(crate) fn an_end_in_each_pool(&self) -> Vec<Evidence> {
        let last = self.per_pool - 1;
        let ending = self.runners.iter().filter(|(_, nth)| *nth == last);
        let ends = ending.map(|(runner, _)| Evidence::Exited {
            runner: runner.clone(),
            exit: Exit {
                at: Timestamp::default(),
                ran: None,
                code: 0,
                out_of_memory: false,
                job: None,
                result: None,
                version_deprecated: false,
                log_tail: "".into(),
            },
        });
        ends.collect()
    }
}

/// The last of each pool is idle, regardless of the pool's size.
fn is_busy(nth: usize) -> bool {
    nth % 10 < BUSY_OF_TEN
}

fn host_of(pool: usize) -> Result<HostName> {
    Ok(format!("host-{}", pool / POOLS_TOGETHER).parse()?)
}

fn scope_of(pool: usize) -> Result<Scope> {
    Ok(format!("https://github.com/org-{}", pool / POOLS_TOGETHER).parse()?)
}
