//! Records the outcomes of actions.

use std::time::Duration;

use super::Fleet;
use crate::{
    event::Event,
    evidence::{Deregistered, ImageState, Launched, Minted, Removed, Stopped, Trouble, TroubleKind},
    mints::MintBudget,
    name::{HostName, PoolName, RunnerName},
    reasons::{ExitReason, Held, Veto, Why},
    runner::{Contained, InFlight, Life, Registered, Runner},
    template::Template,
    time::Instant,
};

/// The first delay before a failed action on a runner is retried.
const RETRY: Duration = Duration::from_secs(5);

/// The delay before a removal that GitHub refused because of a job is retried: GitHub gives up on a lost
/// runner only after ten to fifteen minutes.
const BUSY_RETRY: Duration = Duration::from_mins(1);

impl Fleet {
    pub(super) fn launch_ended(&mut self, name: &RunnerName, outcome: Launched, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Launch(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        runner.attached.made(now);
        let expected = |runner: &mut Runner, id| {
            if matches!(runner.registered, Registered::Never | Registered::Expected { .. }) {
                runner.registered = Registered::Expected { id, since: now };
            }
        };
        let (pool, runner_name) = (name.pool().parse::<PoolName>(), name.clone());
        match outcome {
            Launched::Up { registration, container } => {
                runner.boots_since = now;
                expected(runner, Some(registration));
                let created = |life: &Life| matches!(life, Life::Created { .. });
                if !matches!(&runner.contained, Contained::Present { life, .. } if !created(life)) {
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
                // What was made for it is removed once a list shows it; and a request whose response was lost may
                // still have created a container that has devices.
                let pool_of = self.pools.get(name.pool()).map(|state| &state.pool.template);
                let on_cluster = runner.host.as_ref().and_then(|host| self.hosts.get(host));
                let on_cluster = on_cluster.is_some_and(|host| host.host.nodes.is_some());
                if container.is_none() && on_cluster && matches!(registration, Minted::Yes(_)) {
                    runner.may_be_created(now);
                } else if container.is_none()
                    && (!runner.devices.is_empty() || pool_of.is_some_and(Template::has_attachments))
                {
                    runner.attached.may_be_left(now);
                }
                if let (Some(id), Contained::Never) = (container, &runner.contained) {
                    let life = Life::Created { since: now };
                    runner.contained = Contained::Present { id, at: now, missed: false, life };
                }
                let (begun, image, host) = (runner.known_since, runner.image.clone(), runner.host.clone());
                // Nothing is left of a runner that GitHub refused to mint.
                if runner.is_over() {
                    self.runners.remove(name);
                }
                if let Ok(pool) = pool
                    && let Some(streak) =
                        self.launch_failed(&pool, host.as_ref(), image.as_deref(), &trouble, begun, now)
                {
                    self.events.push(Event::LaunchFailed { pool, runner: runner_name, trouble, streak });
                }
            }
        }
    }

    /// Records what a failed launch from this image means for its pool; returns the number of consecutive failures, or `None`
    /// for one of many launches that hit a rate limit.
    fn launch_failed(
        &mut self,
        name: &PoolName,
        host: Option<&HostName>,
        launched: Option<&str>,
        trouble: &Trouble,
        begun: Instant,
        now: Instant,
    ) -> Option<u32> {
        let pool = self.pools.get_mut(name)?;
        let held = match trouble.kind {
            TroubleKind::RateLimited => {
                let wait = trouble.retry_after.unwrap_or(Duration::from_mins(1));
                let first = self.mints.limited(MintBudget::of(&pool.pool), wait, now);
                return first.then_some(pool.backoffs.anywhere.failures);
            }
            TroubleKind::ImageMissing => {
                let image = &pool.pool.template.image;
                // A newer one may have taken the place of what this launch was to use.
                if let Some(host) = host.and_then(|host| self.hosts.get_mut(host))
                    && host.present(image).is_none_or(|present| launched.is_none_or(|id| id == present))
                {
                    host.images.insert(image.clone(), ImageState::Missing(trouble.detail.clone()));
                }
                Held::BackingOff
            }
            TroubleKind::RegistrationLimit => Held::RegistrationLimit,
            TroubleKind::Refused | TroubleKind::EngineRefused => Held::Refused,
            TroubleKind::NameTaken
            | TroubleKind::GithubFailed
            | TroubleKind::TemplateFile
            | TroubleKind::SessionTaken
            | TroubleKind::EngineFailed
            | TroubleKind::DindNotReady
            | TroubleKind::EgressNotReady
            | TroubleKind::OutOfFiles => Held::BackingOff,
            TroubleKind::NetworksExhausted => Held::NetworksExhausted,
        };
        let backoff = pool.backoffs.of(host.filter(|_| trouble.kind.is_of_host()));
        backoff.failed(held, &trouble.detail, begun, now);
        Some(backoff.failures)
    }

    pub(super) fn deregister_ended(&mut self, name: &RunnerName, outcome: Deregistered, now: Instant) {
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
                // Two lists and this response agree that a ghost has no registration; for any other, "not
                // found" does not mean idle: it may have just taken its job.
                if living && outcome == Deregistered::NotFound && !matches!(why, Why::Ghost | Why::NodeLost) {
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
                if why == Why::NodeLost {
                    runner.retry_later(BUSY_RETRY, now);
                }
                self.latch(name, None, now);
            }
            Deregistered::Busy => runner.retry_later(BUSY_RETRY, now),
            Deregistered::Vetoed(job) => {
                veto = Some(Veto::LocalBusy);
                runner.take_down = None;
                self.latch(name, job, now);
            }
            Deregistered::Failed(trouble) => {
                runner.retry_later(RETRY, now);
                self.events.push(removal_failed(runner, why, trouble));
                // The decision is made again when it can be carried out.
                runner.take_down = None;
                veto = living.then_some(Veto::Unanswered);
            }
        }
        if let Some(veto) = veto {
            self.events.push(Event::Vetoed { pool, runner: name.clone(), veto });
        }
    }

    pub(super) fn stop_ended(&mut self, name: &RunnerName, outcome: Stopped, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Stop(why)) = runner.in_flight else { return };
        runner.in_flight = None;
        let (pool, name) = (name.pool().to_owned(), name.clone());
        match outcome {
            Stopped::Down => {
                // The engine reports its exit; until then it uses resources.
                runner.retry_at = now + RETRY;
                self.events.push(Event::Removed { pool, runner: name, why });
            }
            // The latch reports the late job.
            Stopped::Vetoed(job) => self.latch(&name, job, now),
            Stopped::Failed(trouble) => {
                runner.retry_later(RETRY, now);
                self.events.push(removal_failed(runner, why, trouble));
                self.events.push(Event::Vetoed { pool, runner: name, veto: Veto::Unanswered });
            }
        }
    }

    pub(super) fn remove_ended(&mut self, name: &RunnerName, outcome: Removed, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Some(InFlight::Remove { why, container }) = runner.in_flight else { return };
        runner.in_flight = None;
        match outcome {
            Removed::Gone => {
                let is_lost = container && why == Why::NodeLost && runner.takes_room();
                if container {
                    runner.contained = Contained::Gone { at: now };
                }
                runner.attached.removed(now);
                runner.retries = 0;
                if is_lost {
                    self.vanished(name, None, ExitReason::NodeLost, now);
                }
                if why == Why::NeverStarted {
                    let (pool, runner) = (name.pool().to_owned(), name.clone());
                    self.events.push(Event::Removed { pool, runner, why });
                }
            }
            Removed::Failed(trouble) => {
                runner.retry_later(RETRY, now);
                self.events.push(removal_failed(runner, why, trouble));
            }
        }
    }
}

fn removal_failed(runner: &Runner, why: Why, trouble: Trouble) -> Event {
    let (pool, name) = (runner.name.pool().to_owned(), runner.name.clone());
    Event::RemovalFailed { pool, runner: name, why, trouble, streak: runner.retries }
}
