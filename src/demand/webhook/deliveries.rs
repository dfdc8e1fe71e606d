//! Repairs lost webhooks by GitHub's own log of their deliveries: those that failed, as while the daemon was
//! down, are read there and published as if they had arrived.
//!
//! They are read and not redelivered: reading needs no right to change anything, and works where GitHub
//! cannot reach us just now. What GitHub lost before it came into the log is found by requesting jobs.

mod log;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::sleep;
use tracing::{debug, info, warn};

pub use self::log::LOG_INTERVAL;
use self::log::{Left, Log, Part, REFUSED_PAUSE};
use crate::{
    clock,
    demand::Publisher,
    fleet::{Evidence, Instant, JobId, JobState, Scope, Target},
    github::{Client, GithubError, HookRecord},
    text::chain,
};

/// From one poll to the next while more is left: what is read has a share of the rate, of which mints need the
/// rest.
const PORTION: Duration = Duration::from_secs(30);

/// How long the list of webhooks is cached.
pub const HOOKS_INTERVAL: Duration = Duration::from_hours(1);

/// Deliveries that one poll reads in full, of all hooks together; the rest waits for the next.
const READS: usize = 100;

/// Jobs that are remembered to be over or in progress while their other deliveries are read.
const BEGUN: usize = 10_000;

/// The suffix of the payload URL of this daemon's webhooks.
const OUR_PATH: &str = "/webhook";

/// Reads the logs of a scope's webhooks at once and every few minutes, and publishes what did not arrive.
/// Never ends, except for an enterprise, whose webhooks no API shows.
pub async fn watch_deliveries(client: Client, publisher: Publisher) {
    let scope = client.scope().clone();
    if let Target::Enterprise { .. } = scope.target() {
        return;
    }
    let mut repair = Repair::new(client);
    let mut failing = false;
    loop {
        let (repaired, ended) = repair.poll(clock::now(), |evidence| publisher.publish(evidence)).await;
        let Repaired { hooks, recovered, .. } = repaired;
        if recovered > 0 {
            info!(%scope, recovered, "recovered failed webhook deliveries from GitHub's log");
        } else if ended.is_ok() {
            debug!(%scope, hooks, "no failed webhook deliveries");
        }
        if let Err(error) = &ended {
            let error = chain(error);
            if failing {
                debug!(%scope, error, "failed to read the delivery log of some or all webhooks");
            } else {
                warn!(
                    %scope, error,
                    "failed to read the delivery log of some or all webhooks; jobs whose webhooks were lost \
                     are found only by look-ups and polling"
                );
            }
        }
        failing = ended.is_err() || repair.is_failing();
        sleep(pause(&repaired, &ended)).await;
    }
}

/// From this poll to the next.
fn pause(repaired: &Repaired, ended: &Result<(), GithubError>) -> Duration {
    match ended {
        _ if repaired.more => PORTION,
        // Not even which hooks there are.
        Err(GithubError::Refused(_)) if repaired.hooks == 0 => REFUSED_PAUSE,
        _ => LOG_INTERVAL,
    }
}

/// The hooks of one scope, and how far their logs were read.
pub struct Repair {
    client: Client,
    listed_at: Option<Instant>,
    logs: BTreeMap<u64, Log>,
    /// Jobs that a runner had, of which something is left to be read.
    begun: BTreeSet<(Scope, JobId)>,
}

/// What one poll found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Webhooks of the scope that report jobs to us.
    pub hooks: usize,
    /// Deliveries that had failed and were published now.
    pub recovered: usize,
    /// Whether more is left for the next poll.
    pub more: bool,
}

/// The progress of a poll.
struct Progress {
    /// Deliveries that may still be read.
    reads: usize,
    /// Hooks that are left to the next poll.
    failed: BTreeSet<u64>,
    /// Whether GitHub answers nothing now.
    stopped: bool,
    ended: Result<(), GithubError>,
}

impl Progress {
    fn fails(&mut self, hook: u64, error: GithubError) {
        self.stopped |= matches!(error, GithubError::RateLimited { .. } | GithubError::Unreachable(_));
        self.failed.insert(hook);
        if self.ended.is_ok() {
            self.ended = Err(error);
        }
    }
}

impl Repair {
    /// A repair of the hooks of the client's scope, which has polled nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, listed_at: None, logs: BTreeMap::new(), begun: BTreeSet::new() }
    }

    /// Polls what failed since the last poll, at first since a day ago, and publishes it as hints: what is
    /// over first, so that a job that came and went meanwhile is never waiting. At rest that is one
    /// conditional request for each hook, and a list of the hooks once an hour.
    ///
    /// An error is the first of one hook, and leaves its rest to the next poll; the others are polled.
    /// [`GithubError::Refused`] and no hooks mean that the credential may not see hooks: then lookups of jobs
    /// are all the repair there is.
    pub async fn poll(
        &mut self,
        now: Instant,
        mut publish: impl FnMut(Evidence) + Send,
    ) -> (Repaired, Result<(), GithubError>) {
        if let Err(error) = self.list_hooks(now).await {
            return (Repaired::default(), Err(error));
        }
        let mut progress = Progress { reads: READS, failed: BTreeSet::new(), stopped: false, ended: Ok(()) };
        for (&hook, log) in &mut self.logs {
            if progress.stopped {
                break;
            }
            if now < log.retry_at {
                progress.failed.insert(hook);
                continue;
            }
            let listed = log.list(&self.client, hook, now).await;
            match &listed {
                Ok(()) => {
                    log.backoff.reset();
                }
                Err(_) => log.retry_at = now + log.backoff.fail(),
            }
            if let Err(error) = listed {
                if let GithubError::Refused(_) = error {
                    // Perhaps it was deleted: list them again.
                    self.listed_at = None;
                }
                progress.fails(hook, error);
            }
        }
        let mut recovered = self.read(Part::Rest, &mut progress, now, &mut publish).await;
        if !self.is_left(&progress, |left| left.part() == Part::Rest) {
            recovered += self.read(Part::Queued, &mut progress, now, &mut publish).await;
        }
        let more = self.is_left(&progress, |_| true);
        if self.logs.values().all(|log| log.left.is_empty()) {
            // Every later delivery is newer than their ends.
            self.begun.clear();
        }
        (Repaired { hooks: self.logs.len(), recovered, more }, progress.ended)
    }

    /// Whether the log of some hook could not be listed the last time that it was tried.
    fn is_failing(&self) -> bool {
        self.logs.values().any(|log| log.backoff.is_failing())
    }

    async fn list_hooks(&mut self, now: Instant) -> Result<(), GithubError> {
        if self.listed_at.is_none_or(|at| now.since(at) >= HOOKS_INTERVAL) {
            let hooks = ours(self.client.hooks().await?);
            self.logs.retain(|id, _| hooks.contains(id));
            for id in hooks {
                self.logs.entry(id).or_default();
            }
            self.listed_at = Some(now);
        }
        Ok(())
    }

    /// Whether something was never tried, of the hooks that can be read now.
    fn is_left(&self, progress: &Progress, wanted: impl Fn(&Left) -> bool) -> bool {
        let logs = self.logs.iter().filter(|(hook, _)| !progress.failed.contains(hook));
        logs.flat_map(|(_, log)| log.left.values()).any(|left| left.failures == 0 && wanted(left))
    }

    /// Reads a part of what is left and publishes it; returns how much that was.
    async fn read(
        &mut self,
        part: Part,
        progress: &mut Progress,
        now: Instant,
        publish: &mut (impl FnMut(Evidence) + Send),
    ) -> usize {
        let mut found = Vec::new();
        for (&hook, log) in &mut self.logs {
            if progress.stopped || progress.failed.contains(&hook) {
                continue;
            }
            let read = log.read(&self.client, hook, part, &mut progress.reads, now, &mut found).await;
            if let Err(error) = read {
                progress.fails(hook, error);
            }
        }
        found.sort_by_key(|(_, state, _)| match state {
            JobState::Completed => 0,
            JobState::InProgress { .. } => 1,
            JobState::Waiting => 2,
            JobState::Queued => 3,
        });
        let mut recovered = 0;
        for (job, state, at) in found {
            let key = (job.facts.repository.clone(), job.id);
            if let JobState::Completed | JobState::InProgress { .. } = state {
                if self.begun.len() < BEGUN {
                    self.begun.insert(key);
                }
            } else if self.begun.contains(&key) {
                continue;
            }
            publish(Evidence::Job { job, state, at, asked: false });
            recovered += 1;
        }
        recovered
    }
}

/// The hooks that may be ours: those that report jobs at an address like ours, or, since a proxy can give
/// us any address, all that report jobs. Reading another's log costs requests and does no harm.
fn ours(hooks: Vec<HookRecord>) -> BTreeSet<u64> {
    let telling: Vec<HookRecord> =
        hooks.into_iter().filter(|hook| hook.active && hook.tells_of_jobs).collect();
    let like_ours = |hook: &&HookRecord| hook.url.trim_end_matches('/').ends_with(OUR_PATH);
    let found: BTreeSet<u64> = telling.iter().filter(like_ours).map(|hook| hook.id).collect();
    if found.is_empty() { telling.iter().map(|hook| hook.id).collect() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::webhook::Encoding;

    #[test]
    fn the_next_poll_waits_whatever_is_left_and_refusals_of_one_hook_pause_nothing() {
        let refused = || Err(GithubError::Refused("403".to_owned()));
        let repaired = |hooks: usize, more: bool| Repaired { hooks, recovered: 0, more };
        assert_eq!(pause(&repaired(2, true), &Ok(())), PORTION);
        assert_eq!(pause(&repaired(2, true), &refused()), PORTION);
        assert_eq!(pause(&repaired(2, false), &refused()), LOG_INTERVAL);
        assert_eq!(pause(&repaired(0, false), &refused()), REFUSED_PAUSE);
        assert_eq!(pause(&Repaired { recovered: 7, ..repaired(1, false) }, &Ok(())), LOG_INTERVAL);
    }

    #[test]
    fn our_hooks_are_those_that_deliver_jobs_to_such_an_address() {
        let hook = |id: u64, url: &str, active: bool, tells_of_jobs: bool| HookRecord {
            id,
            url: url.to_owned(),
            encoding: Some(Encoding::Json),
            signs: true,
            active,
            tells_of_jobs,
        };
        let others = [
            hook(1, "https://chat.example/in", true, true),
            hook(2, "https://ci.example/webhook", true, false),
            hook(3, "https://ci.example/webhook", false, true),
        ];
        assert_eq!(ours(others.to_vec()), [1].into(), "none has our address: any may be ours");
        let mut all = others.to_vec();
        all.push(hook(4, "https://ci.example/dayfly/webhook/", true, true));
        assert_eq!(ours(all), [4].into());
    }
}
