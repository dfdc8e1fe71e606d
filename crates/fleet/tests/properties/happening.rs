//! What may happen between two plans, true, stale or contradictory.

use std::time::Duration;

use dayfly_fleet::{
    ClockReading, ContainerState, Evidence, Instant, JobId, JobState, Removed, RunnerName, Said, TroubleKind,
};
use proptest::{collection::vec, prelude::*};

use super::stage::{START, Stage, host_name, queue_of, scope, shown, trouble};

/// Something that may happen next. Numbers choose among what exists, however much that is.
#[derive(Clone, Debug)]
pub(super) enum Happening {
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

pub(super) fn happening() -> impl Strategy<Value = Happening> {
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

impl Stage {
    pub(super) fn happen(&mut self, happening: &Happening) {
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
                    // A runner that GitHub reports as having a job has one.
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
}
