//! Metrics of jobs: how many are queued, for how long, and the results of those that ran.

use super::{
    family::{Counters, Gauges, Histograms, IntGauges, Registrar},
    values::{Configured, UNKNOWN_POOL, age_seconds, int},
};
use crate::fleet::{EgressVerdict, Event, Status, Timestamp, Unmatched};

/// The results of jobs in the runner's log; any other becomes `unknown`, so that no log can add a series.
const JOB_RESULTS: [&str; 4] = ["succeeded", "failed", "canceled", "other"];

// The largest buckets of both are above any sensible alerting threshold.
const QUEUE_SECONDS: [f64; 9] = [1.0, 5.0, 10.0, 30.0, 90.0, 300.0, 900.0, 3600.0, 21_600.0];
const JOB_SECONDS: [f64; 8] = [10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0];

pub(super) struct JobMetrics {
    queued: IntGauges<1>,
    oldest_queued: Gauges<1>,
    unmatched: IntGauges<1>,
    queue_time: Histograms<1>,
    duration: Histograms<2>,
    destinations: Counters<2>,
}

impl JobMetrics {
    pub(super) fn new(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            queued: to.int_gauges("dayfly_queued_jobs", "Queued jobs that the pool serves.", ["pool"])?,
            oldest_queued: to.gauges(
                "dayfly_oldest_queued_job_seconds",
                "Age of the oldest queued job that the pool serves; 0 if there is none.",
                ["pool"],
            )?,
            unmatched: to.int_gauges(
                "dayfly_unmatched_queued_jobs",
                "Queued jobs that seem to be meant for these pools but that none serves, by reason.",
                ["reason"],
            )?,
            queue_time: to.histograms(
                "dayfly_job_queue_seconds",
                "Time that jobs were queued until a runner took them, for jobs that Dayfly saw queued.",
                ["pool"],
                &QUEUE_SECONDS,
            )?,
            duration: to.histograms(
                "dayfly_job_duration_seconds",
                "Duration of jobs, by the result in the runner's log.",
                ["pool", "result"],
                &JOB_SECONDS,
            )?,
            destinations: to.counters(
                "dayfly_egress_destinations_total",
                "Destinations of runners with an egress proxy, each counted once for each runner, by what the \
                 proxy did: allowed, audited or refused.",
                ["pool", "result"],
            )?,
        })
    }

    /// Creates every series of every pool, so that `rate()` and alerts see the first event.
    pub(super) fn prepare(&self, configured: &Configured) {
        for pool in &configured.pools {
            self.queue_time.at([pool]);
            for result in JOB_RESULTS {
                self.duration.at([pool, result]);
            }
            for verdict in EgressVerdict::ALL {
                self.destinations.at([pool, verdict.as_str()]);
            }
        }
    }

    pub(super) fn record_status(&self, status: &Status, now: Timestamp) {
        for pool in &status.pools {
            let name = pool.name.as_str();
            self.queued.at([name]).set(i64::from(pool.queued));
            self.oldest_queued.at([name]).set(age_seconds(pool.oldest_queued_at, now));
        }
        for &reason in Unmatched::ALL {
            let jobs = status.jobs.iter().filter(|job| job.unmatched == Some(reason));
            self.unmatched.at([reason.as_str()]).set(int(jobs.count() as u64));
        }
    }

    pub(super) fn record_event(&self, event: &Event, configured: &Configured) {
        let label = |pool: &str| configured.pools.get(pool).map_or(UNKNOWN_POOL, String::as_str);
        match event {
            Event::JobKnown { pool, queued: Some(queued), .. } => {
                self.queue_time.at([label(pool)]).observe(queued.as_secs_f64());
            }
            Event::Exited { pool, job_duration: Some(duration), result, .. } => {
                let result = job_result(result.as_deref());
                self.duration.at([label(pool), result]).observe(duration.as_secs_f64());
            }
            Event::Destination { pool, destination, .. } => {
                self.destinations.at([label(pool), destination.verdict.as_str()]).inc();
            }
            _ => {}
        }
    }

    /// Drops series of what is no longer configured.
    pub(super) fn retain(&self, configured: &Configured) {
        self.queued.retain("pool", &configured.pools);
        self.oldest_queued.retain("pool", &configured.pools);
        let with_unknown = &configured.pools.iter().cloned().chain([UNKNOWN_POOL.to_owned()]).collect();
        self.queue_time.retain("pool", with_unknown);
        self.duration.retain("pool", with_unknown);
        self.destinations.retain("pool", with_unknown);
    }
}

/// One of [`JOB_RESULTS`] for the result in a runner's log.
fn job_result(said: Option<&str>) -> &'static str {
    let said = said.unwrap_or_default();
    JOB_RESULTS.into_iter().find(|result| said.eq_ignore_ascii_case(result)).unwrap_or("other")
}
