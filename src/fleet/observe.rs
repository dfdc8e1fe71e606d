//! Evidence becomes state. Nothing is decided here, nothing can fail, and what began before
//! something happened says nothing about it.

use std::{collections::BTreeSet, time::Duration};

use super::{
    backoff::Backoff,
    evidence::{
        Container, Deregistered, Evidence, Exit, ImageState, Launched, Minted, Registration, Removed, Said,
        Stopped, Trouble, TroubleKind,
    },
    fleet::{Fleet, PoolState, Sight},
    name::{HostName, PoolName, RunnerName},
    report::{Event, ExitReason, Held, Veto, Why},
    runner::{Contained, InFlight, Latch, Life, QUICK_EXIT, Registered, Runner},
    scope::Scope,
    time::Timestamp,
};

/// How soon a failed action on a runner is tried again, the first time.
const RETRY: Duration = Duration::from_secs(5);

/// How soon a removal that GitHub refused for a job's sake is tried again: it lets go of a lost
/// runner only after ten to fifteen minutes.
const BUSY_RETRY: Duration = Duration::from_mins(1);

impl Fleet {
    /// Takes in one fact. Never fails, never decides.
    pub fn observe(&mut self, evidence: Evidence, now: Timestamp) {
        match evidence {
            Evidence::Registrations { scope, began, registrations } => {
                self.registrations(&scope, began, &registrations, now);
            }
            Evidence::ScopeTrouble { scope, trouble } => self.scope_trouble(scope, trouble, now),
            Evidence::Containers { host, began, containers } => {
                self.containers(&host, began, containers, now);
            }
            Evidence::HostTrouble { host, trouble } => self.host_trouble(host, trouble, now),
            Evidence::Said { runner, said } => self.said(&runner, said, now),
            Evidence::Exited { runner, exit } => self.exited(&runner, exit, now),
            Evidence::OutOfMemory { runner } => {
                if let Some(runner) = self.runners.get_mut(&runner) {
                    runner.out_of_memory = true;
                }
            }
            Evidence::Image { host, image, state } => self.image(&host, &image, state),
            Evidence::DiskLow { host, low } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.disk_low = low;
                }
            }
            Evidence::Queued { pool, jobs } => {
                if let Some(pool) = self.pools.get_mut(&pool) {
                    pool.demand = jobs.into_iter().map(|job| (job.id, job.queued_at)).collect();
                }
            }
            Evidence::Launch { runner, outcome } => self.launch_ended(&runner, outcome, now),
            Evidence::Deregister { runner, outcome } => self.deregister_ended(&runner, outcome, now),
            Evidence::Stop { runner, outcome } => self.stop_ended(&runner, outcome, now),
            Evidence::Remove { runner, outcome } => self.remove_ended(&runner, &outcome, now),
            Evidence::Drain(draining) => self.draining = draining,
        }
    }

    fn image(&mut self, host: &HostName, image: &str, state: ImageState) {
        let Some(state_of) = self.hosts.get_mut(host) else { return };
        let before = state_of.images.insert(image.to_owned(), state);
        // Another image may be what cures a pool whose runners fail.
        if let (Some(ImageState::Present(before)), Some(ImageState::Present(newest))) =
            (&before, state_of.images.get(image))
            && before != newest
        {
            let same = |pool: &&mut PoolState| &pool.pool.host == host && pool.pool.template.image == image;
            for pool in self.pools.values_mut().filter(same) {
                pool.backoff = Backoff::default();
            }
        }
    }

    fn registrations(
        &mut self,
        scope: &Scope,
        began: Timestamp,
        registrations: &[Registration],
        now: Timestamp,
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
            let runner = self.runners.entry(name.clone()).or_insert_with(|| Runner::new(name.clone(), now));
            runner.scope.get_or_insert_with(|| scope.clone());
            let was_ready = runner.ready_at.is_some();
            runner.listed(registration, began, now);
            if !was_ready && runner.ready_at.is_some() && runner.takes_room() {
                self.events.push(ready(runner, now));
            }
            // Only the one direction can be believed.
            if registration.busy {
                self.latch(&name, None, now);
            }
            shown.insert(name);
        }
        for runner in self.runners.values_mut() {
            if runner.scope.as_ref() == Some(scope) && !shown.contains(&runner.name) {
                runner.registered.absent(began, runner.ended_at);
            }
        }
        self.forget();
    }

    fn scope_trouble(&mut self, scope: Scope, trouble: Trouble, now: Timestamp) {
        let Some(state) = self.scopes.get_mut(&scope) else { return };
        if state.sight.failed(&trouble, now) {
            self.events.push(Event::Scope { scope, trouble: Some(trouble) });
        }
    }

    fn containers(&mut self, host: &HostName, began: Timestamp, containers: Vec<Container>, now: Timestamp) {
        let Some(state) = self.hosts.get_mut(host) else { return };
        if !state.sight.listed(began) {
            return;
        }
        if state.sight.trouble.take().is_some() {
            self.events.push(Event::Host { host: host.clone(), trouble: None });
        }
        let mut shown = BTreeSet::new();
        for container in containers {
            if container.runner.instance() != self.names.instance().as_str() {
                continue;
            }
            let name = container.runner.clone();
            // A list that began before the container was removed tells nothing new.
            if let Some(Contained::Gone { at }) = self.runners.get(&name).map(|runner| &runner.contained)
                && began <= *at
            {
                continue;
            }
            shown.insert(name.clone());
            let runner = self.runners.entry(name.clone()).or_insert_with(|| Runner::new(name.clone(), now));
            if runner.scope.is_none()
                && container.scope.is_none()
                && let Some(pool) = self.pools.get(name.pool())
            {
                runner.scope = Some(pool.pool.scope.clone());
            }
            let before = runner.contained.clone();
            runner.found(host, &container, began, now);
            match (&before, &runner.contained) {
                (_, Contained::Present { life: Life::Down(exit), .. }) => {
                    let exit = exit.clone();
                    // Put back what was, so that the end is told as one.
                    if let Contained::Present { life, .. } = &mut runner.contained
                        && !matches!(before, Contained::Present { life: Life::Down(_), .. })
                    {
                        *life = Life::Up;
                        self.exited(&name, exit, now);
                    }
                }
                // Somebody started it again. What it does is out of our hands until it ends.
                (
                    Contained::Present { life: Life::Down(_), .. },
                    Contained::Present { life: Life::Up, .. },
                ) => self.latch(&name, None, now),
                (Contained::Never, _) if runner.in_flight.is_none() && !runner.launched => {
                    let pool = name.pool().to_owned();
                    self.events.push(Event::Adopted { pool, runner: name });
                }
                _ => {}
            }
        }
        let mut vanished = Vec::new();
        for runner in self.runners.values_mut() {
            if runner.host.as_ref() != Some(host) || shown.contains(&runner.name) {
                continue;
            }
            if let Contained::Present { at, missed, life, .. } = &mut runner.contained
                && began > *at
            {
                if *missed {
                    if !matches!(life, Life::Down(_)) {
                        vanished.push(runner.name.clone());
                    }
                    runner.contained = Contained::Gone { at: began };
                } else {
                    (*missed, *at) = (true, began);
                }
            }
        }
        for name in vanished {
            self.told_end(&name, ExitReason::Vanished, None, now);
        }
        self.forget();
    }

    fn host_trouble(&mut self, host: HostName, trouble: Trouble, now: Timestamp) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.sight.failed(&trouble, now) {
            self.events.push(Event::Host { host, trouble: Some(trouble) });
        }
    }

    fn said(&mut self, name: &RunnerName, said: Said, now: Timestamp) {
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
            Said::RunningJob(job) => self.latch(name, Some(job), now),
            // The job is over, the runner is not: it is busy until its container ends.
            Said::JobCompleted(_) => {}
        }
    }

    /// Sets the latch: this runner has a job, until its container ends.
    fn latch(&mut self, name: &RunnerName, job: Option<String>, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        if let Some(latch) = &mut runner.latch {
            latch.job = latch.job.take().or(job);
            return;
        }
        runner.latch = Some(Latch { since: now, job: job.clone() });
        if !runner.takes_room() {
            return;
        }
        // Nobody takes down a runner that has a job.
        let late = runner.take_down.take().is_some_and(|take_down| take_down.deregistered_at.is_some());
        let (pool, runner) = (runner.name.pool().to_owned(), name.clone());
        if late {
            let (pool, runner) = (pool.clone(), runner.clone());
            self.events.push(Event::Vetoed { pool, runner, veto: Veto::LateJob });
        }
        if let (Some(pool), Some(runner)) = (self.pools.get_mut(name.pool()), self.runners.get(name)) {
            pool.backoff.succeeded(runner.known_since);
        }
        self.events.push(Event::JobStarted { pool, runner, job });
    }

    fn exited(&mut self, name: &RunnerName, exit: Exit, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Contained::Present { at, missed, life, .. } = &mut runner.contained else { return };
        if matches!(life, Life::Down(_)) {
            return;
        }
        (*at, *missed, *life) = ((*at).max(now), false, Life::Down(exit.clone()));
        let reason = runner.exit_reason(&exit);
        self.told_end(name, reason, Some(exit), now);
    }

    /// Tells the end of a container, and what it means for its pool.
    fn told_end(&mut self, name: &RunnerName, reason: ExitReason, exit: Option<Exit>, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        (runner.retries, runner.retry_at, runner.ended_at) = (0, Timestamp::default(), Some(now));
        // The engine's clock may be another; its end lies between the job's start and now.
        let ended = exit.as_ref().map_or(now, |exit| exit.at.min(now));
        let job_duration = runner.latch.as_ref().map(|latch| ended.since(latch.since));
        if let Some(exit) = exit.as_ref().filter(|exit| exit.job.is_some()) {
            let latch = runner.latch.get_or_insert(Latch { since: ended, job: None });
            latch.job = latch.job.take().or_else(|| exit.job.clone());
        }
        let begun = runner.begun();
        let quick = ended.since(begun) < QUICK_EXIT;
        let held = match reason {
            ExitReason::VersionDeprecated => Some(Held::VersionDeprecated),
            _ if runner.latch.is_some() => None,
            ExitReason::QuickExit | ExitReason::Failed => Some(Held::BackingOff),
            ExitReason::OutOfMemory | ExitReason::Killed | ExitReason::Vanished if quick => {
                Some(Held::BackingOff)
            }
            _ => None,
        };
        let job = runner.latch.as_ref().and_then(|latch| latch.job.clone());
        let result = exit.as_ref().and_then(|exit| exit.result.clone());
        if let (Some(held), Some(pool)) = (held, self.pools.get_mut(name.pool())) {
            pool.backoff.failed(held, &format!("{name} ended: {}", reason.as_str()), begun, now);
        }
        let (pool, runner) = (name.pool().to_owned(), name.clone());
        self.events.push(Event::Exited { pool, runner, reason, exit, job, job_duration, result });
    }

    fn launch_ended(&mut self, name: &RunnerName, outcome: Launched, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Launch(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        let expected = |runner: &mut Runner, id| {
            if matches!(runner.registered, Registered::Never | Registered::Expected { .. }) {
                runner.registered = Registered::Expected { id, since: now };
            }
        };
        let (pool, runner_name) = (name.pool().parse::<PoolName>(), name.clone());
        match outcome {
            Launched::Up { registration, container } => {
                expected(runner, Some(registration));
                if !matches!(runner.contained, Contained::Present { life: Life::Up | Life::Down(_), .. }) {
                    runner.contained =
                        Contained::Present { id: container, at: now, missed: false, life: Life::Up };
                }
                if let Ok(pool) = pool {
                    self.events.push(Event::Launched { pool, runner: runner_name, why });
                }
            }
            Launched::Failed { registration, container, trouble } => {
                runner.launch_failed = true;
                match registration {
                    Minted::No => {}
                    Minted::Yes(id) => expected(runner, Some(id)),
                    Minted::Perhaps => expected(runner, None),
                }
                if let (Some(id), Contained::Never) = (container, &runner.contained) {
                    let life = Life::Created { since: now };
                    runner.contained = Contained::Present { id, at: now, missed: false, life };
                }
                let begun = runner.known_since;
                if let Ok(pool) = pool {
                    let streak = self.launch_failed(&pool, &trouble, begun, now);
                    self.events.push(Event::LaunchFailed { pool, runner: runner_name, trouble, streak });
                }
            }
        }
    }

    /// What a failed launch means for its pool; returns the failures in a row.
    fn launch_failed(&mut self, name: &PoolName, trouble: &Trouble, begun: Timestamp, now: Timestamp) -> u32 {
        let Some(pool) = self.pools.get_mut(name) else { return 0 };
        let held = match trouble.kind {
            TroubleKind::RateLimited => {
                if let Some(scope) = self.scopes.get_mut(&pool.pool.scope) {
                    let until = trouble.retry_at.unwrap_or(now + Duration::from_mins(1));
                    scope.limited_until = scope.limited_until.max(until);
                }
                return pool.backoff.failures;
            }
            TroubleKind::ImageMissing => {
                if let Some(host) = self.hosts.get_mut(&pool.pool.host) {
                    let image = pool.pool.template.image.clone();
                    host.images.insert(image, ImageState::Missing(trouble.detail.clone()));
                }
                Held::BackingOff
            }
            TroubleKind::RegistrationLimit => Held::RegistrationLimit,
            TroubleKind::Refused | TroubleKind::EngineRefused => Held::Refused,
            TroubleKind::NameTaken | TroubleKind::GithubFailed | TroubleKind::EngineFailed => {
                Held::BackingOff
            }
        };
        pool.backoff.failed(held, &trouble.detail, begun, now);
        pool.backoff.failures
    }

    fn deregister_ended(&mut self, name: &RunnerName, outcome: Deregistered, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Deregister(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        let pool = name.pool().to_owned();
        let id = runner.registered.id();
        let living = runner.takes_room();
        let mut veto = None;
        match outcome {
            Deregistered::Removed | Deregistered::NotFound => {
                runner.registered = Registered::Gone { id, at: now };
                runner.retries = 0;
                // Two lists and this answer agree that a ghost has none; for any other, "not
                // found" is not a sign of idleness: it may have taken its job just now.
                if living && outcome == Deregistered::NotFound && why != Why::Ghost {
                    runner.take_down = None;
                    veto = Some(Veto::NotFound);
                } else {
                    if let Some(take_down) = &mut runner.take_down {
                        take_down.deregistered_at = Some(now);
                    }
                    if outcome == Deregistered::Removed && !living {
                        self.events.push(Event::Removed { pool: pool.clone(), runner: name.clone(), why });
                    }
                }
            }
            Deregistered::Busy if living => {
                veto = Some(Veto::GithubBusy);
                runner.take_down = None;
                self.latch(name, None, now);
            }
            Deregistered::Busy => runner.retry_later(BUSY_RETRY, now),
            Deregistered::Vetoed(job) => {
                veto = Some(Veto::LocalBusy);
                runner.take_down = None;
                self.latch(name, job, now);
            }
            Deregistered::Failed(_) => {
                runner.retry_later(RETRY, now);
                // Whatever was decided is decided anew when it can be carried out.
                runner.take_down = None;
                veto = living.then_some(Veto::Unanswered);
            }
        }
        if let Some(veto) = veto {
            self.events.push(Event::Vetoed { pool, runner: name.clone(), veto });
        }
    }

    fn stop_ended(&mut self, name: &RunnerName, outcome: Stopped, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Stop(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        let (pool, name) = (name.pool().to_owned(), name.clone());
        match outcome {
            Stopped::Down => {
                // Its end is told by the engine; until then it takes room.
                runner.retry_later(RETRY, now);
                self.events.push(Event::Removed { pool, runner: name, why });
            }
            // The latch tells of the late job.
            Stopped::Vetoed(job) => self.latch(&name, job, now),
            Stopped::Failed(_) => {
                runner.retry_later(RETRY, now);
                self.events.push(Event::Vetoed { pool, runner: name, veto: Veto::Unanswered });
            }
        }
    }

    fn remove_ended(&mut self, name: &RunnerName, outcome: &Removed, now: Timestamp) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Remove(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        match outcome {
            Removed::Gone => {
                runner.contained = Contained::Gone { at: now };
                runner.retries = 0;
                if why == Why::NeverStarted {
                    let (pool, runner) = (name.pool().to_owned(), name.clone());
                    self.events.push(Event::Removed { pool, runner, why });
                }
            }
            Removed::Failed(_) => runner.retry_later(RETRY, now),
        }
    }

    /// Drops the runners of which nothing is left, once no list can be under way that began
    /// before the last of it went.
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
                Registered::Gone { at, .. } => {
                    listed_since(at, runner.scope.as_ref().and_then(|s| scopes.get(s)).map(|s| &s.sight))
                }
                _ => true,
            };
            !(runner.is_over() && contained && registered)
        });
    }
}

fn ready(runner: &Runner, now: Timestamp) -> Event {
    Event::Ready {
        pool: runner.name.pool().to_owned(),
        runner: runner.name.clone(),
        startup: runner.launched.then(|| now.since(runner.known_since)),
    }
}
