//! Demand from reports of jobs that arrive in any order.

mod scale_sets;

use std::collections::BTreeMap;

use super::*;
use crate::{
    Action, ClockReading, Container, ContainerId, ContainerState, Demand, Devices, Evidence, Exit, Host,
    HostName, ImageState, Launched, Plan, Policy, Pool, RegistrationId, Resources, Said, Template, Trouble,
    TroubleKind, Unmatched, Visibility,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const REPOSITORY: &str = "https://github.com/acme/widgets";

/// Pools of one organization, and a clock.
struct Table {
    fleet: Fleet,
    now: Instant,
    /// Runners that were launched, and their pools.
    launched: Vec<RunnerName>,
    events: Vec<Event>,
}

fn organization() -> Scope {
    "https://github.com/acme".parse().unwrap()
}

fn host() -> HostName {
    "local".parse().unwrap()
}

fn pool(name: &str, labels: &[&str], demand: Demand) -> Pool {
    Pool {
        name: name.parse().unwrap(),
        scope: organization(),
        credential: "default".into(),
        hosts: vec![host()],
        placement: crate::Placement::default(),
        group: "Default".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        demand,
        repositories: Vec::new(),
        allow_public: false,
        match_unlabelled: false,
        policy: Policy { min_idle: 0, max: 20, ..Policy::default() },
        template: Template::default(),
    }
}

fn jobs_pool() -> Pool {
    pool("p", &["self-hosted", "linux"], Demand::Jobs { queue: true, webhook: true })
}

impl Table {
    fn of(pools: Vec<Pool>) -> Self {
        let host_of = Host {
            name: host(),
            max_runners: None,
            budget: Resources::default(),
            devices: BTreeMap::new(),
            nodes: None,
        };
        let now = Instant::from_millis(1_800_000_000_000);
        let mut fleet = Fleet::new("ci1".parse().unwrap(), 1, pools, vec![host_of]);
        let image = Template::default().image;
        let state = ImageState::Present("sha256:1".to_owned());
        fleet.observe(Evidence::Image { host: host(), image, state }, now);
        let (scope, began) = (organization(), now);
        fleet.observe(
            Evidence::Registrations { scope, began, registrations: Vec::new(), unseen: Vec::new() },
            now,
        );
        fleet.observe(
            Evidence::Containers { host: host(), began, containers: Vec::new(), attachments: Vec::new() },
            now,
        );
        Self { fleet, now, launched: Vec::new(), events: Vec::new() }
    }

    fn new() -> Self {
        Self::of(vec![jobs_pool()])
    }

    fn pass_by(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn observe(&mut self, evidence: Evidence) {
        self.fleet.observe(evidence, self.now);
    }

    fn job(&self, id: u64, labels: &[&str]) -> Job {
        Job {
            id: JobId(id),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            enterprise: None,
            public: Some(false),
            workflows: Vec::new(),
            queued_at: self.now,
            facts: Arc::new(JobFacts {
                name: format!("job {id}"),
                repository: REPOSITORY.parse().unwrap(),
                run_id: 1,
                url: String::new(),
                queued_at: ClockReading::default().timestamp(self.now),
            }),
        }
    }

    fn hint(&mut self, id: u64, state: JobState) {
        let (job, at) = (self.job(id, &["linux"]), self.now);
        self.observe(Evidence::Job { job, state, at, asked: false });
    }

    /// A poll that began `ago`.
    fn look(&mut self, ago: Duration, jobs: &[(u64, JobState)]) {
        let began = Instant::from_millis(self.now.as_millis() - u64::try_from(ago.as_millis()).unwrap());
        let jobs = jobs.iter().map(|(id, state)| (self.job(*id, &["linux"]), state.clone())).collect();
        self.observe(Evidence::Queue { repository: REPOSITORY.parse().unwrap(), began, jobs });
    }

    /// Plans; what is launched comes up at once.
    fn plan(&mut self) -> Plan {
        let plan = self.fleet.plan(self.now);
        for action in &plan.actions {
            if let Action::Launch { runner, .. } = action {
                let number = self.launched.len() as u64 + 1;
                self.launched.push(runner.clone());
                let registration = RegistrationId(number);
                let container = ContainerId(format!("{number}").into());
                let outcome = Launched::Up { registration, container };
                self.observe(Evidence::Launch { runner: runner.clone(), outcome });
            }
        }
        self.events.extend(plan.events.iter().cloned());
        plan
    }

    /// How many jobs the pools wait for.
    fn queued(&mut self) -> Vec<u32> {
        self.plan();
        self.fleet.status().pools.iter().map(|pool| pool.queued).collect()
    }

    fn takes_a_job(&mut self, runner: usize) {
        let runner = self.launched[runner].clone();
        self.observe(Evidence::Said {
            runner,
            said: Said::RunningJob { job: "job".to_owned(), began: None },
            clock: ClockReading::default(),
        });
    }

    fn ends(&mut self, runner: usize) {
        let exit = Exit {
            at: ClockReading::default().timestamp(self.now),
            ran: None,
            code: 0,
            out_of_memory: false,
            job: Some("job".to_owned()),
            result: None,
            version_deprecated: false,
            log_tail: "".into(),
        };
        self.observe(Evidence::Exited { runner: self.launched[runner].clone(), exit });
    }

    fn assigned(&mut self, jobs: u32) {
        let (pool, at) = ("p".parse().unwrap(), self.now);
        self.observe(Evidence::Assigned { pool, jobs: Some(jobs), at });
    }

    fn job_over(&mut self, runner: usize) {
        let runner = self.launched[runner].to_string();
        self.observe(Evidence::JobOver { runner });
    }
}

fn in_progress(runner: Option<&str>) -> JobState {
    JobState::InProgress { runner: runner.map(str::to_owned) }
}

/// Shows every order, by Heap's algorithm.
fn permute(hints: &mut [JobState], length: usize, seen: &mut impl FnMut(&[JobState])) {
    if length <= 1 {
        return seen(hints);
    }
    for place in 0..length {
        permute(hints, length - 1, seen);
        hints.swap(if length.is_multiple_of(2) { place } else { 0 }, length - 1);
    }
}

#[test]
fn hints_in_any_order_end_the_same() {
    let hints = [
        JobState::Waiting,
        JobState::Queued,
        in_progress(None),
        in_progress(Some("somebody")),
        JobState::Completed,
        JobState::Completed,
    ];
    let mut orders = 0;
    permute(&mut hints.clone(), hints.len(), &mut |order| {
        orders += 1;
        let mut table = Table::new();
        for state in order {
            table.hint(1, state.clone());
            table.pass_by(SECOND);
        }
        assert_eq!(table.queued(), [0], "{order:?}");
        assert!(table.fleet.jobs.known.is_empty() && table.fleet.jobs.over.len() == 1, "{order:?}");
        // Every later report is too late.
        table.hint(1, JobState::Queued);
        assert_eq!(table.queued(), [0], "{order:?}");
    });
    assert_eq!(orders, 720);
}

#[test]
fn only_what_is_queued_is_demand() {
    for (state, queued) in
        [(JobState::Waiting, 0), (JobState::Queued, 1), (in_progress(None), 0), (JobState::Completed, 0)]
    {
        let mut table = Table::new();
        table.hint(1, state.clone());
        assert_eq!(table.queued(), [queued], "{state:?}");
    }
}

#[test]
fn doubles_are_one() {
    let mut table = Table::new();
    for _ in 0..3 {
        table.hint(1, JobState::Queued);
        table.look(Duration::ZERO, &[(1, JobState::Queued), (1, JobState::Queued)]);
        assert_eq!(table.queued(), [1]);
    }
    assert_eq!(table.launched.len(), 1);
}

#[test]
fn a_poll_that_began_before_or_lags_takes_no_hint_away() {
    for (ago, queued) in [(MINUTE, 1), (SECOND, 1), (Duration::ZERO, 0)] {
        let mut table = Table::new();
        table.hint(1, JobState::Queued);
        table.pass_by(QUEUE_LAG);
        table.look(ago, &[]);
        assert_eq!(table.queued(), [queued], "a look that began {ago:?} ago");
    }
}

#[test]
fn polls_that_overtake_one_another_change_nothing() {
    let mut table = Table::new();
    table.look(Duration::ZERO, &[(1, JobState::Queued), (2, JobState::Queued)]);
    table.pass_by(MINUTE);
    table.look(Duration::ZERO, &[(2, JobState::Queued)]);
    assert_eq!(table.queued(), [1]);
    table.look(SECOND, &[(1, JobState::Queued), (2, JobState::Queued), (3, JobState::Queued)]);
    assert_eq!(table.queued(), [1]);
}

#[test]
fn what_a_complete_poll_lacks_is_over_until_a_poll_shows_it_again() {
    let mut table = Table::new();
    table.hint(1, JobState::Queued);
    table.pass_by(QUEUE_LAG);
    table.look(Duration::ZERO, &[]);
    table.pass_by(MINUTE);
    table.hint(1, JobState::Queued);
    assert_eq!(table.queued(), [0], "a late hint");
    table.look(Duration::ZERO, &[(1, JobState::Queued)]);
    assert_eq!(table.queued(), [1], "the list had missed it");
}

#[test]
fn a_job_that_github_does_not_have_is_over() {
    let mut table = Table::new();
    let (repository, at): (Scope, _) = (REPOSITORY.parse().unwrap(), table.now);
    table.pass_by(SECOND);
    table.hint(1, JobState::Queued);
    table.observe(Evidence::JobGone { repository: repository.clone(), job: JobId(1), at });
    assert_eq!(table.queued(), [1], "asked before it was queued");
    table.observe(Evidence::JobGone { repository, job: JobId(1), at: table.now });
    assert_eq!(table.queued(), [0]);
}

#[test]
fn a_list_that_lags_does_not_bring_a_job_back() {
    let mut table = Table::new();
    table.hint(1, in_progress(None));
    table.hint(2, JobState::Completed);
    table.pass_by(SECOND);
    table.look(Duration::ZERO, &[(1, JobState::Queued), (2, JobState::Queued)]);
    assert_eq!(table.queued(), [0]);
    // But GitHub can take a job back from a runner that it lost.
    table.pass_by(QUEUE_LAG);
    table.look(Duration::ZERO, &[(1, JobState::Queued)]);
    assert_eq!(table.queued(), [1]);
}

#[test]
fn a_taken_job_is_not_counted_twice() {
    let mut table = Table::new();
    table.look(Duration::ZERO, &[(1, JobState::Queued), (2, JobState::Queued)]);
    assert_eq!(table.queued(), [2]);
    table.pass_by(SECOND);
    table.takes_a_job(0);
    assert_eq!(table.queued(), [1]);
    // A late double renews nothing.
    table.pass_by(SECOND);
    table.hint(1, JobState::Queued);
    table.hint(2, JobState::Queued);
    assert_eq!(table.queued(), [1]);
    // A poll that began before still shows both.
    table.look(2 * SECOND, &[(1, JobState::Queued), (2, JobState::Queued)]);
    assert_eq!(table.queued(), [1]);
    // One that began after does not, and what waits then waits.
    table.pass_by(SECOND);
    table.look(Duration::ZERO, &[(2, JobState::Queued), (3, JobState::Queued)]);
    table.pass_by(MINUTE);
    table.look(Duration::ZERO, &[(2, JobState::Queued), (3, JobState::Queued)]);
    assert_eq!(table.queued(), [2]);
    assert_eq!(table.launched.len(), 3);
    assert!(table.fleet.pools.values().all(|pool| pool.demand.has_no_runner_to_subtract()));
}

#[test]
fn a_job_that_is_taken_before_any_poll_shows_it_is_not_counted_twice() {
    let mut spare = jobs_pool();
    spare.policy.min_idle = 1;
    let mut table = Table::of(vec![spare]);
    assert_eq!(table.queued(), [0]);
    table.pass_by(5 * SECOND);
    table.takes_a_job(0);
    table.look(SECOND, &[(1, JobState::Queued)]);
    assert_eq!(table.queued(), [0], "the look began before");
    assert_eq!(table.launched.len(), 2, "the spare is replaced, and no more");
    // A webhook is slower than the runner's own log.
    let job = table.job(2, &["linux"]);
    table.pass_by(SECOND);
    table.takes_a_job(1);
    table.pass_by(SECOND);
    table.observe(Evidence::Job { job, state: JobState::Queued, at: table.now, asked: false });
    assert_eq!(table.queued(), [0], "the webhook came after");
    table.hint(2, JobState::Completed);
    // Without polls nothing stays behind.
    table.pass_by(MINUTE);
    table.hint(1, JobState::Completed);
    table.plan();
    assert!(table.fleet.pools.values().all(|pool| pool.demand.has_no_runner_to_subtract()));
}

#[test]
fn the_runners_name_in_a_job_latches_and_links_facts() {
    let mut table = Table::new();
    table.hint(1, JobState::Queued);
    table.hint(2, JobState::Queued);
    assert_eq!(table.queued(), [2]);
    let name = table.launched[0].to_string();
    table.hint(1, in_progress(Some(&name)));
    assert_eq!(table.queued(), [1], "the other still waits");
    let status = table.fleet.status();
    let runner = status.runners.iter().find(|runner| runner.name.as_str() == name).unwrap();
    assert_eq!(runner.phase, crate::Phase::Busy);
    assert_eq!(runner.facts.as_ref().map(|facts| facts.name.as_str()), Some("job 1"));
    let known = |event: &&Event| matches!(event, Event::JobKnown { .. });
    assert_eq!(table.events.iter().filter(known).count(), 1);
    table.takes_a_job(0);
    table.hint(1, in_progress(Some(&name)));
    table.plan();
    assert_eq!(table.events.iter().filter(known).count(), 1, "once");
}

#[test]
fn an_unmatched_job_is_reported_once_for_each_reason() {
    let mut table = Table::new();
    let reported = |table: &mut Table| {
        table.plan();
        let unmatched = |event: &Event| match event {
            Event::JobUnmatched { reason, .. } => Some(*reason),
            _ => None,
        };
        table.events.iter().filter_map(unmatched).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        let job = table.job(1, &["linux", "gpu"]);
        table.observe(Evidence::Job { job, state: JobState::Queued, at: table.now, asked: true });
        table.pass_by(MINUTE);
    }
    assert_eq!(reported(&mut table), [Unmatched::Labels]);
    let job = Job { labels: vec!["linux".to_owned()], public: Some(true), ..table.job(1, &[]) };
    for visibility in [Visibility::Private, Visibility::All] {
        let job = Evidence::Job { job: job.clone(), state: JobState::Queued, at: table.now, asked: true };
        table.observe(group(visibility));
        table.observe(job);
    }
    assert_eq!(reported(&mut table), [Unmatched::Labels, Unmatched::Group, Unmatched::PublicRepository]);
    assert_eq!(table.queued(), [0]);
}

fn group(visibility: Visibility) -> Evidence {
    let group = GroupPolicy {
        name: "Default".to_owned(),
        default: true,
        visibility,
        allows_public: false,
        workflows: None,
    };
    Evidence::Groups { scope: organization(), groups: vec![group] }
}

#[test]
fn a_groups_new_policy_moves_demand() {
    let mut plain = pool("plain", &["linux"], Demand::Jobs { queue: true, webhook: false });
    plain.group = "Other".to_owned();
    let mut table = Table::of(vec![plain, jobs_pool()]);
    table.look(Duration::ZERO, &[(1, JobState::Queued)]);
    assert_eq!(table.queued(), [1, 0], "the pool with the fewest labels");
    let closed = |repositories| {
        let Evidence::Groups { scope, mut groups } = group(Visibility::Selected(repositories)) else {
            unreachable!("that is what it makes")
        };
        groups[0].name = "Other".to_owned();
        groups[0].default = false;
        Evidence::Groups { scope, groups }
    };
    table.observe(closed(Vec::new()));
    assert_eq!(table.queued(), [0, 1]);
    table.observe(closed(vec![REPOSITORY.parse().unwrap()]));
    assert_eq!(table.queued(), [1, 0]);
}

#[test]
fn what_is_queued_for_a_day_is_no_demand() {
    let mut table = Table::new();
    table.hint(1, JobState::Queued);
    table.pass_by(23 * 60 * MINUTE);
    assert_eq!(table.queued(), [1]);
    table.pass_by(60 * MINUTE);
    assert_eq!(table.queued(), [0]);
}

#[test]
fn nothing_is_remembered_for_ever() {
    let mut table = Table::new();
    table.hint(1, JobState::Queued);
    table.hint(2, JobState::Completed);
    let mut early = table.job(3, &["linux"]);
    early.queued_at = Instant::from_millis(u64::MAX / 2);
    table.observe(Evidence::Job { job: early, state: JobState::Queued, at: table.now, asked: false });
    table.look(MINUTE, &[]);
    table.pass_by(REMEMBERED);
    table.hint(4, JobState::Queued);
    assert!(table.fleet.jobs.over.is_empty());
    table.pass_by(MAX_QUEUE_AGE + SWEEP);
    table.hint(5, JobState::Queued);
    assert_eq!(table.fleet.jobs.known.keys().map(|(_, id)| id.0).collect::<Vec<_>>(), [5]);
    assert!(table.fleet.jobs.looked_at.is_empty());
    assert_eq!(table.queued(), [1], "nor is it demand");
}

#[test]
fn jobs_for_other_runners_are_not_kept() {
    let mut table = Table::new();
    for (id, state) in [(1, JobState::Queued), (2, JobState::Completed)] {
        let job = table.job(id, &["ubuntu-latest"]);
        table.observe(Evidence::Job { job, state, at: table.now, asked: false });
    }
    assert!(table.fleet.jobs.known.is_empty() && table.fleet.jobs.over.is_empty());
}

#[test]
fn a_job_that_waited_for_its_approval_is_queued_from_then_on() {
    let mut table = Table::new();
    table.hint(1, JobState::Waiting);
    let (made, mut job) = (table.now, table.job(1, &["linux"]));
    table.pass_by(Duration::from_hours(30));
    table.hint(1, JobState::Waiting);
    job.queued_at = made;
    let at = table.now;
    table.observe(Evidence::Job { job, state: JobState::Queued, at, asked: false });
    assert_eq!(table.queued(), [1], "it is not a day old");
}
