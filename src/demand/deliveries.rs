//! Repairs lost webhooks by GitHub's own log of their deliveries: those that failed, as while the daemon was
//! down, are read there and told as if they had come.
//!
//! They are read and not asked for again: reading needs no right to change anything, and works where GitHub
//! cannot reach us just now. What GitHub lost before it came into the log is found by look-ups.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{
    fleet::{Evidence, Target, Timestamp},
    github::{
        Client, DeliveryRecord, GithubError, HookRecord, LogMark,
        webhook::{DeliveryEvent, Told},
    },
    host::chain,
};

/// From one look to the next.
const LOOK: Duration = Duration::from_mins(5);

/// How soon after a refusal it is tried again: that takes a person.
const REFUSED_PAUSE: Duration = Duration::from_hours(1);

/// How far back the first look goes: nobody waits for an older job (GitHub gives up on it).
const FIRST_LOOK: Duration = Duration::from_hours(24);

/// How much of what was looked at is looked at again: deliveries take a while to stand in the log, and our
/// clock is not GitHub's.
const OVERLAP: Duration = Duration::from_mins(10);

/// How long it is remembered which hooks there are.
const HOOKS_FRESH: Duration = Duration::from_hours(1);

/// Pages of a hundred deliveries that one look reads of one hook.
const PAGES: usize = 10;

/// Deliveries that one look reads in full, of all hooks together; the rest waits for the next.
const READS: usize = 100;

/// What the path of a hook's address ends with when it is ours.
const OUR_PATH: &str = "/webhook";

/// Looks at the logs of a scope's hooks at once and every few minutes, and publishes what did not arrive.
/// Never ends, but for an enterprise, whose hooks no API shows.
pub async fn watch_deliveries(
    client: Client,
    clock: impl Fn() -> Timestamp + Send + Sync,
    publish: impl Fn(Evidence) + Send + Sync,
) {
    let scope = client.scope().clone();
    if let Target::Enterprise { .. } = scope.target() {
        return;
    }
    let mut repair = Repair::new(client);
    let mut failing = false;
    loop {
        let looked = repair.look(clock(), &publish).await;
        let mut wait = LOOK;
        match &looked {
            Ok(Repaired { told: 0, hooks, .. }) => debug!(%scope, hooks, "no webhook delivery had failed"),
            Ok(Repaired { told, more, .. }) => {
                info!(%scope, told, "read webhook deliveries that had failed in GitHub's log");
                wait = if *more { Duration::ZERO } else { LOOK };
            }
            Err(error) => {
                if let GithubError::Refused(_) = error {
                    wait = REFUSED_PAUSE;
                }
                let error = chain(error);
                if failing {
                    debug!(%scope, error, "the log of webhook deliveries cannot be read");
                } else {
                    warn!(
                        %scope, error,
                        "the log of webhook deliveries cannot be read; jobs whose webhooks are lost are found by \
                         look-ups and by polling alone"
                    );
                }
            }
        }
        failing = looked.is_err();
        sleep(wait).await;
    }
}

/// The hooks of one scope, and how far their logs were read.
pub struct Repair {
    client: Client,
    listed_at: Option<Timestamp>,
    logs: BTreeMap<u64, Log>,
}

/// How far the log of one hook was read.
#[derive(Default)]
struct Log {
    mark: LogMark,
    /// Whatever was tried before was looked at.
    since: Option<Timestamp>,
    /// Deliveries after that which were read already.
    read: BTreeSet<u64>,
}

/// What one look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Hooks of the scope that tell us of jobs.
    pub hooks: usize,
    /// Deliveries that had failed and were told now.
    pub told: usize,
    /// Whether more is left for the next look.
    pub more: bool,
}

impl Repair {
    /// A repair of the hooks of the client's scope, which has looked at nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, listed_at: None, logs: BTreeMap::new() }
    }

    /// Looks at what failed since the last look, at first since a day ago, and tells it as hints. At rest
    /// that is one conditional request for each hook, and a list of the hooks once an hour.
    ///
    /// An error leaves the rest to the next look. [`GithubError::Refused`] means that the credential may not
    /// see hooks: then look-ups of jobs are all the repair there is.
    pub async fn look(
        &mut self,
        now: Timestamp,
        mut tell: impl FnMut(Evidence) + Send,
    ) -> Result<Repaired, GithubError> {
        if self.listed_at.is_none_or(|at| now.since(at) >= HOOKS_FRESH) {
            let hooks = ours(self.client.hooks().await?);
            self.logs.retain(|id, _| hooks.contains(id));
            for id in hooks {
                self.logs.entry(id).or_default();
            }
            self.listed_at = Some(now);
        }
        let mut repaired = Repaired { hooks: self.logs.len(), ..Repaired::default() };
        let mut reads = READS;
        for (&hook, log) in &mut self.logs {
            let looked = look_at(&self.client, hook, log, &mut reads, now, &mut tell).await;
            let (told, more) = looked.inspect_err(|_| {
                // Perhaps it is gone: ask for the list again.
                self.listed_at = None;
            })?;
            repaired.told += told;
            repaired.more |= more;
        }
        Ok(repaired)
    }
}

/// Tells what failed of one hook; says how many that were, and whether more is left.
async fn look_at(
    client: &Client,
    hook: u64,
    log: &mut Log,
    reads: &mut usize,
    now: Timestamp,
    tell: &mut (impl FnMut(Evidence) + Send),
) -> Result<(usize, bool), GithubError> {
    let since = log.since.unwrap_or(now - FIRST_LOOK);
    let mut mark = log.mark.clone();
    let Some((deliveries, all)) = client.deliveries(hook, since, PAGES, &mut mark).await? else {
        return Ok((0, false));
    };
    if !all {
        warn!(
            scope = %client.scope(), hook,
            "the log of the webhook's deliveries is longer than is read; what failed before is left to look-ups"
        );
    }
    let mut told = 0;
    for delivery in lost(&deliveries) {
        if log.read.contains(&delivery.id) {
            continue;
        }
        if *reads == 0 {
            return Ok((told, true));
        }
        *reads -= 1;
        match client.delivered_job(hook, delivery.id, delivery.delivered_at).await {
            Ok(Ok(Told::Job(job, state))) => {
                tell(Evidence::Job { job: *job, state, at: delivery.delivered_at, asked: false });
                told += 1;
            }
            Ok(Ok(Told::Ping | Told::Nothing)) | Err(GithubError::NotFound) => {}
            Ok(Err(why)) => warn!(
                scope = %client.scope(), hook, delivery = delivery.id, error = %why,
                "failed to read a webhook delivery in GitHub's log"
            ),
            Err(error) => return Err(error),
        }
        log.read.insert(delivery.id);
    }
    let newest_first = deliveries.iter().filter(|delivery| delivery.delivered_at >= now - OVERLAP);
    let recent: BTreeSet<u64> = newest_first.map(|delivery| delivery.id).collect();
    log.read.retain(|id| recent.contains(id));
    (log.mark, log.since) = (mark, Some(now - OVERLAP));
    Ok((told, false))
}

/// The hooks that may be ours: those that tell of jobs at an address like ours, or, since a proxy can give
/// us any address, all that tell of jobs. Reading another's log costs requests and does no harm.
fn ours(hooks: Vec<HookRecord>) -> BTreeSet<u64> {
    let telling: Vec<HookRecord> =
        hooks.into_iter().filter(|hook| hook.active && hook.tells_of_jobs).collect();
    let like_ours = |hook: &&HookRecord| hook.url.trim_end_matches('/').ends_with(OUR_PATH);
    let found: BTreeSet<u64> = telling.iter().filter(like_ours).map(|hook| hook.id).collect();
    if found.is_empty() { telling.iter().map(|hook| hook.id).collect() } else { found }
}

/// The deliveries that told of jobs and never arrived, each once; those of queued jobs come first, since
/// somebody waits for them.
fn lost(deliveries: &[DeliveryRecord]) -> Vec<&DeliveryRecord> {
    let mut settled: BTreeSet<&str> =
        deliveries.iter().filter(|one| one.delivered).map(|one| one.guid.as_str()).collect();
    let mut lost: Vec<&DeliveryRecord> = deliveries
        .iter()
        .filter(|one| one.event == DeliveryEvent::WorkflowJob)
        .filter(|one| !one.delivered && (one.guid.is_empty() || settled.insert(one.guid.as_str())))
        .collect();
    lost.sort_by_key(|one| one.action.as_deref() != Some("queued"));
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::webhook::Encoding;

    fn record(id: u64, guid: &str, action: &str, delivered: bool) -> DeliveryRecord {
        DeliveryRecord {
            id,
            guid: guid.to_owned(),
            delivered_at: Timestamp::from_millis(id),
            event: DeliveryEvent::WorkflowJob,
            action: Some(action.to_owned()),
            delivered,
            status: String::new(),
        }
    }

    #[test]
    fn lost_is_what_no_attempt_delivered_and_queued_jobs_come_first() {
        let ping = DeliveryRecord { event: DeliveryEvent::Ping, ..record(9, "p", "", false) };
        let deliveries = [
            record(8, "a", "completed", false),
            record(7, "b", "queued", true),
            ping,
            record(6, "b", "queued", false),
            record(5, "c", "queued", false),
            record(4, "c", "queued", false),
            record(3, "", "waiting", false),
            record(2, "", "queued", false),
        ];
        let ids: Vec<u64> = lost(&deliveries).iter().map(|one| one.id).collect();
        assert_eq!(ids, [5, 2, 8, 3]);
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
