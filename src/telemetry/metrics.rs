//! Dayfly's metrics. They are set only in the `record_*` functions here, from what passes and requests
//! report, so that each metric has one owner and tests need no daemon.
//!
//! The number of series depends on the configuration and never on the number of jobs: every label has a
//! closed set of values, and series of removed pools, scopes and hosts are dropped.

mod family;
mod fleet;
mod jobs;
mod requests;
mod values;
mod webhooks;

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Encoder, IntCounter, Registry, TextEncoder, process_collector::ProcessCollector};

use self::{
    family::Registrar, fleet::FleetMetrics, jobs::JobMetrics, requests::RequestMetrics, values::Configured,
    webhooks::WebhookMetrics,
};
use super::writer::dropped_lines;
use crate::{
    fleet::{Event, Scope, Status, Timestamp},
    github::{
        self,
        webhook::{DeliveryEvent, DeliveryResult},
    },
    host,
};

/// All metrics of one daemon.
pub struct Metrics {
    registry: Registry,
    fleet: FleetMetrics,
    jobs: JobMetrics,
    requests: RequestMetrics,
    webhooks: WebhookMetrics,
    dropped_log_lines: IntCounter,
    configured: Mutex<Option<Configured>>,
}

impl Metrics {
    /// The metrics of a daemon of this version. Fails only if two of them have the same name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let registrar = Registrar(&registry);
        registrar
            .int_gauges(
                "dayfly_build_info",
                "Always 1; the label has the version of the daemon.",
                ["version"],
            )?
            .at([version])
            .set(1);
        let fleet = FleetMetrics::new(&registrar)?;
        let jobs = JobMetrics::new(&registrar)?;
        let requests = RequestMetrics::new(&registrar)?;
        let webhooks = WebhookMetrics::new(&registrar)?;
        let dropped_log_lines = registrar
            .counters(
                "dayfly_log_lines_dropped_total",
                "Log lines dropped because the reader of the log was too slow or gone.",
                [],
            )?
            .at([]);
        let configured = Mutex::new(None);
        Ok(Self { registry, fleet, jobs, requests, webhooks, dropped_log_lines, configured })
    }

    /// Records one pass: what happened, the state of the fleet after it, its time and its duration.
    pub fn record_pass(&self, events: &[Event], status: &Status, now: Timestamp, plan_took: Duration) {
        let configured = Configured::of(status);
        let mut last = self.configured.lock();
        if last.as_ref() != Some(&configured) {
            self.fleet.prepare(&configured);
            self.jobs.prepare(&configured);
        }
        self.fleet.record_status(status, &configured, now, plan_took);
        self.jobs.record_status(status, now);
        for event in events {
            self.jobs.record_event(event, &configured);
            self.fleet.record_event(event, &configured);
        }
        *last = Some(configured);
    }

    /// Records a request to GitHub, made with the credential of this name.
    pub fn record_github(&self, credential: &str, report: &github::RequestReport) {
        self.requests.record_github(credential, report);
    }

    /// Records when the personal token of this credential expires, if it does.
    pub fn record_token_expiration(&self, credential: &str, at: Option<Timestamp>) {
        self.requests.record_token_expiration(credential, at);
    }

    /// Records the current interval between two listings of a scope.
    pub fn record_poll_interval(&self, scope: &Scope, interval: Duration) {
        self.requests.record_poll_interval(scope, interval);
    }

    /// Records a request to an engine.
    pub fn record_engine(&self, report: &host::RequestReport) {
        self.requests.record_engine(report);
    }

    /// Declares that webhooks are enabled, so that their counters are 0 from the start.
    pub fn expect_webhooks(&self) {
        self.webhooks.expect();
    }

    /// Records the result of a webhook delivery.
    pub fn record_webhook(&self, event: DeliveryEvent, result: DeliveryResult) {
        self.webhooks.record(event, result);
    }

    /// All metrics in Prometheus' text format.
    pub fn gather(&self) -> String {
        // Here rather than in the pass that drops a pool: a late report of a request to a removed scope would
        // bring its series back for good.
        if let Some(configured) = &*self.configured.lock() {
            self.fleet.retain(configured);
            self.jobs.retain(configured);
            self.requests.retain(configured);
        }
        // The log starts before the metrics, so it cannot report to them.
        self.dropped_log_lines.inc_by(dropped_lines().saturating_sub(self.dropped_log_lines.get()));
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(error = %error, "failed to encode the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
