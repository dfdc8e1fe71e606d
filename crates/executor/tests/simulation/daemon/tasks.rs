//! Looks and actions as tasks, polled when the world answers, and what comes of them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dayfly_fleet::{Deregistered, Evidence, HostName, Instant, Launched, Scope, Stopped, TroubleKind, Why};

use super::{Day, INTERVAL, Task, brief::brief};
use crate::{
    rules::Sight,
    world::{Asking, Happening, note},
};

impl Day {
    pub(super) fn look_at_scope(&mut self, scope: usize) {
        let (edges, began) = (Arc::clone(&self.edges), self.world().instant());
        let url = self.world().setting.scopes[scope].clone();
        let look = async move { vec![edges.list_registrations(&url, began).await] };
        self.spawn(Box::pin(look), None, None);
    }

    pub(super) fn look_at_host(&mut self, host: usize) {
        let now = self.world().now;
        if self.looking_at_host[host] || now < self.look_host_at[host] {
            return;
        }
        self.looking_at_host[host] = true;
        let (edges, began) = (Arc::clone(&self.edges), Instant::from_millis(now));
        let name = self.world().setting.hosts[host].name.clone();
        let look = async move { edges.list_containers(&name, began).await };
        self.spawn(Box::pin(look), None, None);
    }

    pub(super) fn spawn(
        &mut self,
        future: Pin<Box<dyn Future<Output = Vec<Evidence>> + Send>>,
        lane: Option<usize>,
        why: Option<Why>,
    ) {
        let task = self.tasks.iter().position(Option::is_none).unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.next_serial += 1;
        let asking = Asking { task, serial: self.next_serial, why };
        self.tasks[task] = Some(Task { future, asking, lane });
        self.poll(task);
    }

    pub(super) fn poll(&mut self, index: usize) {
        let Some(task) = self.tasks.get_mut(index).and_then(Option::as_mut) else { return };
        self.shared.try_lock().expect("the world is free").asking = task.asking;
        let polled = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(found) = polled else { return };
        let lane = task.lane;
        self.tasks[index] = None;
        if let Some(host) = lane {
            self.lanes[host].running -= 1;
        }
        let veto = found.iter().find_map(|evidence| match evidence {
            Evidence::Deregister { runner, outcome: Deregistered::Busy | Deregistered::Vetoed(_) }
            | Evidence::Stop { runner, outcome: Stopped::Vetoed(_) } => Some(runner.clone()),
            _ => None,
        });
        for evidence in found {
            self.observe(evidence);
        }
        self.pass();
        if let Some(runner) = veto {
            self.check_latched(&runner);
        }
        if let Some(host) = lane {
            self.fill(host);
        }
    }

    pub(super) fn observe(&mut self, evidence: Evidence) {
        let now = self.world().instant();
        note!(self.world(), "evidence: {}", brief(&evidence));
        self.cases.evidence(&evidence);
        self.learn(&evidence);
        match &evidence {
            Evidence::Registrations { scope, .. } | Evidence::ScopeTrouble { scope, .. } => {
                self.saw_scope(scope);
            }
            Evidence::Containers { host, .. } | Evidence::HostTrouble { host, .. } => self.saw_host(host),
            Evidence::Launch { runner, outcome } => {
                let began = self.in_flight.remove(runner);
                // GitHub says itself when to try again.
                if let (Some((pool, _)), Launched::Failed { trouble, .. }) = (began, outcome)
                    && trouble.kind == TroubleKind::RateLimited
                {
                    self.paces[pool].launches.pop_back();
                }
                if matches!(outcome, Launched::Up { .. }) {
                    self.launched.insert(runner.clone());
                }
            }
            Evidence::Drain(on) => self.just_drained = !on,
            _ => {}
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.observe(evidence, now);
        }
    }

    pub(super) fn saw_scope(&mut self, scope: &Scope) {
        let Some(index) = self.scope_index(scope) else { return };
        let mut world = self.world();
        let life = world.life;
        world.after(INTERVAL, Happening::LookScope(index, life));
    }

    pub(super) fn saw_host(&mut self, host: &HostName) {
        let Some(index) = self.host_index(host) else { return };
        self.looking_at_host[index] = false;
        let mut world = self.world();
        let (life, at) = (world.life, world.now + INTERVAL);
        world.at(at, Happening::LookHost(index, life));
        // Streams that broke are read again from their beginning.
        let seen = world.host_sight[index] == Sight::Clear;
        if seen && !world.following[index] {
            world.repeat_logs(index);
        }
        world.following[index] = seen;
        drop(world);
        self.look_host_at[index] = at;
    }
}
