//! The rules of the design as properties of the core, by number: any evidence, in any order, true,
//! stale or contradictory. What these cannot say, the simulation does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use dayfly_fleet::{
    Action, ClockReading, Container, ContainerId, ContainerState, Demand, Deregistered, Evidence, Exit,
    Fleet, Host, HostName, ImageState, Instant, Job, JobFacts, JobId, JobState, Launched, Minted, Phase,
    Policy, Pool, Registration, RegistrationId, Removed, Resources, RunnerName, RunnerStatus, Said, Scope,
    Stopped, Template, Timestamp, Trouble, TroubleKind, Why,
};
use proptest::{collection::vec, prelude::*};

const START: Instant = Instant::from_millis(1_800_000_000_000);
const MAX: u32 = 6;

/// What the wall clock shows where nobody has set it.
fn shown(at: Instant) -> Timestamp {
    ClockReading::default().timestamp(at)
}

/// A queue of these jobs, as a look at their repository shows it.
fn queue_of(ids: impl IntoIterator<Item = u64>, queued_at: Instant, began: Instant) -> Evidence {
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
const HOST_MAX: u32 = 8;

fn host_name() -> HostName {
    "local".parse().unwrap()
}

fn scope() -> Scope {
    "https://github.com/acme".parse().unwrap()
}

fn fleet(min_idle: u32) -> Fleet {
    let pool = |name: &str, priority| Pool {
        name: name.parse().unwrap(),
        scope: scope(),
        credential: "default".into(),
        host: host_name(),
        group: "Default".to_owned(),
        labels: vec!["self-hosted".to_owned()],
        demand: Demand::Jobs { queue: true, webhook: true },
        repositories: Vec::new(),
        allow_public: false,
        match_unlabelled: false,
        policy: Policy {
            min_idle,
            max: MAX,
            priority,
            idle_timeout: Duration::from_secs(70),
            ..Policy::default()
        },
        template: Template::default(),
    };
    let host = Host { name: host_name(), max_runners: Some(HOST_MAX), budget: Resources::default() };
    Fleet::new("ci1".parse().unwrap(), 7, vec![pool("a", 0), pool("b", 1)], vec![host])
}

/// Something that may happen next. Numbers choose among what is there, whatever there is.
#[derive(Clone, Debug)]
enum Happening {
    Wait(u16),
    ListRegistrations {
        stale: bool,
    },
    ListContainers {
        stale: bool,
    },
    ScopeTrouble,
    HostTrouble,
    OutcomeGood(u8),
    OutcomeBad(u8, u8),
    Online(u8),
    Listening(u8),
    Job(u8),
    JobSeenByGithub(u8),
    Exit(u8, i64),
    Vanish(u8),
    Queue(Vec<u8>),
    /// News of one job: which, how far it is, how many seconds old, and whether GitHub was asked.
    News(u8, u8, u16, bool),
    Drain(bool),
    Nonsense(u8, u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        6 => (1..200u16).prop_map(H::Wait),
        6 => any::<bool>().prop_map(|stale| H::ListRegistrations { stale }),
        6 => any::<bool>().prop_map(|stale| H::ListContainers { stale }),
        1 => Just(H::ScopeTrouble),
        1 => Just(H::HostTrouble),
        12 => any::<u8>().prop_map(H::OutcomeGood),
        2 => any::<(u8, u8)>().prop_map(|(n, how)| H::OutcomeBad(n, how)),
        4 => any::<u8>().prop_map(H::Online),
        3 => any::<u8>().prop_map(H::Listening),
        3 => any::<u8>().prop_map(H::Job),
        1 => any::<u8>().prop_map(H::JobSeenByGithub),
        3 => (any::<u8>(), prop_oneof![Just(0), Just(1), Just(7), Just(137)]).prop_map(|(n, c)| H::Exit(n, c)),
        1 => any::<u8>().prop_map(H::Vanish),
        2 => vec(any::<u8>(), 0..6).prop_map(H::Queue),
        2 => any::<(u8, u8, u16, bool)>().prop_map(|(job, how, age, asked)| H::News(job, how, age, asked)),
        1 => any::<bool>().prop_map(H::Drain),
        2 => any::<(u8, u8)>().prop_map(|(n, how)| H::Nonsense(n, how)),
    ]
}

/// What is true of one runner.
#[derive(Clone, Debug)]
struct Truth {
    registration: Option<RegistrationId>,
    online: bool,
    busy: bool,
    container: Option<ContainerState>,
    /// Evidence of a job was given while its container was up.
    job_told: bool,
}

/// A fleet and the truth that its evidence is made from.
struct Stage {
    fleet: Fleet,
    now: Instant,
    truth: BTreeMap<RunnerName, Truth>,
    before: (Instant, BTreeMap<RunnerName, Truth>),
    under_way: Vec<Action>,
    /// Since when neither list has succeeded.
    scope_trouble: Option<Instant>,
    host_trouble: Option<Instant>,
    number: u64,
}

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble { kind, retry_after: None, detail: "so it goes".to_owned() }
}

fn runner_of(action: &Action) -> &RunnerName {
    match action {
        Action::Launch { runner, .. }
        | Action::Deregister { runner, .. }
        | Action::Stop { runner, .. }
        | Action::Remove { runner, .. } => runner,
    }
}

impl Stage {
    fn new(min_idle: u32) -> Self {
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

    fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    fn pick(&self, n: u8, fits: impl Fn(&Truth) -> bool) -> Option<RunnerName> {
        let fitting: Vec<_> = self.truth.iter().filter(|(_, t)| fits(t)).map(|(name, _)| name).collect();
        fitting.get(usize::from(n) % fitting.len().max(1)).map(|&name| name.clone())
    }

    fn list_registrations(&mut self, stale: bool) {
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

    fn list_containers(&mut self, stale: bool) {
        let (began, truth) = if stale { self.before.clone() } else { (self.now, self.truth.clone()) };
        let containers = truth.iter().filter_map(|(name, truth)| {
            Some(Container {
                id: ContainerId(name.as_str().into()),
                runner: name.clone(),
                registration: truth.registration,
                scope: Some(scope()),
                template: Template::default().digest(),
                image: Some("1".to_owned()),
                resources: Resources::default(),
                state: truth.container.clone()?,
            })
        });
        let containers = containers.collect();
        self.observe(Evidence::Containers { host: host_name(), began, containers });
        self.host_trouble = self.host_trouble.filter(|at| began < *at);
    }

    fn exit(&self, code: i64) -> Exit {
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

    fn up(truth: &Truth) -> bool {
        matches!(truth.container, Some(ContainerState::Up))
    }

    fn outcome(&mut self, n: u8, bad: Option<u8>) {
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
                // Its end may have been seen before its start is told.
                truth.container.get_or_insert(ContainerState::Up);
                let outcome =
                    Launched::Up { registration: id, container: ContainerId(runner.as_str().into()) };
                Evidence::Launch { runner, outcome }
            }
            (Action::Launch { .. }, Some(how)) => {
                let kind = TroubleKind::ALL[usize::from(how) % TroubleKind::ALL.len()];
                let registration = [Minted::No, Minted::Yes(id), Minted::Perhaps][usize::from(how) % 3];
                truth.registration = (registration != Minted::No).then_some(id);
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
                if let Some(truth) = self.truth.get_mut(&runner) {
                    truth.container = Some(ContainerState::Down(exit.clone()));
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
                Evidence::Remove { runner, outcome: Removed::Gone }
            }
            (Action::Remove { .. }, Some(_)) => {
                Evidence::Remove { runner, outcome: Removed::Failed(trouble(TroubleKind::EngineFailed)) }
            }
        };
        self.observe(evidence);
    }

    fn happen(&mut self, happening: &Happening) {
        self.now = self.now + Duration::from_millis(1);
        match happening {
            Happening::Wait(seconds) => self.now = self.now + Duration::from_secs((*seconds).into()),
            Happening::ListRegistrations { stale } => self.list_registrations(*stale),
            Happening::ListContainers { stale } => self.list_containers(*stale),
            Happening::ScopeTrouble => {
                self.scope_trouble = Some(self.now);
                let trouble = trouble(TroubleKind::GithubFailed);
                self.observe(Evidence::ScopeTrouble { scope: scope(), trouble });
            }
            Happening::HostTrouble => {
                self.host_trouble = Some(self.now);
                let trouble = trouble(TroubleKind::EngineFailed);
                self.observe(Evidence::HostTrouble { host: host_name(), trouble });
            }
            Happening::OutcomeGood(n) => self.outcome(*n, None),
            Happening::OutcomeBad(n, how) => self.outcome(*n, Some(*how)),
            Happening::Online(n) => {
                if let Some(name) = self.pick(*n, |t| Self::up(t) && t.registration.is_some()) {
                    self.truth.entry(name).and_modify(|truth| truth.online = true);
                }
            }
            Happening::Listening(n) => {
                if let Some(runner) = self.pick(*n, Self::up) {
                    self.observe(Evidence::Said {
                        runner,
                        said: Said::Listening,
                        clock: ClockReading::default(),
                    });
                }
            }
            Happening::Job(n) => {
                if let Some(runner) = self.pick(*n, Self::up) {
                    self.truth.entry(runner.clone()).and_modify(|t| (t.busy, t.job_told) = (true, true));
                    self.observe(Evidence::Said {
                        runner,
                        said: Said::RunningJob { job: "build".to_owned(), began: None },
                        clock: ClockReading::default(),
                    });
                }
            }
            Happening::JobSeenByGithub(n) => {
                if let Some(runner) = self.pick(*n, |t| Self::up(t) && t.registration.is_some()) {
                    self.truth.entry(runner).and_modify(|t| (t.busy, t.online) = (true, true));
                }
            }
            Happening::Exit(n, code) => {
                if let Some(runner) = self.pick(*n, Self::up) {
                    let exit = self.exit(*code);
                    let state = ContainerState::Down(exit.clone());
                    self.truth
                        .entry(runner.clone())
                        .and_modify(|t| (t.online, t.container) = (false, Some(state)));
                    // How it ended may be read at once, or be left to a list.
                    if n.is_multiple_of(2) {
                        self.observe(Evidence::Died { runner: runner.clone(), code: exit.code });
                    }
                    if !n.is_multiple_of(3) {
                        self.observe(Evidence::Exited { runner, exit });
                    }
                }
            }
            Happening::Vanish(n) => {
                if let Some(runner) = self.pick(*n, |t| matches!(t.container, Some(ContainerState::Down(_))))
                {
                    self.truth.entry(runner).and_modify(|t| t.container = None);
                }
            }
            Happening::Queue(ids) => {
                self.observe(queue_of(ids.iter().map(|&id| id.into()), self.now, self.now));
            }
            Happening::News(job, how, age, asked) => {
                let at = Instant::from_millis(self.now.as_millis() - 1000 * u64::from(*age));
                let Evidence::Queue { mut jobs, repository, .. } = queue_of([u64::from(*job)], at, at) else {
                    unreachable!("that is what it makes")
                };
                let (job, _) = jobs.remove(0);
                let state = match how % 6 {
                    0 => JobState::Waiting,
                    1 => JobState::Queued,
                    // Whoever has a job by GitHub's word has one.
                    2 => JobState::InProgress { runner: Some("somebody".to_owned()) },
                    3 => JobState::Completed,
                    4 => return self.observe(Evidence::JobGone { repository, job: job.id, at }),
                    _ => {
                        let Some(runner) = self.pick(*how, Self::up) else { return };
                        self.truth.entry(runner.clone()).and_modify(|t| (t.busy, t.job_told) = (true, true));
                        JobState::InProgress { runner: Some(runner.to_string()) }
                    }
                };
                self.observe(Evidence::Job { job, state, at, asked: *asked });
            }
            Happening::Drain(draining) => self.observe(Evidence::Drain(*draining)),
            Happening::Nonsense(n, how) => self.nonsense(*n, *how),
        }
    }

    /// Evidence of things that are not so, or of runners that do not exist.
    fn nonsense(&mut self, n: u8, how: u8) {
        let runner = match self.truth.keys().nth(usize::from(n) % self.truth.len().max(1)) {
            Some(name) if how.is_multiple_of(2) => name.clone(),
            _ => RunnerName::new(&"gone".parse().unwrap(), &"ci1".parse().unwrap(), shown(START), n.into()),
        };
        let failed = trouble(TroubleKind::EngineFailed);
        let evidence = match how / 2 % 6 {
            0 => Evidence::Said {
                runner,
                said: Said::JobCompleted("Succeeded".to_owned()),
                clock: ClockReading::default(),
            },
            1 => Evidence::Remove { runner, outcome: Removed::Failed(failed) },
            2 => Evidence::OutOfMemory { runner },
            3 => {
                Evidence::ScopeTrouble { scope: "https://github.com/other".parse().unwrap(), trouble: failed }
            }
            4 => Evidence::JobGone {
                repository: "https://github.com/o/r".parse().unwrap(),
                job: JobId(n.into()),
                at: START,
            },
            _ => Evidence::DiskLow { host: host_name(), low: n.is_multiple_of(2) },
        };
        self.observe(evidence);
    }

    /// Plans, and holds the plan to the rules.
    fn plan(&mut self) -> Result<(), TestCaseError> {
        let plan = self.fleet.plan(self.now);
        let again = self.fleet.plan(self.now);
        prop_assert!(again.actions.is_empty() && again.events.is_empty(), "rule 7: {again:?}");
        for action in plan.actions {
            let name = runner_of(&action);
            prop_assert_eq!(name.instance(), "ci1", "rule 8");
            let truth = self.truth.get(name);
            let job_told = truth.is_some_and(|truth| truth.job_told && Self::up(truth));
            match &action {
                Action::Launch { .. } => {
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
            }
            self.under_way.push(action);
        }
        self.hold_limits()
    }

    fn hold_limits(&self) -> Result<(), TestCaseError> {
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
        for runner in self.fleet.status().runners {
            let told = self.truth.get(&runner.name).is_some_and(|t| t.job_told && Self::up(t));
            let idle = matches!(runner.phase, Phase::Idle | Phase::Starting | Phase::Stopping | Phase::Ghost);
            prop_assert!(!(told && idle), "rule 1: the latch fell: {runner:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_rules_hold_whatever_happens(
        min_idle in 1..4u32,
        story in vec(happening(), 1..150),
    ) {
        let mut stage = Stage::new(min_idle);
        stage.plan()?;
        for happening in &story {
            stage.happen(happening);
            stage.plan()?;
        }
    }

    /// Rule 10: duplicates and reordering of jobs change nothing.
    #[test]
    fn demand_is_a_set(jobs in vec(0..6u64, 0..12), order in any::<u64>()) {
        let mut stages = [Stage::new(1), Stage::new(1)];
        let queued = |ids: Vec<u64>| queue_of(ids, START, START);
        let set: BTreeSet<u64> = jobs.iter().copied().collect();
        let mut shuffled = jobs.clone();
        shuffled.rotate_left(usize::try_from(order % 12).unwrap() % jobs.len().max(1));
        shuffled.reverse();
        stages[0].observe(queued(set.into_iter().collect()));
        stages[1].observe(queued(shuffled));
        let [first, second] = stages.map(|mut stage| stage.fleet.plan(START));
        prop_assert_eq!(first, second);
    }

    /// Rule 10: whatever was told of jobs, lost, doubled or late, after one complete look demand is what
    /// that look shows.
    #[test]
    fn a_complete_look_is_the_truth(
        news in vec((0..6u8, any::<u8>(), 0..300u16, any::<bool>()), 0..40),
        shown in vec(0..6u64, 0..6),
    ) {
        let mut stage = Stage::new(1);
        for (job, how, age, asked) in news {
            stage.happen(&Happening::Wait(1));
            stage.happen(&Happening::News(job, how % 5, age, asked));
        }
        stage.now = stage.now + Duration::from_secs(70);
        stage.observe(queue_of(shown.iter().copied(), stage.now, stage.now));
        stage.fleet.plan(stage.now);
        let waiting: BTreeSet<u64> = stage.fleet.status().jobs.iter().map(|job| job.id.0).collect();
        prop_assert_eq!(&waiting, &shown.iter().copied().collect::<BTreeSet<_>>());
        let queued: u32 = stage.fleet.status().pools.iter().map(|pool| pool.queued).sum();
        prop_assert_eq!(queued as usize, waiting.len());
    }

    /// Rule 7: constant demand settles in one pass once everything answers, and stays settled.
    #[test]
    fn constant_demand_settles(min_idle in 1..5u32, jobs in 0..5u64) {
        let mut stage = Stage::new(min_idle);
        stage.observe(queue_of(0..jobs, START, START));
        stage.plan()?;
        while !stage.under_way.is_empty() {
            stage.outcome(0, None);
        }
        for truth in stage.truth.values_mut() {
            truth.online = true;
        }
        for _ in 0..20 {
            stage.now = stage.now + Duration::from_secs(10);
            stage.list_registrations(false);
            stage.list_containers(false);
            let plan = stage.fleet.plan(stage.now);
            prop_assert!(plan.actions.is_empty(), "{plan:?}");
        }
    }
}
