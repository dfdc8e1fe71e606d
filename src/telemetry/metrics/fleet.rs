//! What the core reports, as metrics: pools, runners, scopes, hosts and what happened to them.

use std::{collections::BTreeSet, time::Duration};

use super::{
    family::{Counters, Gauges, Histograms, IntGauges, Registrar},
    values::{Configured, UNKNOWN_POOL, age_seconds, epoch_seconds, int},
};
use crate::fleet::{Event, ExitReason, Held, Phase, Status, Timestamp, TroubleKind, Veto, Why};

/// The reasons that can block a host.
const HOST_REASONS: [Held; 5] =
    [Held::HostFull, Held::HostMemory, Held::HostCpus, Held::HostDisk, Held::NoNode];

/// The reasons for failures with GitHub, and with an engine.
const GITHUB_TROUBLES: [TroubleKind; 7] = [
    TroubleKind::NameTaken,
    TroubleKind::RegistrationLimit,
    TroubleKind::Refused,
    TroubleKind::RateLimited,
    TroubleKind::GithubFailed,
    TroubleKind::SessionTaken,
    TroubleKind::OutOfFiles,
];
const ENGINE_TROUBLES: [TroubleKind; 4] = [
    TroubleKind::ImageMissing,
    TroubleKind::EngineRefused,
    TroubleKind::EngineFailed,
    TroubleKind::OutOfFiles,
];

// The largest buckets of both are above any sensible alerting threshold.
const STARTUP_SECONDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 90.0, 300.0, 900.0, 3600.0];
const PLAN_SECONDS: [f64; 8] = [0.000_05, 0.000_2, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0];

pub(super) struct FleetMetrics {
    runners: IntGauges<2>,
    desired: IntGauges<1>,
    min_idle: IntGauges<1>,
    max: IntGauges<1>,
    starting_age: Gauges<1>,
    held: IntGauges<2>,
    startup: Histograms<1>,
    launched: Counters<1>,
    launch_failures: Counters<2>,
    exits: Counters<2>,
    removed: Counters<2>,
    removal_failures: Counters<2>,
    vetoed: Counters<2>,
    plan: Histograms<0>,
    last_plan: Gauges<0>,
    draining: IntGauges<0>,
    scope_up: IntGauges<1>,
    scope_listed: Gauges<1>,
    host_up: IntGauges<1>,
    host_memory: IntGauges<1>,
    host_runners: IntGauges<1>,
    node_up: IntGauges<2>,
    node_runners: IntGauges<2>,
    host_blocked: IntGauges<2>,
    scope_failing: IntGauges<2>,
    host_failing: IntGauges<2>,
    sources_failing: IntGauges<2>,
}

impl FleetMetrics {
    #[expect(clippy::too_many_lines, reason = "one entry for each metric")]
    pub(super) fn new(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            runners: to.int_gauges(
                "dayfly_runners",
                "Runners by phase. pool=\"unknown\" has leftovers of pools that are no longer configured.",
                ["pool", "phase"],
            )?,
            desired: to.int_gauges(
                "dayfly_desired_runners",
                "Number of runners that the pool wants.",
                ["pool"],
            )?,
            min_idle: to.int_gauges(
                "dayfly_min_idle_runners",
                "Number of runners to keep idle.",
                ["pool"],
            )?,
            max: to.int_gauges("dayfly_max_runners", "Maximum number of runners.", ["pool"])?,
            starting_age: to.gauges(
                "dayfly_starting_runner_age_seconds",
                "Age of the oldest runner that is still starting; 0 if there is none. Keeps rising while \
                 runners fail to boot.",
                ["pool"],
            )?,
            held: to.int_gauges(
                "dayfly_pool_held",
                "1 for the reason for which the pool's launches are paused, 0 for the others.",
                ["pool", "reason"],
            )?,
            startup: to.histograms(
                "dayfly_runner_startup_seconds",
                "Time from minting a runner until it listens for jobs.",
                ["pool"],
                &STARTUP_SECONDS,
            )?,
            launched: to.counters("dayfly_runners_launched_total", "Runners launched.", ["pool"])?,
            launch_failures: to.counters(
                "dayfly_launch_failures_total",
                "Failed launches by reason.",
                ["pool", "reason"],
            )?,
            exits: to.counters(
                "dayfly_runner_exits_total",
                "Runners whose container exited, by reason.",
                ["pool", "reason"],
            )?,
            removed: to.counters(
                "dayfly_runners_removed_total",
                "Registrations and containers removed by Dayfly, by reason.",
                ["pool", "reason"],
            )?,
            removal_failures: to.counters(
                "dayfly_removal_failures_total",
                "Failed steps of removals, which are retried, by reason.",
                ["pool", "reason"],
            )?,
            vetoed: to.counters(
                "dayfly_scale_down_vetoed_total",
                "Removals cancelled because the runner has or may have a job, by the source of that \
                 information.",
                ["pool", "reason"],
            )?,
            plan: to.histograms("dayfly_plan_seconds", "Duration of a plan.", [], &PLAN_SECONDS)?,
            last_plan: to.gauges(
                "dayfly_last_plan_timestamp_seconds",
                "Time of the last plan, in seconds since the Unix epoch.",
                [],
            )?,
            draining: to.int_gauges("dayfly_draining", "1 while the daemon is draining, else 0.", [])?,
            scope_up: to.int_gauges(
                "dayfly_scope_up",
                "1 if the last listing of the scope's runners succeeded, else 0.",
                ["scope"],
            )?,
            scope_listed: to.gauges(
                "dayfly_scope_last_listed_timestamp_seconds",
                "Start time of the last complete listing of the scope's runners, in seconds since the Unix \
                 epoch; 0 for never.",
                ["scope"],
            )?,
            host_up: to.int_gauges(
                "dayfly_host_up",
                "1 if the last listing of the host's containers succeeded, else 0.",
                ["host"],
            )?,
            host_memory: to.int_gauges(
                "dayfly_host_committed_memory_bytes",
                "Sum of the memory limits of the runners on the host.",
                ["host"],
            )?,
            host_runners: to.int_gauges(
                "dayfly_host_runners",
                "Runners that run or are being launched on the host.",
                ["host"],
            )?,
            node_up: to.int_gauges(
                "dayfly_node_up",
                "1 if the Swarm's manager reaches the node, else 0.",
                ["host", "node"],
            )?,
            node_runners: to.int_gauges(
                "dayfly_node_runners",
                "Runners of this instance on the node of a Swarm.",
                ["host", "node"],
            )?,
            host_blocked: to.int_gauges(
                "dayfly_host_blocked",
                "1 for the budget that blocks launches on the host, 0 for the others.",
                ["host", "reason"],
            )?,
            scope_failing: to.int_gauges(
                "dayfly_scope_failing",
                "1 for the reason why the scope's runners cannot be listed, 0 for the others.",
                ["scope", "reason"],
            )?,
            host_failing: to.int_gauges(
                "dayfly_host_failing",
                "1 for the reason why the host's containers cannot be listed, 0 for the others.",
                ["host", "reason"],
            )?,
            sources_failing: to.int_gauges(
                "dayfly_pool_job_sources_failing",
                "Number of failing job sources of the pool, by reason.",
                ["pool", "reason"],
            )?,
        })
    }

    /// Creates every series of every pool, so that `rate()` and alerts see the first event.
    pub(super) fn prepare(&self, configured: &Configured) {
        for pool in configured.pools.iter().map(String::as_str).chain([UNKNOWN_POOL]) {
            for phase in Phase::ALL {
                self.runners.at([pool, phase.as_str()]);
            }
            for reason in ExitReason::ALL {
                self.exits.at([pool, reason.as_str()]);
            }
            for why in Why::ALL.iter().filter(|why| !matches!(why, Why::Spare | Why::Demand)) {
                self.removed.at([pool, why.as_str()]);
            }
            for kind in TroubleKind::ALL {
                self.removal_failures.at([pool, kind.as_str()]);
            }
            for veto in Veto::ALL {
                self.vetoed.at([pool, veto.as_str()]);
            }
        }
        for pool in configured.pools.iter().map(String::as_str) {
            self.launched.at([pool]);
            for kind in TroubleKind::ALL {
                self.launch_failures.at([pool, kind.as_str()]);
            }
            self.startup.at([pool]);
        }
    }

    pub(super) fn record_status(
        &self,
        status: &Status,
        configured: &Configured,
        now: Timestamp,
        plan_took: Duration,
    ) {
        self.plan.at([]).observe(plan_took.as_secs_f64());
        self.last_plan.at([]).set(epoch_seconds(Some(now)));
        self.draining.at([]).set(i64::from(status.draining));
        for pool in &status.pools {
            let name = pool.name.as_str();
            for &phase in Phase::ALL {
                self.runners.at([name, phase.as_str()]).set(i64::from(pool.phases.of(phase)));
            }
            self.desired.at([name]).set(i64::from(pool.desired));
            self.min_idle.at([name]).set(i64::from(pool.min_idle));
            self.max.at([name]).set(i64::from(pool.max));
            self.starting_age.at([name]).set(age_seconds(pool.oldest_starting_at, now));
            for &held in Held::ALL {
                self.held.at([name, held.as_str()]).set(i64::from(pool.held == Some(held)));
            }
            for kind in GITHUB_TROUBLES {
                let failing = pool.source_troubles.iter().filter(|source| source.trouble.reason == kind);
                self.sources_failing.at([name, kind.as_str()]).set(int(failing.count() as u64));
            }
        }
        if !configured.pools.contains(UNKNOWN_POOL) {
            for &phase in Phase::ALL {
                let leftovers = status
                    .runners
                    .iter()
                    .filter(|runner| runner.phase == phase && !configured.pools.contains(&runner.pool));
                self.runners.at([UNKNOWN_POOL, phase.as_str()]).set(int(leftovers.count() as u64));
            }
        }
        for scope in &status.scopes {
            self.scope_up.at([scope.url.as_str()]).set(i64::from(scope.up));
            self.scope_listed.at([scope.url.as_str()]).set(epoch_seconds(scope.last_listed_at));
            let reason = scope.trouble.as_ref().map(|trouble| trouble.reason);
            for kind in GITHUB_TROUBLES {
                let failing = i64::from(reason == Some(kind));
                self.scope_failing.at([scope.url.as_str(), kind.as_str()]).set(failing);
            }
        }
        for host in &status.hosts {
            let name = host.name.as_str();
            self.host_up.at([name]).set(i64::from(host.up));
            self.host_memory.at([name]).set(int(host.committed.memory));
            self.host_runners.at([name]).set(i64::from(host.runners));
            for node in &host.nodes {
                self.node_up.at([name, &node.name]).set(i64::from(node.reachable));
                self.node_runners.at([name, &node.name]).set(i64::from(node.runners));
            }
            let reason = host.trouble.as_ref().map(|trouble| trouble.reason);
            for kind in ENGINE_TROUBLES {
                self.host_failing.at([name, kind.as_str()]).set(i64::from(reason == Some(kind)));
            }
            for held in HOST_REASONS {
                self.host_blocked.at([name, held.as_str()]).set(i64::from(host.blocked == Some(held)));
            }
        }
        let nodes: BTreeSet<String> =
            status.hosts.iter().flat_map(|host| &host.nodes).map(|node| node.name.clone()).collect();
        if !nodes.is_empty() {
            self.node_up.retain("node", &nodes);
            self.node_runners.retain("node", &nodes);
        }
    }

    pub(super) fn record_event(&self, event: &Event, configured: &Configured) {
        let label = |pool: &str| configured.pools.get(pool).map_or(UNKNOWN_POOL, String::as_str);
        match event {
            Event::Launched { pool, .. } => self.launched.at([label(pool.as_str())]).inc(),
            Event::LaunchFailed { pool, trouble, .. } => {
                self.launch_failures.at([label(pool.as_str()), trouble.kind.as_str()]).inc();
            }
            Event::Ready { pool, startup: Some(startup), .. } => {
                self.startup.at([label(pool)]).observe(startup.as_secs_f64());
            }
            Event::Exited { pool, reason, .. } => self.exits.at([label(pool), reason.as_str()]).inc(),
            Event::Removed { pool, why, .. } => self.removed.at([label(pool), why.as_str()]).inc(),
            Event::RemovalFailed { pool, trouble, .. } => {
                self.removal_failures.at([label(pool), trouble.kind.as_str()]).inc();
            }
            Event::Vetoed { pool, veto, .. } => self.vetoed.at([label(pool), veto.as_str()]).inc(),
            // Exported as gauges, from the status.
            Event::Ready { startup: None, .. }
            | Event::JobStarted { .. }
            | Event::JobKnown { .. }
            | Event::JobUnmatched { .. }
            | Event::JobStuck { .. }
            | Event::Destination { .. }
            | Event::Source { .. }
            | Event::Adopted { .. }
            | Event::Elsewhere { .. }
            | Event::Scope { .. }
            | Event::Host { .. }
            | Event::NodeDrained { .. }
            | Event::Held { .. } => {}
        }
    }

    /// Drops series of what is no longer configured.
    pub(super) fn retain(&self, configured: &Configured) {
        let pools = &configured.pools;
        self.desired.retain("pool", pools);
        self.min_idle.retain("pool", pools);
        self.max.retain("pool", pools);
        self.starting_age.retain("pool", pools);
        self.held.retain("pool", pools);
        self.sources_failing.retain("pool", pools);
        let with_unknown = &pools.iter().cloned().chain([UNKNOWN_POOL.to_owned()]).collect();
        self.runners.retain("pool", with_unknown);
        self.startup.retain("pool", with_unknown);
        self.launched.retain("pool", with_unknown);
        self.launch_failures.retain("pool", with_unknown);
        self.exits.retain("pool", with_unknown);
        self.removed.retain("pool", with_unknown);
        self.removal_failures.retain("pool", with_unknown);
        self.vetoed.retain("pool", with_unknown);
        self.scope_up.retain("scope", &configured.scopes);
        self.scope_listed.retain("scope", &configured.scopes);
        self.scope_failing.retain("scope", &configured.scopes);
        self.host_up.retain("host", &configured.hosts);
        self.host_memory.retain("host", &configured.hosts);
        self.host_runners.retain("host", &configured.hosts);
        self.node_up.retain("host", &configured.hosts);
        self.node_runners.retain("host", &configured.hosts);
        self.host_blocked.retain("host", &configured.hosts);
        self.host_failing.retain("host", &configured.hosts);
    }
}
