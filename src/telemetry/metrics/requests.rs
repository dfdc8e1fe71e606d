//! Metrics of the edges' requests.

use std::time::Duration;

use super::{
    family::{Counters, Gauges, Histograms, IntGauges, Registrar},
    values::{Configured, epoch_seconds, int},
};
use crate::{
    clock,
    fleet::{Scope, Timestamp},
    github, host,
};

/// GitHub's rate limits that this daemon uses; any other in a header is `other` (docs.github.com, "Rate
/// limit", resources of `GET /rate_limit`).
const RESOURCES: [&str; 4] = ["core", "actions_runner_registration", "graphql", "search"];

const GITHUB_SECONDS: [f64; 9] = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
// A stop takes as long as the job needs to end, so the largest buckets are high.
const ENGINE_SECONDS: [f64; 9] = [0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 5.0, 30.0, 120.0];

pub(super) struct RequestMetrics {
    github_requests: Counters<3>,
    github_seconds: Histograms<1>,
    rate_limit: IntGauges<2>,
    rate_remaining: IntGauges<2>,
    rate_reset: Gauges<2>,
    token_expiration: Gauges<1>,
    poll_interval: Gauges<1>,
    engine_seconds: Histograms<2>,
    engine_failures: Counters<2>,
}

impl RequestMetrics {
    pub(super) fn new(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            github_requests: to.counters(
                "dayfly_github_requests_total",
                "Requests to GitHub by status code, or \"error\" if there was no response.",
                ["scope", "endpoint", "status"],
            )?,
            github_seconds: to.histograms(
                "dayfly_github_request_seconds",
                "Duration of requests to GitHub.",
                ["endpoint"],
                &GITHUB_SECONDS,
            )?,
            rate_limit: to.int_gauges(
                "dayfly_github_rate_limit",
                "Requests that GitHub allows per rate limit window.",
                ["credential", "resource"],
            )?,
            rate_remaining: to.int_gauges(
                "dayfly_github_rate_limit_remaining",
                "Requests left in the current rate limit window.",
                ["credential", "resource"],
            )?,
            rate_reset: to.gauges(
                "dayfly_github_rate_limit_reset_timestamp_seconds",
                "End of the current rate limit window, in seconds since the Unix epoch.",
                ["credential", "resource"],
            )?,
            token_expiration: to.gauges(
                "dayfly_github_token_expiration_timestamp_seconds",
                "Expiry of the personal token, in seconds since the Unix epoch; absent for one that does \
                 not expire.",
                ["credential"],
            )?,
            poll_interval: to.gauges(
                "dayfly_effective_poll_interval_seconds",
                "Interval between two listings of the scope's runners; longer than configured while the \
                 rate limit is low.",
                ["scope"],
            )?,
            engine_seconds: to.histograms(
                "dayfly_engine_request_seconds",
                "Duration of requests to the container engine.",
                ["host", "operation"],
                &ENGINE_SECONDS,
            )?,
            engine_failures: to.counters(
                "dayfly_engine_request_failures_total",
                "Failed requests to the container engine.",
                ["host", "operation"],
            )?,
        })
    }

    pub(super) fn record_github(&self, credential: &str, report: &github::RequestReport) {
        let status = match report.status {
            Some(code @ 100..600) => code.to_string(),
            Some(_) => "other".to_owned(),
            None => "error".to_owned(),
        };
        self.github_requests.at([report.scope.as_str(), report.endpoint, &status]).inc();
        self.github_seconds.at([report.endpoint]).observe(report.took.as_secs_f64());
        if let Some(rate) = &report.rate {
            let resource = RESOURCES.into_iter().find(|&known| known == rate.resource).unwrap_or("other");
            self.rate_limit.at([credential, resource]).set(int(rate.limit));
            self.rate_remaining.at([credential, resource]).set(int(rate.remaining));
            self.rate_reset
                .at([credential, resource])
                .set(epoch_seconds(Some(clock::wall().timestamp(rate.reset_at))));
        }
    }

    pub(super) fn record_token_expiration(&self, credential: &str, at: Option<Timestamp>) {
        if at.is_some() {
            self.token_expiration.at([credential]).set(epoch_seconds(at));
        }
    }

    pub(super) fn record_poll_interval(&self, scope: &Scope, interval: Duration) {
        self.poll_interval.at([scope.as_str()]).set(interval.as_secs_f64());
    }

    pub(super) fn record_engine(&self, report: &host::RequestReport) {
        let labels = [report.host.as_str(), report.operation];
        self.engine_seconds.at(labels).observe(report.took.as_secs_f64());
        self.engine_failures.at(labels).inc_by(u64::from(report.failed));
    }

    /// Drops series of what is no longer configured.
    pub(super) fn retain(&self, configured: &Configured) {
        self.github_requests.retain("scope", &configured.scopes);
        self.poll_interval.retain("scope", &configured.scopes);
        self.engine_seconds.retain("host", &configured.hosts);
        self.engine_failures.retain("host", &configured.hosts);
    }
}
