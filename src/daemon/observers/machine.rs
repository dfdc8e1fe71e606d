//! An engine and its machine: whether it answers, its clock and its disk.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::sleep};
use tracing::warn;

use crate::{
    clock,
    daemon::engine::Engine,
    demand::Publisher,
    fleet::{Evidence, HostName, Resources},
    host::{Facts, disk_is_low},
};

/// How often an engine's disk is checked.
const DISK_INTERVAL: Duration = Duration::from_secs(30);

/// Between two pings of an engine.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// Pings an engine at the start and while it can be listed, and reports one that does not answer twice in a row: a list of
/// an engine that hangs fails far later, and until then runners would be minted for it, or those of its pools' other
/// hosts would wait.
pub(super) async fn watch_answers(engine: Engine, host: HostName, publisher: Publisher, relist: Arc<Notify>) {
    let mut listed = engine.listed.subscribe();
    let mut is_first = true;
    while std::mem::take(&mut is_first) || listed.wait_for(|listed| *listed).await.is_ok() {
        let answer = match engine.api.docker().ping().await {
            Ok(()) => Ok(()),
            Err(_) => engine.api.docker().ping().await,
        };
        match answer {
            Ok(()) => sleep(PING_INTERVAL).await,
            Err(error) => {
                engine.was_listed(false);
                publisher.publish(Evidence::HostTrouble { host: host.clone(), trouble: error.into() });
                relist.notify_one();
            }
        }
    }
}

/// Reads what an engine's machine has and its clock, retrying until it responds, and reports a clock that differs much
/// from this machine's.
pub(super) async fn read_machine(engine: Engine, host: HostName, publisher: Publisher) {
    let mut pauses = engine.pauses();
    loop {
        // The engine's list reports why it cannot be reached.
        if let Ok(facts) = engine.api.docker().facts().await {
            let size = Resources { memory: facts.memory, cpu_millis: u64::from(facts.cpus) * 1000 };
            publisher.publish(Evidence::HostSize { host: host.clone(), size });
            return report_skew(&host, &facts);
        }
        pauses.wait().await;
    }
}

/// Decisions compare times of one clock only, so only times in logs would be confusing.
fn report_skew(host: &HostName, facts: &Facts) {
    if let Some(ahead) = facts.skew(clock::wall()) {
        let (seconds, direction) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        warn!(
            %host, seconds,
            "the clock of the engine's machine is {seconds} s {direction} this machine's; enable time \
             synchronization on both, such as chrony or systemd-timesyncd"
        );
    }
}

/// Checks whether an engine's disk has room for more runners, where this process can see the disk.
pub(super) async fn watch_disk(engine: Engine, host: HostName, min_free: u64, publisher: Publisher) {
    let mut warned = false;
    loop {
        if let Ok(facts) = engine.api.docker().facts().await {
            match disk_is_low(Path::new(&facts.storage_root), min_free) {
                Ok(low) => publisher.publish(Evidence::DiskLow { host: host.clone(), low }),
                Err(error) if !warned => {
                    warned = true;
                    let directory = facts.storage_root;
                    warn!(%host, directory, %error, "cannot check the engine's disk, so `min_free_disk` has no effect");
                }
                Err(_) => {}
            }
        }
        sleep(DISK_INTERVAL).await;
    }
}
