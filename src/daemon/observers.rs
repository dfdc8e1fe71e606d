//! The observers: each looks at one thing for as long as the daemon runs and publishes what it saw
//! as evidence. A slow or dead scope or host delays nobody else.

use std::{path::Path, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, Semaphore, mpsc::UnboundedSender, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    clock,
    fleet::{Evidence, HostName},
    host::{Docker, Facts, Happened, Host, disk_is_low},
    text::chain,
};

/// How long after a failure an engine is asked again, the first time and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How often an engine's disk is looked at.
const DISK_LOOK: Duration = Duration::from_secs(30);

/// Ends of containers that are read at once, per engine. It answers about so many as fast as one.
const ENDS: usize = 8;

/// Where evidence goes.
#[derive(Clone)]
pub(super) struct Publisher {
    /// To the planner.
    pub(super) evidence: UnboundedSender<Evidence>,
}

impl Publisher {
    /// Publishes a fact. When the planner is gone, the process is about to end.
    pub(super) fn publish(&self, evidence: Evidence) {
        let _ = self.evidence.send(evidence);
    }
}

/// An engine, and whether its last list succeeded: what all of its observers go by.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) listed: watch::Sender<bool>,
}

impl Engine {
    pub(super) fn new(docker: Docker) -> Self {
        Self { docker, listed: watch::Sender::new(false) }
    }

    /// Takes in whether a list succeeded.
    pub(super) fn was_listed(&self, listed: bool) {
        self.listed.send_if_modified(|before| std::mem::replace(before, listed) != listed);
    }

    /// Pauses between attempts at something that this engine fails at.
    pub(super) fn pauses(&self) -> Pauses {
        Pauses { next: RETRY.0, listed: self.listed.subscribe() }
    }
}

/// Pauses that double from one attempt to the next, and end early when the engine can be listed again.
pub(super) struct Pauses {
    next: Duration,
    listed: watch::Receiver<bool>,
}

impl Pauses {
    /// Waits before the next attempt.
    pub(super) async fn wait(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(RETRY.1);
        let back = async {
            while self.listed.changed().await.is_ok() {
                if *self.listed.borrow_and_update() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        if timeout(pause, back).await.is_ok() {
            self.next = RETRY.0;
        }
    }

    /// The last attempt succeeded.
    pub(super) fn reset(&mut self) {
        self.next = RETRY.0;
    }
}

/// Asks an engine for its clock until it answers, and reports one that differs much from this machine's.
pub(super) async fn check_clock(engine: Engine, host: HostName) {
    let mut pauses = engine.pauses();
    loop {
        // The engine's list tells why it cannot be reached.
        if let Ok(facts) = engine.docker.facts().await {
            return report_skew(&host, &facts);
        }
        pauses.wait().await;
    }
}

/// Decisions compare times of one clock only, so it is just
/// times in logs that would confuse people.
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

/// Follows an engine's events: ends and out-of-memory kills are evidence at once, and whatever
/// happened is a reason to list again.
pub(super) async fn follow_events(engine: Engine, host: HostName, publisher: Publisher, relist: Arc<Notify>) {
    let (ends, mut pauses) = (Arc::new(Semaphore::new(ENDS)), engine.pauses());
    loop {
        let opened = Instant::now();
        let mut events = pin!(engine.docker.events());
        while let Some(event) = events.next().await {
            if event.is_ok() {
                pauses.reset();
            }
            match event {
                Ok(Happened::Died { runner, id, code }) => {
                    // A replacement need not wait for the rest, which an engine may take long to tell while
                    // it still clears up after the container.
                    if let Some(code) = code {
                        publisher.publish(Evidence::Died { runner: runner.clone(), code });
                    }
                    let (docker, publisher) = (engine.docker.clone(), publisher.clone());
                    let (ends, relist) = (ends.clone(), relist.clone());
                    tokio::spawn(async move {
                        // Never closed, and if it were, having no bound is the lesser evil.
                        let _slot = ends.acquire().await;
                        match docker.exit(&id).await {
                            Ok(Some(exit)) => publisher.publish(Evidence::Exited { runner, exit }),
                            Ok(None) | Err(_) => relist.notify_one(),
                        }
                    });
                }
                Ok(Happened::Oom { runner, .. }) => publisher.publish(Evidence::OutOfMemory { runner }),
                Ok(Happened::Started { .. }) => {}
                Ok(Happened::Destroyed { .. }) => relist.notify_one(),
                Err(error) => debug!(%host, error = chain(&error), "the engine's event stream ended"),
            }
        }
        if opened.elapsed() >= RETRY.1 {
            pauses.reset();
        }
        // What happened in between is found by listing.
        relist.notify_one();
        pauses.wait().await;
    }
}

/// Sees whether an engine's disk has room for more runners, where this process can see the disk.
pub(super) async fn watch_disk(docker: Docker, host: HostName, min_free: u64, publisher: Publisher) {
    let mut told = false;
    loop {
        if let Ok(facts) = docker.facts().await {
            match disk_is_low(Path::new(&facts.storage_root), min_free) {
                Ok(low) => publisher.publish(Evidence::DiskLow { host: host.clone(), low }),
                Err(error) if !told => {
                    told = true;
                    let directory = facts.storage_root;
                    warn!(%host, directory, %error, "cannot check the engine's disk, so `min_free_disk` has no effect");
                }
                Err(_) => {}
            }
        }
        sleep(DISK_LOOK).await;
    }
}

/// One look after the other at something that can be listed, until the daemon ends.
pub(super) async fn observe<F>(
    mut look: impl FnMut() -> F,
    interval: impl Fn() -> Duration,
    news: Arc<Notify>,
) where
    F: Future<Output = ()>,
{
    loop {
        look().await;
        // Either is a reason to look: the time has come, or somebody knows that there is news.
        let _ = timeout(interval(), news.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_double_and_end_when_the_engine_can_be_listed_again() {
        let listed = watch::Sender::new(true);
        let mut pauses = Pauses { next: Duration::from_millis(1), listed: listed.subscribe() };
        for millis in [2, 4, 8] {
            pauses.wait().await;
            assert_eq!(pauses.next, Duration::from_millis(millis));
        }
        pauses.next = Duration::from_hours(1);
        let back = async {
            listed.send_replace(false);
            tokio::task::yield_now().await;
            listed.send_replace(true);
        };
        tokio::join!(pauses.wait(), back);
        assert_eq!(pauses.next, RETRY.0);
    }
}
