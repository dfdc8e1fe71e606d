//! Follows the logs of runners' proxies, which show what jobs connect to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::StreamExt as _;
use tokio::{sync::watch, task::AbortHandle};
use tracing::debug;

use crate::{
    daemon::engine::Engine,
    demand::Publisher,
    fleet::{Evidence, HostName, RunnerName, Status},
    text::chain,
};

/// Follows the proxies of the runners of these pools that each pass shows, for as long as the daemon runs.
pub(super) async fn follow_proxies(
    mut reports: watch::Receiver<Arc<Status>>,
    pools: BTreeSet<String>,
    engines: BTreeMap<HostName, Engine>,
    publisher: Publisher,
) {
    let mut followers = Followers::default();
    while reports.changed().await.is_ok() {
        let status = Arc::clone(&reports.borrow_and_update());
        let runners = status.runners.iter().filter(|runner| pools.contains(&runner.pool));
        let wanted: BTreeMap<_, _> =
            runners.filter_map(|runner| Some((&runner.name, engines.get(runner.host.as_ref()?)?))).collect();
        followers.0.retain(|name, task| {
            let keep = wanted.contains_key(name);
            if !keep {
                task.abort();
            }
            keep
        });
        // There is a proxy before there is a container.
        let present = status.runners.iter().filter(|runner| runner.container_id.is_some());
        for (name, engine) in present.filter_map(|runner| wanted.get_key_value(&runner.name)) {
            followers.0.entry((*name).clone()).or_insert_with(|| {
                let follow = follow_proxy((*engine).clone(), (*name).clone(), publisher.clone());
                tokio::spawn(follow).abort_handle()
            });
        }
    }
}

/// One for each runner, until no pass shows it any more.
#[derive(Default)]
struct Followers(BTreeMap<RunnerName, AbortHandle>);

impl Drop for Followers {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

/// Follows the log of one proxy to its end. What was logged before the daemon started is read again.
async fn follow_proxy(engine: Engine, runner: RunnerName, publisher: Publisher) {
    let mut pauses = engine.pauses();
    // A log is read from its beginning each time, and the core counts those that it does not keep.
    let mut known = 0;
    loop {
        let (mut read, mut lost) = (0_usize, false);
        let mut destinations = engine.api.docker().destinations(&runner);
        while let Some(next) = destinations.next().await {
            match next {
                Ok((destination, requests)) => {
                    pauses.reset();
                    read += 1;
                    if read > known {
                        publisher.publish(Evidence::Destination {
                            runner: runner.clone(),
                            destination,
                            requests,
                        });
                    }
                }
                Err(error) => {
                    debug!(%runner, error = chain(&error), "failed to follow the log of the runner's proxy");
                    lost = true;
                }
            }
        }
        if !lost {
            return;
        }
        known = known.max(read);
        pauses.wait().await;
    }
}
