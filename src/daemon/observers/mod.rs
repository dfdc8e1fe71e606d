//! The observers: each watches one thing for as long as the daemon runs and publishes evidence. A slow or
//! dead scope or host delays no other.
//!
//! ```text
//! each scope ─ eligibility, origin, idle, queue, webhook, scale_set (crate::demand)
//! each host  ─ containers, machine, images; logs of all of them and of their proxies
//! each pool  ─ the files that its template names
//! ```

mod containers;
mod egress;
mod files;
mod images;
mod logs;
mod machine;

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::Notify;
use tracing::warn;

use self::{
    containers::{follow_events, list_containers},
    egress::follow_proxies,
    files::watch_files,
    images::ImageKeeper,
    logs::follow_logs,
    machine::{read_machine, watch_answers, watch_disk},
};
use crate::{
    daemon::parts::Parts,
    demand::{Tasks, eligibility, idle, origin, queue, scale_set, webhook},
};

/// Starts all observers. Returns their tasks, and what makes queues be polled sooner.
pub(super) fn start(parts: &Parts<'_>) -> (Tasks, Vec<queue::QueueHandle>) {
    let mut tasks = Tasks::default();
    let queues = observe_scopes(parts, &mut tasks);
    observe_hosts(parts, &mut tasks);
    (tasks, queues)
}

fn observe_scopes(parts: &Parts<'_>, tasks: &mut Tasks) -> Vec<queue::QueueHandle> {
    let (mut queues, reports) = (Vec::new(), parts.reports.subscribe());
    for scope in parts.scopes(&reports) {
        let (edges, metrics) = (parts.edges.clone(), parts.metrics.clone());
        let (listed, shown) = (scope.client.scope().clone(), scope.client.scope().clone());
        let list = move |began| edges.clone().list_registrations_of(listed.clone(), began);
        let on_interval = move |interval| metrics.record_poll_interval(&shown, interval);
        idle::start(scope, tasks, list, on_interval);
        eligibility::start(scope, tasks);
        origin::start(scope, tasks);
        queues.extend(queue::start(scope, tasks));
        webhook::start(scope, tasks);
        scale_set::start(scope, tasks, &parts.scale_sets);
    }
    queues
}

fn observe_hosts(parts: &Parts<'_>, tasks: &mut Tasks) {
    let (observers, publisher) = (&mut tasks.observers, &parts.publisher);
    for (host, engine) in &parts.engines {
        let relist = Arc::new(Notify::new());
        let (edges, events) = (parts.edges.clone(), relist.clone());
        observers.spawn(follow_events(engine.clone(), host.clone(), publisher.clone(), events));
        let pings = relist.clone();
        observers.spawn(list_containers(edges, engine.clone(), host.clone(), publisher.clone(), relist));
        observers.spawn(watch_answers(engine.clone(), host.clone(), publisher.clone(), pings));
        observers.spawn(read_machine(engine.clone(), host.clone(), publisher.clone()));
    }
    for host in &parts.config.hosts {
        let name = &host.host.name;
        let (Some(min_free), Some(engine)) = (host.min_free_disk, parts.engines.get(name)) else { continue };
        if host.endpoint.is_local() {
            observers.spawn(watch_disk(engine.clone(), name.clone(), min_free, publisher.clone()));
        } else {
            warn!(host = %name, "`min_free_disk` has no effect: the disk of a remote engine cannot be checked from this machine");
        }
    }
    for ((host, image), source) in parts.config.images() {
        if let Some(engine) = parts.engines.get(host).cloned() {
            let (host, image, publisher) = (host.clone(), image.to_owned(), publisher.clone());
            observers.spawn(ImageKeeper { engine, host, image, source, publisher }.run());
        }
    }
    for pool in parts.edges.pools.values().filter(|pool| pool.template.has_files()) {
        observers.spawn(watch_files(pool.clone(), publisher.clone()));
    }
    observers.spawn(follow_logs(parts.reports.subscribe(), parts.engines.clone(), publisher.clone()));
    let with_egress = parts.edges.pools.values().filter(|pool| pool.template.egress.is_some());
    let with_egress: BTreeSet<_> = with_egress.map(|pool| pool.name.to_string()).collect();
    if !with_egress.is_empty() {
        let (reports, engines) = (parts.reports.subscribe(), parts.engines.clone());
        observers.spawn(follow_proxies(reports, with_egress, engines, publisher.clone()));
    }
}
