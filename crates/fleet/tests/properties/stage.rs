//! A fleet, the truth that its evidence is made from, and the rules that each plan is held to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use dayfly_fleet::{
    Action, Attachment, AttachmentKind, ClockReading, Container, ContainerId, ContainerState, Demand,
    Deregistered, DeviceClass, Devices, Evidence, Exit, Fleet, Host, HostName, ImageState, Instant, Job,
    JobFacts, JobId, JobState, Launched, Minted, Network, Phase, Placement, Policy, Pool, Registration,
    RegistrationId, Removed, Resources, RunnerName, RunnerStatus, Scope, Stopped, Template, Timestamp,
    Trouble, TroubleKind, Why,
};
use proptest::prelude::*;

pub(super) const START: Instant = Instant::from_millis(1_800_000_000_000);
pub(super) const MAX: u32 = 6;
pub(super) const HOST_MAX: u32 = 8;
const GPUS: [&str; 3] = ["0", "1", "GPU-2"];

/// What the wall clock shows while it has not been set.
pub(super) fn shown(at: Instant) -> Timestamp {
    ClockReading::default().timestamp(at)
}

/// A queue of these jobs, as a poll of their repository shows it.
pub(super) fn queue_of(ids: impl IntoIterator<Item = u64>, queued_at: Instant, began: Instant) -> Evidence {
    let repository: Scope = "https://github.com/acme/widgets".parse().unwrap();
    let job = |id| Job {
        id: JobId(id),
        labels: vec!["self-hosted".to_owned()],
        enterprise: None,
        public: Some(false),
        workflows: Vec::new(),
        queued_at,
        facts: Arc::new(JobFacts {
            name: "build".to_owned(),
            repository: repository.clone(),
            run_id: 1,
            url: String::new(),
            queued_at: shown(queued_at),
        }),
    };
    let jobs = ids.into_iter().map(|id| (job(id), JobState::Queued)).collect();
    Evidence::Queue { repository: repository.clone(), began, jobs }
}

pub(super) fn host_name() -> HostName {
    "local".parse().unwrap()
}

pub(super) fn scope() -> Scope {
    "https://github.com/acme".parse().unwrap()
}

/// The cache of which all runners have slots.
fn slot() -> DeviceClass {
    DeviceClass::Slot("cargo".to_owned())
}

/// The runners of one pool have networks of their own, those of the other GPUs, and both a slot of one cache.
fn template(pool: &str) -> Template {
    let devices = BTreeMap::from([(slot(), 1)]);
    match pool {
        "a" => Template { network: Network::Isolated, devices, ..Template::default() },
        _ => Template {
            devices: devices.into_iter().chain([(DeviceClass::Gpu, 1)]).collect(),
            ..Template::default()
        },
    }
}

pub(super) fn pool_named(name: &str) -> Pool {
    Pool {
        name: name.parse().unwrap(),
        scope: scope(),
        credential: "default".into(),
        hosts: vec![host_name()],
        placement: Placement::default(),
        group: "Default".to_owned(),
        labels: vec!["self-hosted".to_owned()],
        demand: Demand::Jobs { queue: true, webhook: true },
        repositories: Vec::new(),
        allow_public: false,
        match_unlabelled: false,
        policy: Policy::default(),
        template: template(name),
    }
}

pub(super) fn fleet(min_idle: u32) -> Fleet {
    let pool = |name: &str, priority| Pool {
        policy: Policy {
            min_idle,
            max: MAX,
            priority,
            idle_timeout: Duration::from_secs(70),
            ..Policy::default()
        },
        ..pool_named(name)
    };
    let gpus = GPUS.map(str::to_owned).to_vec();
    let host = Host {
        name: host_name(),
        max_runners: Some(HOST_MAX),
        budget: Resources::default(),
        devices: BTreeMap::from([(DeviceClass::Gpu, gpus)]),
        nodes: None,
    };
    Fleet::new("ci1".parse().unwrap(), 7, vec![pool("a", 0), pool("b", 1)], vec![host])
}

/// What is true of one runner.
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact")]
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) registration: Option<RegistrationId>,
    pub(super) online: bool,
    pub(super) busy: bool,
    pub(super) container: Option<ContainerState>,
    /// Whether it has a network of its own.
    pub(super) network: bool,
    pub(super) devices: Devices,
    /// Evidence of a job was given while its container was up.
    pub(super) job_told: bool,
}

/// A fleet and the truth that its evidence is made from.
pub(super) struct Stage {
    pub(super) fleet: Fleet,
    pub(super) now: Instant,
    pub(super) truth: BTreeMap<RunnerName, Truth>,
    pub(super) before: (Instant, BTreeMap<RunnerName, Truth>),
    pub(super) under_way: Vec<Action>,
    /// Since when neither list has succeeded.
    pub(super) scope_trouble: Option<Instant>,
    pub(super) host_trouble: Option<Instant>,
    pub(super) number: u64,
}

pub(super) fn trouble(kind: TroubleKind) -> Trouble {
    Trouble { kind, retry_after: None, detail: "so it goes".to_owned() }
}

pub(super) fn runner_of(action: &Action) -> &RunnerName {
    match action {
        Action::Launch { runner, .. }
        | Action::Deregister { runner, .. }
        | Action::Stop { runner, .. }
        | Action::Remove { runner, .. } => runner,
        Action::DrainNode { .. } => unreachable!("the host is no cluster"),
    }
}

impl Stage {
    pub(super) fn new(min_idle: u32) -> Self {
        let mut stage = Self {
            fleet: fleet(min_idle),
            now: START,
            truth: BTreeMap::new(),
            before: (START, BTreeMap::new()),
            under_way: Vec::new(),
            scope_trouble: None,
            host_trouble: None,
            number: 0,
        };
        let present = ImageState::Present("1".to_owned());
        let image = Template::default().image;
        stage.observe(Evidence::Image { host: host_name(), image, state: present });
        stage.list_registrations(false);
        stage.list_containers(false);
        stage
    }

    pub(super) fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    pub(super) fn pick(&self, n: u8, fits: impl Fn(&Truth) -> bool) -> Option<RunnerName> {
        let fitting: Vec<_> = self.truth.iter().filter(|(_, t)| fits(t)).map(|(name, _)| name).collect();
        fitting.get(usize::from(n) % fitting.len().max(1)).map(|&name| name.clone())
    }

    pub(super) fn list_registrations(&mut self, stale: bool) {
        let (began, truth) = if stale { self.before.clone() } else { (self.now, self.truth.clone()) };
        let registrations = truth.iter().filter_map(|(name, truth)| {
            Some(Registration {
                id: truth.registration?,
                name: name.to_string(),
                status: if truth.online { RunnerStatus::Online } else { RunnerStatus::Offline },
                busy: false,
            })
        });
        let registrations = registrations.collect();
        self.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
        self.scope_trouble = self.scope_trouble.filter(|at| began < *at);
        self.before = (self.now, self.truth.clone());
    }

    pub(super) fn list_containers(&mut self, stale: bool) {
        let (began, truth) = if stale { self.before.clone() } else { (self.now, self.truth.clone()) };
        let containers = truth.iter().filter_map(|(name, truth)| {
            Some(Container {
                id: ContainerId(name.as_str().into()),
                runner: name.clone(),
                registration: truth.registration,
                scope: Some(scope()),
                template: template(name.pool()).digest(),
                image: Some("1".to_owned()),
                resources: Resources::default(),
                devices: truth.devices.clone(),
                state: truth.container.clone()?,
            })
        });
        let containers = containers.collect();
        let attachments = truth.iter().filter(|(_, truth)| truth.network).map(|(name, _)| Attachment {
            runner: name.clone(),
            kind: AttachmentKind::Network,
            id: name.to_string(),
        });
        let attachments = attachments.collect();
        self.observe(Evidence::Containers { host: host_name(), began, containers, attachments });
        self.host_trouble = self.host_trouble.filter(|at| began < *at);
    }

    pub(super) fn exit(&self, code: i64) -> Exit {
        Exit {
            at: shown(self.now),
            ran: None,
            code,
            out_of_memory: false,
            job: None,
            result: None,
            version_deprecated: code == 7,
            log_tail: "".into(),
        }
    }

    pub(super) fn up(truth: &Truth) -> bool {
        matches!(truth.container, Some(ContainerState::Up))
    }

    pub(super) fn outcome(&mut self, n: u8, bad: Option<u8>) {
        if self.under_way.is_empty() {
            return;
        }
        let action = self.under_way.swap_remove(usize::from(n) % self.under_way.len());
        let runner = runner_of(&action).clone();
        self.number += 1;
        let id = RegistrationId(self.number);
        let Some(truth) = self.truth.get_mut(&runner) else { return };
        let evidence = match (action, bad) {
            (Action::Launch { .. }, None) => {
                truth.registration = Some(id);
                truth.network = runner.pool() == "a";
                // Its end may have been seen before its start is reported.
                truth.container.get_or_insert(ContainerState::Up);
                let outcome =
                    Launched::Up { registration: id, container: ContainerId(runner.as_str().into()) };
                Evidence::Launch { runner, outcome }
            }
            (Action::Launch { .. }, Some(how)) => {
                let kind = TroubleKind::ALL[usize::from(how) % TroubleKind::ALL.len()];
                let registration = [Minted::No, Minted::Yes(id), Minted::Perhaps][usize::from(how) % 3];
                truth.registration = (registration != Minted::No).then_some(id);
                truth.network = runner.pool() == "a" && how % 2 == 0;
                // A request whose response was lost may have been carried out.
                if how % 5 == 0 {
                    truth.container = Some(ContainerState::Created);
                }
                let outcome = Launched::Failed { registration, container: None, trouble: trouble(kind) };
                Evidence::Launch { runner, outcome }
            }
            (Action::Deregister { .. }, None) => {
                truth.registration = None;
                Evidence::Deregister { runner, outcome: Deregistered::Removed }
            }
            (Action::Deregister { .. }, Some(how)) => {
                let outcome = match how % 4 {
                    0 => Deregistered::NotFound,
                    1 => Deregistered::Busy,
                    2 => Deregistered::Vetoed(None),
                    _ => Deregistered::Failed(trouble(TroubleKind::GithubFailed)),
                };
                truth.job_told |= matches!(how % 4, 1 | 2) && Self::up(truth);
                Evidence::Deregister { runner, outcome }
            }
            (Action::Stop { .. }, None) => {
                let exit = self.exit(143);
                if let Some(container) =
                    self.truth.get_mut(&runner).and_then(|truth| truth.container.as_mut())
                {
                    *container = ContainerState::Down(exit.clone());
                }
                self.observe(Evidence::Exited { runner: runner.clone(), exit });
                Evidence::Stop { runner, outcome: Stopped::Down }
            }
            (Action::Stop { .. }, Some(how)) => {
                truth.job_told |= how % 2 == 0 && Self::up(truth);
                let outcome = match how % 2 {
                    0 => Stopped::Vetoed(Some("late".to_owned())),
                    _ => Stopped::Failed(trouble(TroubleKind::EngineFailed)),
                };
                Evidence::Stop { runner, outcome }
            }
            (Action::Remove { .. }, None) => {
                truth.container = None;
                truth.network = false;
                Evidence::Remove { runner, outcome: Removed::Gone }
            }
            (Action::Remove { .. }, Some(_)) => {
                Evidence::Remove { runner, outcome: Removed::Failed(trouble(TroubleKind::EngineFailed)) }
            }
            (Action::DrainNode { .. }, _) => return,
        };
        self.observe(evidence);
    }

    /// Plans, and holds the plan to the rules.
    pub(super) fn plan(&mut self) -> Result<(), TestCaseError> {
        let plan = self.fleet.plan(self.now);
        let again = self.fleet.plan(self.now);
        prop_assert!(again.actions.is_empty() && again.events.is_empty(), "rule 7: {again:?}");
        for action in plan.actions {
            let name = runner_of(&action);
            prop_assert_eq!(name.instance(), "ci1", "rule 8");
            let truth = self.truth.get(name);
            let job_told = truth.is_some_and(|truth| truth.job_told && Self::up(truth));
            match &action {
                Action::Launch { devices, .. } => {
                    prop_assert!(truth.is_none(), "P22: a name is used once");
                    prop_assert!(
                        self.host_trouble.is_none(),
                        "rule 2: launched on a host that cannot be seen"
                    );
                    let truth = Truth {
                        registration: None,
                        online: false,
                        busy: false,
                        container: None,
                        network: false,
                        devices: devices.clone(),
                        job_told: false,
                    };
                    self.truth.insert(name.clone(), truth);
                }
                Action::Deregister { .. } => {
                    prop_assert!(self.scope_trouble.is_none(), "rule 2: {action:?}");
                    prop_assert!(!job_told, "rule 1: {action:?}");
                }
                Action::Stop { why, .. } => {
                    prop_assert!(self.host_trouble.is_none(), "rule 2: {action:?}");
                    prop_assert!(!job_told, "rule 1: {action:?}");
                    prop_assert_ne!(*why, Why::MaxJobAge, "not configured");
                    let registered = truth.is_some_and(|truth| truth.registration.is_some());
                    prop_assert!(!registered || *why == Why::Ghost, "rule 3: {action:?}");
                }
                Action::Remove { .. } => {
                    prop_assert!(self.host_trouble.is_none(), "rule 2: {action:?}");
                    prop_assert!(!truth.is_some_and(Self::up), "rule 3: {action:?}");
                }
                Action::DrainNode { .. } => {}
            }
            self.under_way.push(action);
        }
        self.hold_limits()
    }

    pub(super) fn hold_limits(&self) -> Result<(), TestCaseError> {
        let launching: BTreeSet<_> = self
            .under_way
            .iter()
            .filter(|action| matches!(action, Action::Launch { .. }))
            .map(runner_of)
            .collect();
        let mut rooms: BTreeMap<&str, u32> = BTreeMap::new();
        for (name, truth) in &self.truth {
            if Self::up(truth) || launching.contains(name) {
                *rooms.entry(name.pool()).or_default() += 1;
            }
        }
        prop_assert!(rooms.values().all(|&room| room <= MAX), "rule 5: {rooms:?}");
        prop_assert!(rooms.values().sum::<u32>() <= HOST_MAX, "rule 5: {rooms:?}");
        let (mut taken, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for (name, truth) in &self.truth {
            if truth.container.is_some() || launching.contains(name) {
                for slot in truth.devices.of(&slot()) {
                    prop_assert!(slots.insert(slot.to_owned()), "P28: two have slot {slot}");
                }
                for gpu in truth.devices.of(&DeviceClass::Gpu) {
                    prop_assert!(
                        GPUS.contains(&gpu) && taken.insert(gpu.to_owned()),
                        "P40: two have GPU {gpu}"
                    );
                }
            }
        }
        for runner in self.fleet.status().runners {
            let reported = self.truth.get(&runner.name).is_some_and(|t| t.job_told && Self::up(t));
            let idle = matches!(runner.phase, Phase::Idle | Phase::Starting | Phase::Stopping | Phase::Ghost);
            prop_assert!(!(reported && idle), "rule 1: the latch fell: {runner:?}");
        }
        Ok(())
    }
}
