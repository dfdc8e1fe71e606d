//! The loop around the core: evidence in, plans out. It decides nothing, and nothing commands it;
//! anything may wake it.

use std::{
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{
        broadcast,
        mpsc::{Receiver, UnboundedReceiver},
        watch,
    },
    time::{interval, sleep_until},
};
use tokio_util::task::TaskTracker;

use super::{
    failures::Failures,
    parts::{BoundedEdges, Parts},
};
use crate::{
    clock,
    demand::Publisher,
    fleet::{Event, Evidence, Fleet, Plan, Status},
    telemetry::{Metrics, log_event},
};

/// At rest it plans this often all the same: `/healthz` and the systemd watchdog rely on it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// From this on a difference of two clocks is a suspend.
const SLEPT: Duration = Duration::from_secs(1);

/// The maximum number of facts per pass.
const AT_ONCE: usize = 1024;

/// The loop and its channels.
pub(super) struct Planner {
    pub(super) fleet: Fleet,
    pub(super) edges: Arc<BoundedEdges>,
    pub(super) evidence: UnboundedReceiver<Evidence>,
    /// Hints from outside, if there are any: bounded, since jobs of any user cause them.
    pub(super) hints: Option<Receiver<Evidence>>,
    pub(super) publisher: Publisher,
    pub(super) reports: watch::Sender<Arc<Status>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) failures: Failures,
    /// Actions in flight, including the writing of diagnostics.
    pub(super) actions: TaskTracker,
    /// How long the machine had been suspended before the last pass.
    pub(super) suspended: Duration,
}

impl Planner {
    /// A planner for these parts.
    pub(super) fn new(parts: Parts<'_>, hints: Option<Receiver<Evidence>>) -> Self {
        let Parts { config, metrics, edges, fleet, publisher, evidence, reports, events, .. } = parts;
        let actions = TaskTracker::new();
        let failures = Failures::start(&config.state_dir, &actions);
        let suspended = clock::suspended();
        Self {
            fleet,
            edges,
            evidence,
            hints,
            publisher,
            reports,
            events,
            metrics,
            failures,
            actions,
            suspended,
        }
    }

    /// Plans until `shutdown`, and returns the actions that are still in flight. Containers are left running.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> TaskTracker {
        let mut heartbeat = interval(HEARTBEAT);
        let mut wake_at = None;
        let mut news = Vec::new();
        tokio::pin!(shutdown);
        loop {
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(clock::timer(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = heartbeat.tick() => notify_systemd(sd_notify::NotifyState::Watchdog),
                _ = self.evidence.recv_many(&mut news, AT_ONCE) => {}
                hint = next_hint(&mut self.hints) => news.push(hint),
                () = wake => {}
            }
            let more =
                self.hints.as_mut().into_iter().flat_map(|hints| iter::from_fn(|| hints.try_recv().ok()));
            news.extend(more.take(AT_ONCE));
            wake_at = self.pass(news.drain(..));
        }
        self.actions.close();
        self.actions
    }

    /// One pass: observe, plan, act, report. Returns when the next one is due at the latest.
    fn pass(&mut self, news: impl Iterator<Item = Evidence>) -> Option<crate::fleet::Instant> {
        let (wall, began) = (clock::wall(), Instant::now());
        let now = wall.at;
        self.fleet.observe(Evidence::WallClock(wall), now);
        let suspended = clock::suspended();
        let slept = suspended.saturating_sub(std::mem::replace(&mut self.suspended, suspended));
        if slept >= SLEPT {
            self.fleet.observe(Evidence::Slept(slept), now);
        }
        for evidence in news {
            self.fleet.observe(evidence, now);
        }
        let Plan { actions: planned, events, wake_at } = self.fleet.plan(now);
        let took = began.elapsed();
        for action in planned {
            let (edges, publisher) = (self.edges.clone(), self.publisher.clone());
            self.actions.spawn(async move {
                for evidence in Box::pin(edges.carry_out(action)).await {
                    publisher.publish(evidence);
                }
            });
        }
        let status = self.fleet.status();
        for event in &events {
            let diagnostics = self.failures.record(event, wall.shown);
            log_event(event, &status, diagnostics.as_deref());
        }
        self.metrics.record_pass(&events, &status, wall.shown, took);
        self.reports.send_replace(Arc::new(status));
        for event in events {
            // There may be no receiver.
            let _ = self.events.send(event);
        }
        wake_at
    }
}

/// Waits for a hint; forever when there can be none.
async fn next_hint(hints: &mut Option<Receiver<Evidence>>) -> Evidence {
    match hints {
        Some(hints) => match hints.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Notifies systemd, where there is one.
pub(super) fn notify_systemd(state: sd_notify::NotifyState<'_>) {
    // There is no listener when it was not started by systemd.
    let _ = sd_notify::notify(&[state]);
}
