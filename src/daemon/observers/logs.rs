//! Follows the logs of runners, which show first that a runner listens and that it has a job.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures_util::StreamExt;
use tokio::{sync::watch, task::AbortHandle};
use tracing::debug;

use crate::{
    daemon::engine::Engine,
    demand::Publisher,
    fleet::{ContainerId, Evidence, HostName, Phase, RunnerName, RunnerReport, Status},
    text::chain,
};

/// Follows the logs of whom each pass shows, for as long as the daemon runs.
pub(super) async fn follow_logs(
    mut reports: watch::Receiver<Arc<Status>>,
    engines: BTreeMap<HostName, Engine>,
    publisher: Publisher,
) {
    let mut followers = LogFollowers::default();
    while reports.changed().await.is_ok() {
        let status = Arc::clone(&reports.borrow_and_update());
        followers.follow(&status, &engines, &publisher);
    }
}

/// The logs that are being followed: of each runner that may still say that it listens or has a
/// job, so of the idle ones at most.
#[derive(Default)]
struct LogFollowers {
    followed: BTreeMap<RunnerName, Followed>,
}

struct Followed {
    container: ContainerId,
    /// Whether the runner is known to have a job, and only the job's name is missing.
    busy: watch::Sender<bool>,
    task: AbortHandle,
}

impl LogFollowers {
    /// Follows the runners that have no job, or no name of their job, after the last pass. A log that was
    /// followed to its end is not followed again.
    fn follow(&mut self, status: &Status, engines: &BTreeMap<HostName, Engine>, publisher: &Publisher) {
        let wanted: BTreeMap<&RunnerName, (&ContainerId, &Engine, bool)> = status
            .runners
            .iter()
            .filter(|runner| may_still_log(runner))
            .filter_map(|runner| {
                let engine = engines.get(runner.host.as_ref()?)?;
                let busy = runner.phase == Phase::Busy;
                Some((&runner.name, (runner.container_id.as_ref()?, engine, busy)))
            })
            .collect();
        self.followed.retain(|name, followed| {
            let keep = wanted.get(name).is_some_and(|(id, ..)| **id == followed.container);
            if !keep {
                followed.task.abort();
            }
            keep
        });
        for (name, (id, engine, busy)) in wanted {
            let followed = self.followed.entry(name.clone()).or_insert_with(|| {
                let sender = watch::Sender::new(busy);
                let (runner, known_busy) = (name.clone(), sender.subscribe());
                let follow = follow_log(engine.clone(), runner, id.clone(), publisher.clone(), known_busy);
                let task = tokio::spawn(follow).abort_handle();
                Followed { container: id.clone(), busy: sender, task }
            });
            followed.busy.send_if_modified(|before| std::mem::replace(before, busy) != busy);
        }
    }
}

impl Drop for LogFollowers {
    fn drop(&mut self) {
        self.followed.values().for_each(|followed| followed.task.abort());
    }
}

fn may_still_log(runner: &RunnerReport) -> bool {
    match runner.phase {
        Phase::Starting | Phase::Idle | Phase::Stopping | Phase::Ghost | Phase::Unknown => true,
        // What GitHub says is busy may still log the name of its job.
        Phase::Busy => runner.job.is_none(),
        Phase::Finished | Phase::Orphaned => false,
    }
}

/// Follows one log to its end, or until the runner has a job. What was logged before the daemon
/// started is read again, which is how an adopted runner is known.
async fn follow_log(
    engine: Engine,
    runner: RunnerName,
    id: ContainerId,
    publisher: Publisher,
    busy: watch::Receiver<bool>,
) {
    let mut pauses = engine.pauses();
    loop {
        let mut lines = pin!(engine.api.follow(&id, busy.clone()));
        let mut lost = false;
        while let Some(line) = lines.next().await {
            match line {
                Ok(said) => {
                    pauses.reset();
                    let clock = engine.api.docker().clock();
                    publisher.publish(Evidence::Said { runner: runner.clone(), said, clock });
                }
                Err(error) => {
                    debug!(%runner, error = chain(&error), "failed to follow the runner's log");
                    lost = true;
                }
            }
        }
        if !lost {
            return;
        }
        pauses.wait().await;
    }
}
