//! When a scope's registrations are listed next. Where all its pools are scale sets, messages, logs and the engines'
//! events tell nearly everything, and a list is only needed often while something waits for it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    demand::list_interval,
    fleet::{Phase, Pool, PoolName, RunnerReport, Scope, Status, Timestamp},
    http::Snapshot,
};

/// How often one scope is listed.
pub(super) struct Cadence {
    scope: Scope,
    pools: BTreeSet<PoolName>,
    usual: Duration,
    at_rest: Duration,
}

impl Cadence {
    /// That of a scope with these pools, where `usual` is the configured interval.
    pub(super) fn new(scope: &Scope, pools: &[&Pool], usual: Duration) -> Self {
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
        mut shown: watch::Receiver<Arc<Snapshot>>,
        interval: impl Fn(Duration) -> Duration,
    ) {
        loop {
            let base =
                if self.at_rest == self.usual { self.usual } else { self.base(&shown.borrow_and_update()) };
            let due = sleep_until(began + interval(base));
            if self.at_rest == self.usual {
                return due.await;
            }
            tokio::select! {
                () = due => return,
                Ok(()) = shown.changed() => {}
            }
        }
    }

    fn base(&self, shown: &Snapshot) -> Duration {
        let Some(planned) = shown.planned else { return self.usual };
        if self.is_at_rest(&shown.status, planned.shown) { self.at_rest } else { self.usual }
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
            host: "local".parse().unwrap(),
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
        Cadence::new(&pool.scope, &[&pool], USUAL)
    }

    /// The last pass, with a runner that has been in a phase for so long.
    fn shown(up: bool, runner: Option<(Phase, Duration)>) -> Arc<Snapshot> {
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
            since: NOW - ago,
            job: None,
            facts: None,
        });
        let scopes =
            vec![ScopeReport { url: pool.scope.clone(), up, last_listed_at: Some(NOW), trouble: None }];
        Arc::new(Snapshot {
            instance: "ci1".into(),
            version: "0.1.0",
            started_at: NOW,
            planned: Some(ClockReading { shown: NOW, ..ClockReading::default() }),
            status: Status { runners: runners.collect(), scopes, ..Status::default() },
            engines: std::collections::BTreeMap::new(),
            rates: std::collections::BTreeMap::new(),
        })
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
        let jobs = cadence(Demand::Jobs { queue: false, webhook: false });
        assert_eq!(jobs.base(&shown(true, None)), USUAL);
    }

    #[tokio::test]
    async fn what_comes_to_wait_for_a_list_makes_it_sooner() {
        let (sender, seen) = watch::channel(shown(true, None));
        let cadence = cadence(Demand::ScaleSet);
        // As long ago as the usual interval, and not as long as that at rest.
        let began = Instant::now().checked_sub(USUAL).unwrap();
        let waiting = cadence.wait(began, seen, |base| base);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        sender.send_replace(shown(true, Some((Phase::Stopping, USUAL))));
        tokio::time::timeout(USUAL, waiting).await.unwrap();
    }
}
