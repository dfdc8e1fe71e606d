//! The log of one hook's deliveries: which of them failed, and which of those are still to be read.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::{debug, warn};

use crate::{
    backoff::Backoff,
    fleet::{ClockReading, Instant, Job, JobState},
    github::{
        Client, DeliveryRecord, GithubError, LogMark,
        webhook::{DeliveryEvent, Told},
    },
    text::chain,
};

/// From one poll to the next.
pub const LOG_INTERVAL: Duration = Duration::from_mins(5);

/// The delay after a refusal, which needs a person to act.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_hours(1);

/// How far back the first poll goes: no older job is still waiting (GitHub gives up on it).
const FIRST_LOOK: Duration = Duration::from_hours(24);

/// How much of what was polled is polled again: deliveries take a while to appear in the log, and our
/// clock is not GitHub's.
const OVERLAP: Duration = Duration::from_mins(10);

/// Pages of a hundred deliveries that one poll reads of one hook.
const PAGES: usize = 10;

/// Deliveries that are to be read, at most; the oldest are left to requests of single jobs.
const LEFT: usize = 2 * PAGES * 100;

/// After so many failures in a row the rest is left for the next poll.
const FAILURES: u32 = 3;

/// How often a delivery is tried that GitHub fails to show, and from one time to the next.
const TRIES: u32 = 5;
const RETRY: Duration = Duration::from_mins(4);

/// What is read in one go: of no job that it is queued before it is known which are not any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Rest,
    Queued,
}

/// How far the log of one hook was read.
pub(super) struct Log {
    /// Failures to list it, and when that is tried again.
    pub(super) backoff: Backoff,
    pub(super) retry_at: Instant,
    mark: LogMark,
    /// Every delivery that was tried before this has been listed.
    since: Option<Instant>,
    /// Deliveries after that which were listed already.
    listed: BTreeSet<u64>,
    /// Whether it was logged that it is longer than is read, and that a delivery in it cannot be read.
    is_long: bool,
    is_odd: bool,
    /// What failed and was not read yet, by its number.
    pub(super) left: BTreeMap<u64, Left>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(LOG_INTERVAL, REFUSED_PAUSE),
            retry_at: Instant::default(),
            mark: LogMark::default(),
            since: None,
            listed: BTreeSet::new(),
            is_long: false,
            is_odd: false,
            left: BTreeMap::new(),
        }
    }
}

/// A delivery to be read.
pub(super) struct Left {
    delivery: DeliveryRecord,
    /// How often GitHub failed to show it.
    pub(super) failures: u32,
    retry_at: Instant,
}

impl Left {
    pub(super) fn part(&self) -> Part {
        if self.delivery.action.as_deref() == Some("queued") { Part::Queued } else { Part::Rest }
    }
}

impl Log {
    /// Lists what came since it was listed last, and notes what of it failed.
    pub(super) async fn list(&mut self, client: &Client, hook: u64, now: Instant) -> Result<(), GithubError> {
        let since = client.clock().timestamp(self.since.unwrap_or(now - FIRST_LOOK));
        let Some((deliveries, all)) = client.deliveries(hook, since, PAGES, &mut self.mark).await? else {
            return Ok(());
        };
        self.note(&deliveries, now, client.clock());
        let mut all = all;
        while self.left.len() > LEFT {
            self.left.pop_first();
            all = false;
        }
        if !all && !self.is_long {
            warn!(
                scope = %client.scope(), hook,
                "the webhook's delivery log is too long to be read completely; jobs of earlier failed \
                 deliveries are found by look-ups"
            );
        }
        self.is_long = !all;
        Ok(())
    }

    fn note(&mut self, deliveries: &[DeliveryRecord], now: Instant, clock: ClockReading) {
        let overlap = clock.timestamp(now - OVERLAP);
        let recent = deliveries.iter().filter(|one| one.delivered_at >= overlap);
        let recent = recent.map(|one| one.id).collect();
        let new: Vec<&DeliveryRecord> =
            lost(deliveries).into_iter().filter(|one| !self.listed.contains(&one.id)).collect();
        // What was tried again meanwhile has arrived, or is in the log with a new number.
        let arrived = deliveries.iter().filter(|one| one.delivered);
        let again: BTreeSet<&str> = arrived.chain(new.iter().copied()).map(|one| one.guid.as_str()).collect();
        self.left
            .retain(|_, left| left.delivery.guid.is_empty() || !again.contains(left.delivery.guid.as_str()));
        for one in new {
            let left = Left { delivery: one.clone(), failures: 0, retry_at: Instant::default() };
            self.left.insert(one.id, left);
        }
        (self.listed, self.since) = (recent, Some(now - OVERLAP));
    }

    /// Reads what is left of one part, the newest first, those that GitHub failed to show last.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        hook: u64,
        part: Part,
        reads: &mut usize,
        now: Instant,
        found: &mut Vec<(Job, JobState, Instant)>,
    ) -> Result<(), GithubError> {
        let due = self.left.iter().filter(|(_, left)| left.part() == part && left.retry_at <= now);
        let mut turns: Vec<_> =
            due.map(|(&id, left)| (left.failures, Reverse(left.delivery.delivered_at), id)).collect();
        turns.sort_unstable();
        let mut in_a_row = 0;
        for (failures, Reverse(at), id) in turns {
            if *reads == 0 {
                break;
            }
            *reads -= 1;
            let came_at = ClockReading { at: client.clock().instant(at), shown: at };
            let read = client.delivered_job(hook, id, came_at).await;
            let scope = client.scope();
            match read {
                Err(error @ GithubError::Failed { .. }) => {
                    let (tries, why) = (failures + 1, chain(&error));
                    if tries < TRIES {
                        debug!(%scope, hook, delivery = id, error = why, "GitHub failed to return a delivery");
                        if let Some(left) = self.left.get_mut(&id) {
                            (left.failures, left.retry_at) = (tries, now + RETRY);
                        }
                    } else {
                        warn!(
                            %scope, hook, delivery = id, error = why,
                            "GitHub fails to return a webhook delivery of its log; its job is found by \
                             look-ups"
                        );
                        self.left.remove(&id);
                    }
                    in_a_row += 1;
                    if in_a_row == FAILURES {
                        return Err(error);
                    }
                    continue;
                }
                Ok(Ok(Told::Job(job, state, _))) => found.push((*job, state, came_at.at)),
                Ok(Ok(Told::Ping | Told::Nothing)) | Err(GithubError::NotFound) => {}
                Ok(Err(why)) if self.is_odd => {
                    debug!(%scope, hook, delivery = id, error = %why, "failed to read a webhook delivery");
                }
                Ok(Err(why)) => {
                    self.is_odd = true;
                    warn!(
                        %scope, hook, delivery = id, error = %why,
                        "failed to read a webhook delivery of GitHub's log; further ones are not logged"
                    );
                }
                Err(error) => return Err(error),
            }
            in_a_row = 0;
            self.left.remove(&id);
        }
        Ok(())
    }
}

/// The deliveries that reported jobs and never arrived, each once.
fn lost(deliveries: &[DeliveryRecord]) -> Vec<&DeliveryRecord> {
    let mut settled: BTreeSet<&str> =
        deliveries.iter().filter(|one| one.delivered).map(|one| one.guid.as_str()).collect();
    let of_jobs = deliveries.iter().filter(|one| one.event == DeliveryEvent::WorkflowJob);
    of_jobs
        .filter(|one| !one.delivered && (one.guid.is_empty() || settled.insert(one.guid.as_str())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Timestamp;

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
    fn lost_is_what_no_attempt_delivered() {
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
        assert_eq!(ids, [8, 5, 3, 2]);
    }

    #[test]
    fn what_arrived_or_was_tried_again_meanwhile_is_not_left() {
        let mut log = Log::default();
        let (now, clock) = (Instant::from_millis(100), ClockReading::default());
        let ids = |log: &Log| log.left.keys().copied().collect::<Vec<u64>>();
        log.note(&[record(3, "c", "queued", false), record(2, "b", "queued", false)], now, clock);
        log.note(&[record(4, "d", "queued", false), record(3, "c", "queued", false)], now, clock);
        assert_eq!(ids(&log), [2, 3, 4]);
        log.left.remove(&3);
        let (sixth, fifth) = (record(6, "d", "queued", false), record(5, "b", "queued", true));
        log.note(&[sixth, fifth, record(3, "c", "queued", false)], now, clock);
        assert_eq!(ids(&log), [6], "what was read is not read again");
    }
}
