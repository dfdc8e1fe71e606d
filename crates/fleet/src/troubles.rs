//! Failures that the core keeps only for the status.

use super::{
    event::Event,
    fleet::{Fleet, PoolState},
    reasons::{Held, Source},
    report::{FAILURES_KEPT, FailureReport, SourceTrouble, TroubleReport},
    time::Instant,
};

impl Fleet {
    /// The details of why a pool's launches are paused, where there are more than the reason.
    pub(super) fn held_detail(&self, state: &PoolState) -> Option<String> {
        let sight = match state.held? {
            // With several hosts the reasons of all are its details.
            Held::HostUnseen | Held::HostUnreachable => match &state.pool.hosts[..] {
                [host] => self.hosts.get(host).map(|host| &host.sight),
                _ => None,
            },
            Held::ScopeUnseen => self.scopes.get(&state.pool.scope).map(|scope| &scope.sight),
            _ => None,
        };
        let source = match state.held? {
            // Its jobs are counted by one source alone.
            Held::NoSession | Held::SessionTaken => state.sources.values().next(),
            _ => None,
        };
        let trouble = sight.and_then(|sight| sight.trouble.as_ref()).or(source);
        let detail = trouble.map_or(&state.held_detail, |(_, trouble)| &trouble.detail);
        (!detail.is_empty()).then(|| detail.clone())
    }

    /// The failing job sources of a pool, and why.
    pub(super) fn source_troubles(&self, state: &PoolState) -> Vec<SourceTrouble> {
        let report = |(&source, (since, trouble)): (&Source, &(Instant, _))| SourceTrouble {
            source,
            trouble: TroubleReport::new(self.clock.timestamp(*since), trouble),
        };
        state.sources.iter().map(report).collect()
    }

    /// Records a failure for the report.
    pub(super) fn keep_failures(&mut self, events: &[Event], now: Instant) {
        let at = self.clock.timestamp(now);
        self.failures.extend(events.iter().filter_map(|event| FailureReport::of(event, at)));
        let surplus = self.failures.len().saturating_sub(FAILURES_KEPT);
        self.failures.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Action, Container, ContainerId, ContainerState, Devices, Evidence, Exit, ExitReason, ImageState,
        Launched, Minted, RegistrationId, Removed, Resources, RunnerName, Step, Template, Timestamp, Trouble,
        TroubleKind, Why,
        tables::{exit, host, host_name, policy, pool, scope},
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    /// What the wall clock shows then: there is no other reading.
    fn shown(seconds: u64) -> Timestamp {
        Timestamp::from_millis(at(seconds).as_millis())
    }

    fn trouble(kind: TroubleKind, detail: &str) -> Trouble {
        Trouble { kind, retry_after: None, detail: detail.to_owned() }
    }

    fn fresh() -> Fleet {
        Fleet::new("ci1".parse().unwrap(), 1, vec![pool(policy(1, 10))], vec![host()])
    }

    fn containers(began: Instant, containers: Vec<Container>) -> Evidence {
        Evidence::Containers { host: host_name(), began, containers, attachments: Vec::new() }
    }

    fn registrations(began: Instant) -> Evidence {
        Evidence::Registrations { scope: scope(), began, registrations: Vec::new(), unseen: Vec::new() }
    }

    fn image() -> Evidence {
        let state = ImageState::Present("sha256:1".to_owned());
        Evidence::Image { host: host_name(), image: Template::default().image, state }
    }

    /// A fleet that has listed everything and is about to launch its one runner.
    fn ready() -> Fleet {
        let mut fleet = fresh();
        for evidence in [containers(at(0), Vec::new()), registrations(at(0)), image()] {
            fleet.observe(evidence, at(0));
        }
        fleet
    }

    fn launched(fleet: &mut Fleet, now: Instant) -> Option<RunnerName> {
        fleet.plan(now).actions.into_iter().find_map(|action| match action {
            Action::Launch { runner, .. } => Some(runner),
            _ => None,
        })
    }

    #[test]
    fn what_cannot_be_listed_says_why_and_since_when() {
        let mut fleet = fresh();
        let refused = |detail| Evidence::ScopeTrouble {
            scope: scope(),
            trouble: trouble(TroubleKind::Refused, detail),
        };
        let broken = |detail| Evidence::HostTrouble {
            host: host_name(),
            trouble: trouble(TroubleKind::EngineFailed, detail),
        };
        assert_eq!(
            (fleet.status().scopes[0].trouble.clone(), fleet.status().hosts[0].trouble.clone()),
            (None, None)
        );
        for (now, detail) in [(1, "first"), (2, "second")] {
            fleet.observe(refused(detail), at(now));
            fleet.observe(broken(detail), at(now));
            fleet.plan(at(now));
        }
        let status = fleet.status();
        let report = |reason| TroubleReport { reason, since: shown(1), detail: "second".to_owned() };
        assert_eq!(status.scopes[0].trouble, Some(report(TroubleKind::Refused)));
        assert_eq!(status.hosts[0].trouble, Some(report(TroubleKind::EngineFailed)));
        let held = |fleet: &Fleet| {
            let pool = fleet.status().pools.remove(0);
            (pool.held, pool.held_since, pool.held_detail)
        };
        assert_eq!(held(&fleet), (Some(Held::HostUnseen), Some(shown(1)), Some("second".to_owned())));

        fleet.observe(containers(at(3), Vec::new()), at(3));
        fleet.plan(at(3));
        assert_eq!(fleet.status().hosts[0].trouble, None);
        assert_eq!(held(&fleet), (Some(Held::ScopeUnseen), Some(shown(3)), Some("second".to_owned())));
        fleet.observe(registrations(at(4)), at(4));
        fleet.observe(image(), at(4));
        fleet.plan(at(4));
        assert_eq!(held(&fleet), (None, None, None));
        fleet.observe(refused("again"), at(9));
        assert_eq!(fleet.status().scopes[0].trouble.clone().unwrap().since, shown(9), "a new streak");
    }

    #[test]
    fn a_job_source_that_does_not_work_says_why_and_since_when() {
        let mut fleet = fresh();
        let tried = |trouble| Evidence::Source { pool: "p".parse().unwrap(), source: Source::Queue, trouble };
        for (now, detail) in [(1, "first"), (2, "second")] {
            fleet.observe(tried(Some(trouble(TroubleKind::GithubFailed, detail))), at(now));
        }
        let pool = fleet.status().pools.remove(0);
        let report =
            TroubleReport { reason: TroubleKind::GithubFailed, since: shown(1), detail: "second".to_owned() };
        assert_eq!(pool.source_troubles, [SourceTrouble { source: Source::Queue, trouble: report }]);
        fleet.observe(tried(None), at(3));
        assert_eq!(fleet.status().pools[0].source_troubles, []);
    }

    #[test]
    fn a_start_is_no_pause_of_launches() {
        let mut fleet = fresh();
        let mut held = |evidence: Option<Evidence>, now| {
            if let Some(evidence) = evidence {
                fleet.observe(evidence, at(now));
            }
            let events = fleet.plan(at(now)).events;
            let held = events.into_iter().filter_map(|event| match event {
                Event::Held { held, is_starting, .. } => Some((held, is_starting)),
                _ => None,
            });
            held.collect::<Vec<_>>()
        };
        assert_eq!(held(None, 0), [(Some(Held::HostUnseen), true)]);
        assert_eq!(held(Some(containers(at(0), Vec::new())), 1), [(Some(Held::ScopeUnseen), true)]);
        assert_eq!(held(Some(registrations(at(1))), 2), [(Some(Held::HostUnseen), true)]);
        assert_eq!(held(Some(image()), 3), [(None, true)]);
        assert_eq!(held(Some(Evidence::Drain(true)), 4), [(Some(Held::Draining), false)]);
        assert_eq!(held(Some(Evidence::Drain(false)), 5), [(None, false)]);
    }

    #[test]
    fn an_ended_runner_says_how_and_the_last_failures_are_kept() {
        let mut fleet = ready();
        let name = launched(&mut fleet, at(1)).unwrap();
        let outcome = Launched::Up { registration: RegistrationId(1), container: ContainerId("c1".into()) };
        fleet.observe(Evidence::Launch { runner: name.clone(), outcome }, at(2));
        let end = Exit { out_of_memory: true, log_tail: "Killed".into(), ..exit(None, 137, at(3)) };
        fleet.observe(Evidence::Exited { runner: name.clone(), exit: end }, at(3));
        let mut waiting = launched(&mut fleet, at(3));
        let status = fleet.status();
        let ended = status.runners.iter().find(|runner| runner.name == name).unwrap();
        let ending = ended.ending.unwrap();
        assert_eq!(
            (ending.reason, ending.at, ending.exit_code),
            (ExitReason::OutOfMemory, shown(3), Some(137))
        );
        let failure = &status.failures[0];
        assert_eq!(
            (&failure.runner, failure.step, failure.reason, failure.at),
            (&name, Step::Run, "oom", shown(3))
        );
        assert!(
            failure.detail.contains("memory ran out") && failure.detail.ends_with("Killed"),
            "{failure:?}"
        );

        let failed = |number| Launched::Failed {
            registration: Minted::No,
            container: None,
            trouble: trouble(TroubleKind::GithubFailed, &format!("failure {number}")),
        };
        let (mut now, mut failures) = (3, 0);
        for _ in 0..2 * FAILURES_KEPT {
            if let Some(runner) = waiting {
                fleet.observe(Evidence::Launch { runner, outcome: failed(failures) }, at(now));
                failures += 1;
            }
            now += 400;
            for evidence in [containers(at(now), Vec::new()), registrations(at(now))] {
                fleet.observe(evidence, at(now));
            }
            waiting = launched(&mut fleet, at(now));
        }
        assert!(failures > FAILURES_KEPT, "{failures}");
        let last = format!("failure {}", failures - 1);
        let failures = fleet.status().failures;
        assert_eq!(failures.len(), FAILURES_KEPT);
        assert!(
            failures.iter().all(|failure| failure.step == Step::Launch && failure.reason == "github_failed")
        );
        assert_eq!(failures[0].detail, last, "the newest comes first");
    }

    #[test]
    fn a_removal_that_fails_is_reported_each_time_and_kept_once() {
        let mut fleet = ready();
        let name = launched(&mut fleet, at(1)).unwrap();
        let outcome = Launched::Up { registration: RegistrationId(1), container: ContainerId("c1".into()) };
        fleet.observe(Evidence::Launch { runner: name.clone(), outcome }, at(2));
        fleet.observe(Evidence::Exited { runner: name.clone(), exit: exit(Some("build"), 0, at(3)) }, at(3));
        let (mut now, mut streaks) = (3, Vec::new());
        while streaks.len() < 3 && now < 1000 {
            now += 10;
            let removes = |action: &Action| matches!(action, Action::Remove { .. });
            if fleet.plan(at(now)).actions.iter().any(removes) {
                let outcome = Removed::Failed(trouble(TroubleKind::EngineFailed, "500"));
                fleet.observe(Evidence::Remove { runner: name.clone(), outcome }, at(now));
                streaks.extend(fleet.plan(at(now)).events.into_iter().filter_map(|event| match event {
                    Event::RemovalFailed { streak, .. } => Some(streak),
                    _ => None,
                }));
            }
        }
        assert_eq!(streaks, [1, 2, 3]);
        let failures = fleet.status().failures;
        let reported: Vec<_> = failures.iter().map(|failure| (failure.step, failure.reason)).collect();
        assert_eq!(reported, [(Step::Removal, "engine_failed")]);
    }

    #[test]
    fn a_runner_that_is_being_removed_says_why() {
        let mut fleet = fresh();
        let instance = "ci1".parse().unwrap();
        let runner = crate::Names::new(instance, 2).next(&"gone".parse().unwrap(), shown(0));
        let container = Container {
            id: ContainerId("c1".into()),
            runner,
            registration: Some(RegistrationId(1)),
            scope: Some(scope()),
            template: Template::default().digest(),
            image: None,
            resources: Resources::default(),
            devices: Devices::default(),
            state: ContainerState::Up,
        };
        fleet.observe(containers(at(1), vec![container]), at(1));
        fleet.observe(registrations(at(1)), at(1));
        fleet.plan(at(1) + Duration::from_secs(1));
        let runner = fleet.status().runners.remove(0);
        assert_eq!((runner.removal_reason, runner.ending), (Some(Why::PoolGone), None));
    }
}
