//! When a scope's registrations are listed next. Where the job sources of all its pools report what runners do, these,
//! logs and the engines' events show nearly everything, and a list is only needed often while something waits for it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::fleet::{Phase, Pool, PoolName, RunnerReport, Scope, Status, Timestamp};

/// How often the runners of a scope are listed at rest, where the job sources of all its pools report what the runners
/// do.
const LISTED: Duration = Duration::from_mins(1);

/// How often the runners of a scope with these pools are listed at rest, where `usual` is the configured interval.
pub fn list_interval<'p>(pools: impl IntoIterator<Item = &'p Pool>, usual: Duration) -> Duration {
    let mut pools = pools.into_iter().peekable();
    let is_reported = pools.peek().is_some() && pools.all(|pool| pool.demand.reports_runners());
    if is_reported { usual.max(LISTED) } else { usual }
}

/// How often one scope is listed.
pub(super) struct Cadence {
    scope: Scope,
    pools: BTreeSet<PoolName>,
    usual: Duration,
    at_rest: Duration,
}

impl Cadence {
    /// That of a scope with these pools, where `usual` is the configured interval.
    pub(super) fn new(scope: &Scope, pools: &[Pool], usual: Duration) -> Self {
        Self {
            scope: scope.clone(),
            pools: pools.iter().map(|pool| pool.name.clone()).collect(),
            usual,
            at_rest: list_interval(pools, usual),
        }
    }

    /// Waits from the beginning of a list until the next one is due. `interval` says what comes of an interval
    /// under the limits of the moment.
    pub(super) async fn wait(
        &self,
        began: Instant,
        reports: &mut watch::Receiver<Arc<Status>>,
        interval: impl Fn(Duration) -> Duration,
    ) {
        loop {
            let base =
                if self.at_rest == self.usual { self.usual } else { self.base(&reports.borrow_and_update()) };
            let due = sleep_until(began + interval(base));
            if self.at_rest == self.usual {
                return due.await;
            }
            tokio::select! {
                () = due => return,
                Ok(()) = reports.changed() => {}
            }
        }
    }

    fn base(&self, status: &Status) -> Duration {
        let Some(planned) = status.planned else { return self.usual };
        if self.is_at_rest(status, planned.shown) { self.at_rest } else { self.usual }
    }

    /// Whether nothing waits for a list: the last one succeeded, and no runner has been for longer than a usual
    /// interval in a state that only a list may end.
    fn is_at_rest(&self, status: &Status, now: Timestamp) -> bool {
        let is_seen = status.scopes.iter().any(|scope| scope.url == self.scope && scope.up);
        let waits = |runner: &RunnerReport| {
            let unexplained = match runner.phase {
                Phase::Starting | Phase::Stopping | Phase::Ghost => true,
                // After a job GitHub removes the registration by itself.
                Phase::Orphaned => runner.job.is_none(),
                Phase::Idle | Phase::Busy | Phase::Finished | Phase::Unknown => false,
            };
            unexplained && now.since(runner.since) >= self.usual && self.pools.contains(runner.pool.as_str())
        };
        is_seen && !status.runners.iter().any(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{ClockReading, Demand, InstanceId, Policy, RunnerName, ScopeReport, Template};

    const NOW: Timestamp = Timestamp::from_millis(1_795_348_800_000);
    const USUAL: Duration = Duration::from_secs(10);

    fn pool(demand: Demand) -> Pool {
        Pool {
            name: "linux".parse().unwrap(),
            scope: "https://github.com/acme".parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: crate::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: vec!["linux".to_owned()],
            demand,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy::default(),
            template: Template::default(),
        }
    }

    fn cadence(demand: Demand) -> Cadence {
        let pool = pool(demand);
        Cadence::new(&pool.scope, std::slice::from_ref(&pool), USUAL)
    }

    /// The last pass, with a runner that has been in a phase for so long.
    fn shown(up: bool, runner: Option<(Phase, Duration)>) -> Arc<Status> {
        let pool = pool(Demand::ScaleSet);
        let instance: InstanceId = "ci1".parse().unwrap();
        let runners = runner.into_iter().map(|(phase, ago)| RunnerReport {
            removal_reason: None,
            ending: None,
            name: RunnerName::new(&pool.name, &instance, NOW, 1),
            pool: "linux".to_owned(),
            phase,
            registration_id: None,
            container_id: None,
            host: None,
            node: None,
            since: NOW - ago,
            job: None,
            facts: None,
            destinations: Arc::default(),
        });
        let scopes =
            vec![ScopeReport { url: pool.scope.clone(), up, last_listed_at: Some(NOW), trouble: None }];
        let planned = Some(ClockReading { shown: NOW, ..ClockReading::default() });
        Arc::new(Status { planned, runners: runners.collect(), scopes, ..Status::default() })
    }

    #[test]
    fn scale_sets_are_listed_once_a_minute_and_sooner_while_something_waits_for_it() {
        let sets = cadence(Demand::ScaleSet);
        let interval = |up, runner| sets.base(&shown(up, runner)).as_secs();
        assert_eq!(interval(true, None), 60);
        assert_eq!(interval(false, None), 10, "after trouble");
        for &phase in Phase::ALL {
            let sooner = matches!(phase, Phase::Starting | Phase::Stopping | Phase::Ghost | Phase::Orphaned);
            assert_eq!(interval(true, Some((phase, USUAL))), if sooner { 10 } else { 60 }, "{phase:?}");
            assert_eq!(interval(true, Some((phase, USUAL / 2))), 60, "{phase:?}");
        }
        let jobs = cadence(Demand::IDLE);
        assert_eq!(jobs.base(&shown(true, None)), USUAL);
    }

    #[tokio::test]
    async fn what_comes_to_wait_for_a_list_makes_it_sooner() {
        let (sender, mut seen) = watch::channel(shown(true, None));
        let cadence = cadence(Demand::ScaleSet);
        // As long ago as the usual interval, and not as long as that at rest.
        let began = Instant::now().checked_sub(USUAL).unwrap();
        let waiting = cadence.wait(began, &mut seen, |base| base);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        sender.send_replace(shown(true, Some((Phase::Stopping, USUAL))));
        tokio::time::timeout(USUAL, waiting).await.unwrap();
    }
}
