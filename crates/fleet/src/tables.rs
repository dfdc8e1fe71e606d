//! The core's decisions as tables: a fleet in letters, what is planned in signs.
//!
//! | letter | a runner that is | | sign | plans to |
//! | --- | --- | --- | --- | --- |
//! | `s` `S` | starting; for too long | | `+` | launch |
//! | `i` `I` | idle; for long | | `-` | deregister |
//! | `b` `B` | busy; for long | | `!` | stop |
//! | `F` | ended with a job | | `x` | remove a container |
//! | `E` | ended without one | | | |
//! | `c` `C` | made, not started; for long | | `d` | drain a node |
//! | `O` | a registration without a container | | | |
//! | `G` | a container without a registration | | | |
//! | `L` | idle, and offline for long | | | |

mod attachments;
mod clocks;
mod cluster;
mod ends;
mod files;
mod hosts;
mod lists;
mod promotion;
mod removals;
mod rolls;
mod sidecars;
mod site;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One pool on one host, with a letter for each runner.
struct Board {
    fleet: Fleet,
    now: Instant,
    letters: Vec<(char, RunnerName)>,
    /// What the next lists show beside the containers.
    attachments: Vec<Attachment>,
    /// What the runners' containers have for themselves.
    devices: Devices,
}

pub(super) fn scope() -> Scope {
    "https://github.com/acme".parse().unwrap()
}

pub(super) fn host_name() -> HostName {
    "local".parse().unwrap()
}

/// What the wall clock shows while it has not been set.
fn shown(at: Instant) -> Timestamp {
    ClockReading::default().timestamp(at)
}

/// A queue of these jobs, as a poll of their repository shows it.
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

pub(super) fn pool(policy: Policy) -> Pool {
    Pool {
        name: "p".parse().unwrap(),
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
        policy,
        template: Template::default(),
    }
}

pub(super) fn policy(min_idle: u32, max: u32) -> Policy {
    Policy { min_idle, max, ..Policy::default() }
}

pub(super) fn host() -> Host {
    Host {
        name: host_name(),
        max_runners: None,
        budget: Resources::default(),
        devices: BTreeMap::new(),
        nodes: None,
    }
}

pub(super) fn exit(job: Option<&str>, code: i64, at: Instant) -> Exit {
    Exit {
        at: shown(at),
        ran: None,
        code,
        out_of_memory: false,
        job: job.map(str::to_owned),
        result: None,
        version_deprecated: false,
        log_tail: "".into(),
    }
}

impl Board {
    /// An hour has passed since the runners in capitals came to be what they are.
    fn new(letters: &str, pool: Pool, host: Host) -> Self {
        let instance: InstanceId = "ci1".parse().unwrap();
        let start = Instant::from_millis(1_800_000_000_000);
        let mut names = Names::new(instance.clone(), 1);
        let letters: Vec<_> =
            letters.chars().map(|letter| (letter, names.next(&pool.name, shown(start)))).collect();
        let image = pool.template.image.clone();
        let mut board = Self {
            fleet: Fleet::new(instance, 2, vec![pool], vec![host]),
            now: start,
            letters,
            attachments: Vec::new(),
            devices: Devices::default(),
        };
        let present = ImageState::Present("sha256:1".to_owned());
        board.observe(Evidence::Image { host: host_name(), image, state: present });
        board.look(char::is_uppercase);
        // Looks go on meanwhile: two more, far enough apart to prove what one does not.
        for _ in 0..3 {
            board.now = board.now + HOUR / 3;
            board.look(char::is_uppercase);
        }
        board.now = board.now + Duration::from_secs(1);
        board.look(|_| true);
        board
    }

    fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    /// Lists everything that is shown, as of now.
    fn look(&mut self, shown: impl Fn(char) -> bool) {
        let long = self.fleet.runners.len();
        let (mut registrations, mut containers, up) = (Vec::new(), Vec::new(), self.up());
        for (number, (letter, name)) in
            self.letters.iter().enumerate().filter(|(_, (letter, _))| shown(*letter))
        {
            let id = RegistrationId(number as u64 + 1);
            let (status, busy) = match letter {
                'i' | 'I' => (RunnerStatus::Online, false),
                'b' | 'B' => (RunnerStatus::Online, true),
                // Once online, then never again.
                'L' if long == 0 => (RunnerStatus::Online, false),
                _ => (RunnerStatus::Offline, false),
            };
            let registered = !matches!(letter, 'F' | 'G') || long == 0;
            if registered {
                registrations.push(Registration { id, name: name.to_string(), status, busy });
            }
            let state = match letter {
                'O' => continue,
                'c' | 'C' => ContainerState::Created,
                'F' => ContainerState::Down(exit(Some("build"), 0, self.now)),
                'E' => ContainerState::Down(exit(None, 0, self.now)),
                _ => ContainerState::Up,
            };
            containers.push(Container { state, ..up[number].clone() });
        }
        let began = self.now;
        let attachments = self.attachments.clone();
        self.observe(Evidence::Containers { host: host_name(), began, containers, attachments });
        self.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
    }

    /// The containers of all letters, running.
    fn up(&self) -> Vec<Container> {
        let container = |(number, (_, name)): (usize, &(char, RunnerName))| Container {
            id: ContainerId(format!("c{number}").into()),
            runner: name.clone(),
            registration: Some(RegistrationId(number as u64 + 1)),
            scope: Some(scope()),
            template: Template::default().digest(),
            image: Some("sha256:1".to_owned()),
            resources: Resources::default(),
            devices: self.devices.clone(),
            state: ContainerState::Up,
        };
        self.letters.iter().enumerate().map(container).collect()
    }

    fn queue(&mut self, jobs: u64) -> &mut Self {
        self.observe(queue_of(0..jobs, self.now, self.now));
        self
    }

    /// Plans, and shows it in signs.
    fn plan(&mut self) -> String {
        self.fleet.plan(self.now).actions.iter().map(sign).collect()
    }

    fn held(&self) -> Option<Held> {
        self.fleet.status().pools[0].held
    }
}

/// What is planned, as a sign.
fn sign(action: &Action) -> char {
    match action {
        Action::Launch { .. } => '+',
        Action::Deregister { .. } => '-',
        Action::Stop { .. } => '!',
        Action::Remove { .. } => 'x',
        Action::DrainNode { .. } => 'd',
    }
}

fn plan(letters: &str, min_idle: u32, max: u32, queued: u64) -> String {
    Board::new(letters, pool(policy(min_idle, max)), host()).queue(queued).plan()
}

#[test]
fn spares_stay_on_top_of_demand() {
    for (letters, min_idle, max, queued, signs) in [
        ("", 0, 10, 0, ""),
        ("", 2, 10, 0, "++"),
        ("", 0, 10, 3, "+++"),
        ("", 1, 10, 3, "++++"),
        ("", 5, 3, 0, "+++"),
        ("i", 1, 10, 0, ""),
        ("s", 1, 10, 0, ""),
        ("b", 1, 10, 0, "+"),
        ("bbi", 2, 10, 0, "+"),
        ("bbb", 2, 4, 0, "+"),
        ("bbbb", 2, 4, 0, ""),
        ("iibb", 2, 10, 3, "+++"),
        ("ss", 0, 10, 3, "+"),
    ] {
        assert_eq!(plan(letters, min_idle, max, queued), signs, "{letters:?} {min_idle} {max} {queued}");
    }
}

#[test]
fn only_what_can_take_a_job_is_capacity_and_the_dead_are_replaced() {
    for (letters, signs) in
        [("S", "-+"), ("L", "-+"), ("G", "-+"), ("C", "-+"), ("E", "x+"), ("F", "x+"), ("O", "-+")]
    {
        assert_eq!(plan(letters, 1, 10, 0), signs, "{letters:?}");
    }
}

#[test]
fn surplus_goes_only_when_it_has_idled_for_long() {
    for (letters, min_idle, signs) in [
        ("ii", 1, ""),
        ("II", 1, "-"),
        ("III", 1, "--"),
        ("Iii", 1, "-"),
        ("IB", 1, ""),
        ("BB", 0, ""),
        ("bb", 0, ""),
        ("IIs", 1, "--"),
    ] {
        assert_eq!(plan(letters, min_idle, 10, 0), signs, "{letters:?}");
    }
}

#[test]
fn planning_twice_does_nothing_the_second_time() {
    for letters in ["", "i", "SSILGCOEF", "bbb", "III"] {
        let mut board = Board::new(letters, pool(policy(2, 10)), host());
        board.plan();
        assert_eq!(board.plan(), "", "{letters:?}");
    }
}

#[test]
fn nothing_of_a_scope_or_host_that_cannot_be_seen_is_removed() {
    let trouble = Trouble { kind: TroubleKind::GithubFailed, retry_after: None, detail: "502".to_owned() };
    let mut board = Board::new("SILGCOII", pool(policy(0, 1)), host());
    board.observe(Evidence::ScopeTrouble { scope: scope(), trouble: trouble.clone() });
    assert_eq!(board.plan(), "");
    let mut board = Board::new("SILGCFII", pool(policy(0, 1)), host());
    board.observe(Evidence::HostTrouble { host: host_name(), trouble });
    assert_eq!(board.plan(), "", "what the host may still run stays registered");
}

#[test]
fn an_orphan_waits_until_every_host_was_seen() {
    let mut fleet = Board::new("O", pool(policy(0, 1)), host());
    let trouble = Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: "down".to_owned() };
    fleet.observe(Evidence::HostTrouble { host: host_name(), trouble });
    assert_eq!(fleet.plan(), "");
    fleet.look(|_| true);
    assert_eq!(fleet.plan(), "-");
}

#[test]
fn a_host_budget_holds_across_everything_that_is_up() {
    let resources = Resources { memory: 4 << 30, cpu_millis: 2000 };
    let limited = |max_runners, memory, cpu_millis| Host {
        max_runners,
        budget: Resources { memory, cpu_millis },
        ..host()
    };
    for (host, signs, held) in [
        (limited(Some(3), 0, 0), "+++", Held::HostFull),
        (limited(None, 9 << 30, 0), "++", Held::HostMemory),
        (limited(None, 0, 2000), "+", Held::HostCpus),
    ] {
        let mut pool = pool(policy(5, 10));
        pool.template.resources = resources;
        let mut board = Board::new("", pool, host);
        assert_eq!((board.plan().as_str(), board.held()), (signs, Some(held)));
    }
}

#[test]
fn another_instance_is_never_touched() {
    let mut board = Board::new("", pool(policy(0, 5)), host());
    let foreign = Names::new("ci2".parse().unwrap(), 9).next(&"p".parse().unwrap(), shown(board.now));
    for _ in 0..5 {
        board.now = board.now + HOUR;
        let registrations = ["my-own-runner", foreign.as_str()]
            .iter()
            .map(|name| Registration {
                id: RegistrationId(7),
                name: (*name).to_owned(),
                status: RunnerStatus::Offline,
                busy: false,
            })
            .collect();
        let began = board.now;
        board.observe(Evidence::Containers {
            host: host_name(),
            began,
            containers: vec![],
            attachments: Vec::new(),
        });
        board.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
        assert_eq!(board.plan(), "");
        assert!(board.fleet.runners.is_empty());
    }
}

#[test]
fn nothing_is_launched_before_scope_host_and_image_were_seen() {
    let mut fleet = Fleet::new("ci1".parse().unwrap(), 1, vec![pool(policy(1, 1))], vec![host()]);
    let mut now = Instant::from_millis(1_800_000_000_000);
    let mut step = |evidence: Option<Evidence>| {
        now = now + MINUTE;
        if let Some(evidence) = evidence {
            fleet.observe(evidence, now);
        }
        let launches = fleet.plan(now).actions.len();
        (launches, fleet.status().pools[0].held)
    };
    let began = Instant::from_millis(1_800_000_000_000);
    assert_eq!(step(None), (0, Some(Held::HostUnseen)));
    let containers =
        Evidence::Containers { host: host_name(), began, containers: vec![], attachments: Vec::new() };
    assert_eq!(step(Some(containers)), (0, Some(Held::ScopeUnseen)));
    let registrations =
        Evidence::Registrations { scope: scope(), began, registrations: vec![], unseen: Vec::new() };
    assert_eq!(step(Some(registrations)), (0, Some(Held::HostUnseen)));
    let image = Template::default().image;
    let state = ImageState::Missing("no such image".to_owned());
    let missing = Evidence::Image { host: host_name(), image, state };
    assert_eq!(step(Some(missing)), (0, Some(Held::ImageMissing)));
    let state = ImageState::Present("sha256:1".to_owned());
    let image = Evidence::Image { host: host_name(), image: Template::default().image, state };
    assert_eq!(step(Some(image)), (1, None));
}

#[test]
fn a_job_that_waits_beside_an_idle_runner_is_reported_once() {
    let mut board = Board::new("i", pool(policy(0, 4)), host());
    board.queue(1);
    let reported = |board: &mut Board| {
        let plan = board.fleet.plan(board.now);
        let stuck = plan.events.iter().filter(|event| matches!(event, Event::JobStuck { .. })).count();
        (stuck, plan.wake_at)
    };
    let (stuck, wake_at) = reported(&mut board);
    assert_eq!((stuck, wake_at.is_some()), (0, true));
    board.now = board.now + 10 * MINUTE;
    assert_eq!(reported(&mut board).0, 1);
    board.now = board.now + 10 * MINUTE;
    assert_eq!(reported(&mut board).0, 0);
}

/// A window of a day on Berlin's clock. Boards are set up at 10:00:01 there, on a Friday.
fn berlin(from: u16, to: u16, min_idle: u32) -> Schedule {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    Schedule(vec![Window { days: Days([true; 7]), from, to, zone, min_idle }])
}

#[test]
fn a_schedule_launches_when_its_window_begins() {
    let policy = Policy { schedule: berlin(10 * 60 + 30, 18 * 60, 5), ..policy(1, 10) };
    let mut board = Board::new("ib", pool(policy), host());
    let plan = board.fleet.plan(board.now);
    assert_eq!((plan.actions.len(), board.fleet.status().pools[0].min_idle), (0, 1));
    let at = plan.wake_at.expect("a moment to wake at");
    assert_eq!(shown(at).to_string(), "2027-01-15T09:30:00.000Z");
    board.now = at;
    board.look(|_| true);
    assert_eq!((board.plan().as_str(), board.fleet.status().pools[0].min_idle), ("++++", 5));
}

#[test]
fn when_a_window_ends_the_idle_go_by_their_timeout_and_the_busy_stay() {
    let policy = Policy { schedule: berlin(8 * 60, 10 * 60 + 2, 3), ..policy(0, 10) };
    let mut board = Board::new("IIib", pool(policy), host());
    for (seconds, signs) in [(0, ""), (118, ""), (119, "--"), (240, ""), (310, "-"), (36_000, "")] {
        let start = board.now;
        board.now = board.now + Duration::from_secs(seconds);
        board.look(|_| true);
        assert_eq!(board.plan(), signs, "{seconds}");
        board.now = start;
    }
}

#[test]
fn runners_on_a_host_that_is_not_seen_count_against_the_most() {
    let mut board = Board::new("", pool(policy(1, 2)), host());
    let mut names = Names::new("ci1".parse().unwrap(), 7);
    let registrations = (1..=2).map(|id| Registration {
        id: RegistrationId(id),
        name: names.next(&"p".parse().unwrap(), shown(board.now)).to_string(),
        status: RunnerStatus::Online,
        busy: true,
    });
    let (began, registrations) = (board.now, registrations.collect());
    board.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
    assert_eq!((board.plan().as_str(), board.held()), ("", Some(Held::AtMax)));
}

#[test]
fn a_list_that_may_lack_a_pools_runners_says_nothing_of_them() {
    let mut board = Board::new("i", pool(policy(1, 2)), host());
    for _ in 0..4 {
        board.now = board.now + HOUR;
        let (began, unseen) = (board.now, vec!["p".parse().unwrap()]);
        board.observe(Evidence::Registrations { scope: scope(), began, registrations: vec![], unseen });
        assert_eq!(board.plan(), "");
    }
}

#[test]
fn a_container_whose_start_failed_is_no_capacity() {
    let mut board = Board::new("", pool(policy(1, 2)), host());
    assert_eq!(board.plan(), "+");
    let runner = board.fleet.runners.keys().next().unwrap().clone();
    let trouble = Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: "500".to_owned() };
    let (registration, container) = (Minted::Yes(RegistrationId(7)), Some(ContainerId("c7".into())));
    let failed = Launched::Failed { registration, container, trouble };
    board.observe(Evidence::Launch { runner, outcome: failed });
    board.now = board.now + Duration::from_secs(6);
    assert_eq!(board.plan(), "+");
}

#[test]
fn a_burst_stops_where_githubs_limits_begin_and_goes_on_by_itself() {
    let idle = Pool { demand: Demand::IDLE, ..pool(policy(200, 300)) };
    let mut board = Board::new("", idle, host());
    let plan = board.fleet.plan(board.now);
    assert_eq!((plan.actions.len(), board.held()), (150, Some(Held::Paced)));
    let at = plan.wake_at.expect("a moment to go on");
    assert_eq!(at.since(board.now), MINUTE);
    board.now = at;
    board.look(|_| true);
    assert_eq!((board.plan().len(), board.held()), (50, None));
}
