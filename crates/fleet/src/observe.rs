//! Turns evidence into state. Nothing is decided here, nothing can fail, and an observation that began before
//! an event proves nothing about it.

mod cluster;
mod containers;
mod destinations;
mod ends;
mod jobs;
mod outcomes;

use std::{collections::BTreeSet, time::Duration};

use super::{
    backoff::Backoffs,
    event::Event,
    evidence::{Evidence, ImageState, PullProgress, Registration, Said, Trouble},
    fleet::{Fleet, PoolState, Sight},
    mints::MintBudget,
    name::{HostName, PoolName, RunnerName},
    reasons::Veto,
    runner::{Contained, LIST_LAG, Latch, Registered, Runner},
    scope::Scope,
    template_parts::FilesDigest,
    time::{ClockReading, Instant},
};

impl Fleet {
    /// Records one fact. Never fails, and decides nothing.
    pub fn observe(&mut self, evidence: Evidence, now: Instant) {
        match evidence {
            Evidence::Registrations { scope, began, registrations, unseen } => {
                self.registrations(&scope, began, &registrations, &unseen, now);
            }
            Evidence::ScopeTrouble { scope, trouble } => self.scope_trouble(scope, trouble, now),
            Evidence::Containers { host, began, containers, attachments } => {
                self.containers(&host, began, containers, attachments, now);
            }
            Evidence::HostTrouble { host, trouble } => self.host_trouble(host, trouble, now),
            Evidence::Said { runner, said, clock } => self.said(&runner, said, clock, now),
            Evidence::Died { runner, code } => self.died(&runner, code, now),
            Evidence::Exited { runner, exit } => self.exited(&runner, exit, now),
            Evidence::OutOfMemory { runner } => {
                if let Some(runner) = self.runners.get_mut(&runner) {
                    runner.out_of_memory = true;
                }
            }
            Evidence::Destination { runner, destination, requests } => {
                self.requested(&runner, destination, requests);
            }
            Evidence::Image { host, image, state } => self.image(&host, &image, state),
            Evidence::TemplateFiles { pool, files } => self.template_files(&pool, files),
            Evidence::Pull { host, image, progress } => self.pull(&host, image, progress),
            Evidence::Cluster { host, cluster } => self.cluster(&host, cluster, now),
            Evidence::NodeDrained { host, node, trouble } => self.node_drained(host, node, trouble, now),
            Evidence::HostSize { host, size } => {
                if let Some(state) = self.hosts.get_mut(&host)
                    && state.host.nodes.is_none()
                    && std::mem::take(&mut state.has_unknown_size)
                {
                    state.host.budget = size;
                }
            }
            Evidence::DiskLow { host, low } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.disk_low = low;
                }
            }
            Evidence::Queue { repository, began, jobs } => {
                self.queue_looked_at(&repository, began, jobs, now);
            }
            Evidence::Job { job, state, at, asked } => self.job_seen(job, state, at, asked, now),
            Evidence::JobGone { repository, job, at } => self.job_gone(&repository, job, at),
            Evidence::Took { runner, facts, queued_at } => self.took(&runner, &facts, queued_at, now),
            Evidence::Origin { repository, run_id, origin } => self.origin(&repository, run_id, &origin),
            Evidence::JobOver { runner } => self.job_of_runner_over(&runner, now),
            Evidence::Assigned { pool, jobs, at } => self.assigned(&pool, jobs, at),
            Evidence::Source { pool, source, trouble } => self.source_tried(&pool, source, trouble, now),
            Evidence::Groups { scope, groups } => self.groups_read(&scope, groups, now),
            Evidence::Launch { runner, outcome } => self.launch_ended(&runner, outcome, now),
            Evidence::Deregister { runner, outcome } => self.deregister_ended(&runner, outcome, now),
            Evidence::Stop { runner, outcome } => self.stop_ended(&runner, outcome, now),
            Evidence::Remove { runner, outcome } => self.remove_ended(&runner, outcome, now),
            Evidence::Slept(length) => self.slept(length, now),
            Evidence::WallClock(reading) => self.clock = reading,
            Evidence::Drain(draining) => self.draining = draining,
        }
    }

    fn image(&mut self, host: &HostName, image: &str, state: ImageState) {
        let Some(state_of) = self.hosts.get_mut(host) else { return };
        if matches!(state, ImageState::Unknown(_))
            && matches!(state_of.images.get(image), Some(ImageState::Present(_) | ImageState::Missing(_)))
        {
            return;
        }
        let before = state_of.images.insert(image.to_owned(), state);
        // A new image may fix a pool whose runners fail.
        if let (Some(ImageState::Present(before)), Some(ImageState::Present(newest))) =
            (&before, state_of.images.get(image))
            && before != newest
        {
            let same = |pool: &&mut PoolState| pool.pool.template.image == image;
            for pool in self.pools.values_mut().filter(same) {
                pool.backoffs.forget(host);
            }
        }
    }

    fn template_files(&mut self, name: &PoolName, files: FilesDigest) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let digest = Some(pool.pool.template.digest_with(files));
        if pool.digest == digest {
            return;
        }
        pool.digest = digest;
        // New content may fix a pool whose runners fail.
        pool.backoffs = Backoffs::default();
        // Which content a container gets that is being created shows when it is listed.
        for runner in self.runners.values_mut().filter(|runner| runner.name.pool() == name.as_str()) {
            if runner.in_flight.is_some() && runner.contained == Contained::Never {
                runner.template = None;
            }
        }
    }

    fn pull(&mut self, host: &HostName, image: String, progress: Option<PullProgress>) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        match progress {
            Some(progress) => host.pulls.insert(image, progress),
            None => host.pulls.remove(&image),
        };
    }

    fn registrations(
        &mut self,
        scope: &Scope,
        began: Instant,
        registrations: &[Registration],
        unseen: &[PoolName],
        now: Instant,
    ) {
        let Some(state) = self.scopes.get_mut(scope) else { return };
        if !state.sight.listed(began) {
            return;
        }
        if state.sight.trouble.take().is_some() {
            self.events.push(Event::Scope { scope: scope.clone(), trouble: None });
        }
        let mut shown = BTreeSet::new();
        for registration in registrations {
            let Some(name) = RunnerName::parse(&registration.name) else { continue };
            if name.instance() != self.names.instance().as_str() {
                continue;
            }
            let runner = self.known(&name, now);
            runner.scope.get_or_insert_with(|| scope.clone());
            let was_ready = runner.ready_at.is_some();
            runner.listed(registration, began, now);
            if !was_ready && runner.ready_at.is_some() && runner.takes_room() {
                let event = ready(runner, now);
                self.events.push(event);
            }
            // Only one direction is reliable.
            if registration.busy {
                self.latch(&name, None, now);
            }
            shown.insert(name);
        }
        for runner in self.runners.values_mut() {
            let could_be_shown = !unseen.iter().any(|pool| pool.as_str() == runner.name.pool());
            if runner.scope.as_ref() == Some(scope) && !shown.contains(&runner.name) && could_be_shown {
                runner.registered.absent(began, runner.ended_at);
            }
        }
        self.forget();
    }

    /// A runner in a list, which may not be known yet.
    fn known(&mut self, name: &RunnerName, now: Instant) -> &mut Runner {
        self.runners.entry(name.clone()).or_insert_with(|| {
            // Minted by an earlier run, possibly just now.
            if let Some(pool) = self.pools.get(name.pool()) {
                let minted_at = self.clock.instant(name.minted_at()).min(now);
                self.mints.found(MintBudget::of(&pool.pool), minted_at, now);
            }
            Runner::new(name.clone(), now)
        })
    }

    /// Records that this machine was suspended: during that time nothing was observed, and its containers did
    /// not run.
    fn slept(&mut self, length: Duration, now: Instant) {
        for runner in self.runners.values_mut() {
            runner.boots_since = (runner.boots_since + length).min(now);
            if let Some(latch) = &mut runner.latch {
                latch.since = (latch.since + length).min(now);
            }
        }
    }

    fn scope_trouble(&mut self, scope: Scope, trouble: Trouble, now: Instant) {
        let Some(state) = self.scopes.get_mut(&scope) else { return };
        if state.sight.failed(&trouble, now) {
            self.events.push(Event::Scope { scope, trouble: Some(trouble) });
        }
    }

    fn host_trouble(&mut self, host: HostName, trouble: Trouble, now: Instant) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.sight.failed(&trouble, now) {
            self.events.push(Event::Host { host, trouble: Some(trouble) });
        }
    }

    fn said(&mut self, name: &RunnerName, said: Said, clock: ClockReading, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        match said {
            Said::Listening => {
                let was_ready = runner.ready_at.is_some();
                runner.listening(now);
                if !was_ready && runner.takes_room() {
                    let event = ready(runner, now);
                    self.events.push(event);
                }
            }
            Said::RunningJob { job, began } => {
                self.latch(name, Some(job), now);
                self.began(name, began.map(|began| clock.instant(began)));
            }
            // The job has finished, but the runner is busy until its container exits.
            Said::JobCompleted(_) => {}
        }
    }

    /// Records when a runner's job began. That matters for a runner that was found with its job, which began
    /// before this process.
    fn began(&mut self, name: &RunnerName, began: Option<Instant>) {
        let found = self.runners.get_mut(name).filter(|runner| !runner.launched);
        if let (Some(latch), Some(began)) = (found.and_then(|runner| runner.latch.as_mut()), began) {
            latch.since = latch.since.min(began);
        }
    }

    /// Sets the latch: this runner has a job until its container exits.
    pub(super) fn latch(&mut self, name: &RunnerName, job: Option<String>, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        if let Some(latch) = &mut runner.latch {
            latch.job = latch.job.take().or(job);
            return;
        }
        runner.latch = Some(Latch { since: now, job: job.clone(), facts: None, origin: None });
        runner.shows_life();
        if !runner.takes_room() {
            return;
        }
        // A runner that has a job is not removed.
        let late = runner.take_down.take().is_some_and(|take_down| take_down.deregistered_at.is_some());
        let (pool, runner) = (runner.name.pool().to_owned(), name.clone());
        if late {
            let (pool, runner) = (pool.clone(), runner.clone());
            self.events.push(Event::Vetoed { pool, runner, veto: Veto::LateJob });
        }
        if let (Some(pool), Some(runner)) = (self.pools.get_mut(name.pool()), self.runners.get(name)) {
            for backoff in pool.backoffs.ended_on(runner.host.as_ref()) {
                backoff.succeeded(runner.known_since);
            }
            if runner.was_watched(now) {
                pool.demand.job_taken(name, now);
            }
        }
        self.events.push(Event::JobStarted { pool, runner, job });
    }

    /// Drops the runners of which nothing is left, once no list can show them any more: neither one that
    /// began before the last part was gone, nor one that lags.
    fn forget(&mut self) {
        let (hosts, scopes) = (&self.hosts, &self.scopes);
        self.runners.retain(|_, runner| {
            let listed_since = |at, sight: Option<&Sight>| {
                sight.is_none_or(|sight| sight.listed_at.is_some_and(|listed_at| listed_at > at))
            };
            let contained = match runner.contained {
                Contained::Gone { at } => {
                    listed_since(at, runner.host.as_ref().and_then(|h| hosts.get(h)).map(|h| &h.sight))
                }
                _ => true,
            };
            let registered = match runner.registered {
                Registered::Missing { since: at, .. } | Registered::Gone { at, .. } => listed_since(
                    at + LIST_LAG,
                    runner.scope.as_ref().and_then(|s| scopes.get(s)).map(|s| &s.sight),
                ),
                _ => true,
            };
            let detached = runner.attached.removed_at().is_none_or(|at| {
                listed_since(at, runner.host.as_ref().and_then(|h| hosts.get(h)).map(|h| &h.sight))
            });
            !(runner.is_over() && contained && detached && registered)
        });
    }
}

fn ready(runner: &Runner, now: Instant) -> Event {
    Event::Ready {
        pool: runner.name.pool().to_owned(),
        runner: runner.name.clone(),
        startup: runner.launched.then(|| now.since(runner.known_since)),
    }
}
