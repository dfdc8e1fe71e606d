//! The observers: each looks at one thing for as long as the daemon runs and publishes what it saw
//! as evidence. A slow or dead scope or host delays nobody else.

use std::{collections::BTreeMap, path::Path, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, mpsc::UnboundedSender},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    clock,
    fleet::{
        ContainerId, Evidence, HostName, ImageState, Phase, PullPolicy, RunnerName, RunnerReport, Status,
    },
    host::{Docker, Happened, Host, chain, disk_is_low},
};

/// How long after a lost stream of events or log lines it is asked for again.
const RECONNECT: Duration = Duration::from_secs(1);

/// How often an engine is asked whether it still has an image.
const IMAGE_LOOK: Duration = Duration::from_mins(1);

/// How often a pull is repeated for `pull = "always"`.
const IMAGE_REFRESH: Duration = Duration::from_mins(15);

/// How long after a failed pull it is tried again, the first time and at most.
const PULL_RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// How often an engine's disk is looked at.
const DISK_LOOK: Duration = Duration::from_secs(30);

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

/// Follows an engine's events: ends and out-of-memory kills are evidence at once, and whatever
/// happened is a reason to list again.
pub(super) async fn follow_events(docker: Docker, host: HostName, publisher: Publisher, relist: Arc<Notify>) {
    loop {
        let mut events = pin!(docker.events());
        while let Some(event) = events.next().await {
            match event {
                Ok(Happened::Died { runner, id }) => {
                    // Its end is read at once, so that a replacement need not wait for a list, nor
                    // for the ends of others.
                    let (docker, publisher, relist) = (docker.clone(), publisher.clone(), relist.clone());
                    tokio::spawn(async move {
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
        // What happened in between is found by listing.
        relist.notify_one();
        sleep(RECONNECT).await;
    }
}

/// Sees to it that an engine has an image, off any job's way.
pub(super) async fn keep_image(
    docker: Docker,
    host: HostName,
    image: String,
    pull: PullPolicy,
    publisher: Publisher,
) {
    let publish = |state| {
        let (host, image) = (host.clone(), image.clone());
        publisher.publish(Evidence::Image { host, image, state });
    };
    let mut refresh_at = clock::now();
    let mut retry = PULL_RETRY.0;
    loop {
        let present = docker.image(&image).await;
        let wanted = match (&present, pull) {
            (Ok(None), PullPolicy::Missing | PullPolicy::Always) => true,
            (Ok(Some(_)), PullPolicy::Always) => clock::now() >= refresh_at,
            _ => false,
        };
        let mut next = IMAGE_LOOK;
        match present {
            // Jobs need not wait for a newer image while there is one.
            Ok(Some(id)) => publish(ImageState::Present(id)),
            Ok(None) if !wanted => {
                publish(ImageState::Missing(format!(
                    "the engine has no image {image}, and `pull` is \"never\""
                )));
            }
            Ok(None) => publish(ImageState::Missing(format!("{image} is being pulled"))),
            // The host's own observer tells of an engine that cannot be reached.
            Err(_) => next = RECONNECT,
        }
        if wanted {
            debug!(%host, image, "pulling");
            match docker.pull(&image).await {
                Ok(id) => {
                    publish(ImageState::Present(id));
                    (retry, refresh_at) = (PULL_RETRY.0, clock::now() + IMAGE_REFRESH);
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(%host, image, error, "the image cannot be pulled, and will be tried again");
                    if !matches!(docker.image(&image).await, Ok(Some(_))) {
                        publish(ImageState::Missing(error));
                    }
                    next = retry;
                    retry = (retry * 2).min(PULL_RETRY.1);
                    refresh_at = clock::now() + next;
                }
            }
        }
        sleep(next).await;
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
                    warn!(%host, directory, %error, "cannot see the engine's disk, so `min_free_disk` has no effect");
                }
                Err(_) => {}
            }
        }
        sleep(DISK_LOOK).await;
    }
}

/// The logs that are being followed: of each runner that may still say that it listens or has a
/// job, so of the idle ones at most.
#[derive(Default)]
pub(super) struct LogFollowers {
    followed: BTreeMap<RunnerName, (ContainerId, AbortHandle)>,
}

impl LogFollowers {
    /// Follows whom the last pass shows to be without a job, and nobody else.
    pub(super) fn follow(
        &mut self,
        status: &Status,
        hosts: &BTreeMap<HostName, Docker>,
        publisher: &Publisher,
    ) {
        let wanted: BTreeMap<&RunnerName, (&ContainerId, &Docker)> = status
            .runners
            .iter()
            .filter(|runner| may_still_speak(runner))
            .filter_map(|runner| {
                let docker = hosts.get(runner.host.as_ref()?)?;
                Some((&runner.name, (runner.container_id.as_ref()?, docker)))
            })
            .collect();
        self.followed.retain(|name, (container, task)| {
            let keep = wanted.get(name).is_some_and(|(id, _)| *id == container) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (name, (id, docker)) in wanted {
            if !self.followed.contains_key(name) {
                let follow = follow_log(docker.clone(), name.clone(), id.clone(), publisher.clone());
                let task = tokio::spawn(follow).abort_handle();
                self.followed.insert(name.clone(), (id.clone(), task));
            }
        }
    }
}

fn may_still_speak(runner: &RunnerReport) -> bool {
    match runner.phase {
        Phase::Starting | Phase::Idle | Phase::Stopping | Phase::Ghost | Phase::Unknown => true,
        // What GitHub says is busy may still tell the name of its job.
        Phase::Busy => runner.job.is_none(),
        Phase::Finished | Phase::Orphaned => false,
    }
}

/// Follows one log to its end, or until the runner has a job. What was said before the daemon
/// started is said again, which is how an adopted runner is known.
async fn follow_log(docker: Docker, runner: RunnerName, id: ContainerId, publisher: Publisher) {
    loop {
        let mut lines = pin!(docker.follow(&id));
        let mut lost = false;
        while let Some(line) = lines.next().await {
            match line {
                Ok(said) => publisher.publish(Evidence::Said { runner: runner.clone(), said }),
                Err(error) => {
                    debug!(%runner, error = chain(&error), "the runner's log cannot be followed");
                    lost = true;
                }
            }
        }
        sleep(RECONNECT).await;
        if !lost {
            return;
        }
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
