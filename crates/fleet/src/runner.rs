//! One runner as the core knows it: what GitHub says, what the engine says, what its log said, and
//! what is being done about it. The table in [`Runner::phase`] is the heart of it.

use std::{sync::Arc, time::Duration};

use super::{
    backoff::Backoff,
    evidence::{Container, ContainerId, ContainerState, Exit, Registration, RegistrationId, RunnerStatus},
    job::JobFacts,
    jobs::QUEUE_LAG,
    name::{HostName, RunnerName},
    pool::{Resources, TemplateDigest},
    report::{Ending, ExitReason, Phase, Why},
    scope::Scope,
    time::Instant,
};

/// How far GitHub's list may lag behind a mint or a removal.
pub(super) const LIST_LAG: Duration = Duration::from_mins(1);

/// How long GitHub may take to remove a registration by itself after its runner's job.
pub(super) const FINISHED_GRACE: Duration = Duration::from_mins(1);

/// How long a runner must be listed offline, in two lists at least, before its connection counts as
/// lost: short blips are common and end by themselves.
pub(super) const OFFLINE_CONFIRMATION: Duration = Duration::from_mins(1);

/// How long after its start an end without a job is a failure rather than the end of an idle life.
pub(super) const QUICK_EXIT: Duration = Duration::from_mins(1);

/// What is known of a runner's registration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Registered {
    /// Nothing points to one.
    Never,
    /// It was minted, or perhaps was; no list has shown it yet.
    Expected { id: Option<RegistrationId>, since: Instant },
    /// A list that began at `at` showed it.
    Listed { id: RegistrationId, at: Instant, offline_since: Option<Instant> },
    /// It was to be expected in a list that began at `since`, and was not there. One list proves
    /// nothing: a page walk is not a snapshot.
    Missed { id: Option<RegistrationId>, since: Instant },
    /// Missing in two lists. If it is listed again, it was never gone.
    Missing { id: Option<RegistrationId>, since: Instant },
    /// Removed: GitHub said so to our removal. Lists may show it for a while still.
    Gone { id: Option<RegistrationId>, at: Instant },
}

impl Registered {
    /// GitHub's number, also of one that is gone: a removal by number is how to make sure.
    pub(super) fn id(&self) -> Option<RegistrationId> {
        match *self {
            Self::Never => None,
            Self::Listed { id, .. } => Some(id),
            Self::Expected { id, .. }
            | Self::Missed { id, .. }
            | Self::Missing { id, .. }
            | Self::Gone { id, .. } => id,
        }
    }

    /// Whether there may be a registration.
    pub(super) fn may_exist(&self) -> bool {
        !matches!(self, Self::Never) && self.gone_since().is_none()
    }

    /// Since when it is gone, by our removal or by GitHub's lists.
    pub(super) fn gone_since(&self) -> Option<Instant> {
        match *self {
            Self::Missing { since: at, .. } | Self::Gone { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Takes in that a complete list which began at `began` did not show it. Once the container has
    /// ended, the list need not be waited for: the registration had time to show.
    pub(super) fn absent(&mut self, began: Instant, ended_at: Option<Instant>) {
        *self = match *self {
            Self::Expected { id, since } if began > ended_at.unwrap_or(since + LIST_LAG) => {
                Self::Missed { id, since: began }
            }
            Self::Listed { id, at, .. } if began > at => Self::Missed { id: Some(id), since: began },
            Self::Missed { id, since } if began > since => Self::Missing { id, since: began },
            _ => return,
        };
    }
}

/// What is known of a runner's container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Contained {
    /// None was seen.
    Never,
    /// There is one.
    Present {
        id: ContainerId,
        /// When the look began that showed it last.
        at: Instant,
        /// The list that began then should have shown it, and did not.
        missed: bool,
        life: Life,
    },
    /// There was one.
    Gone { at: Instant },
}

/// What a container that is there does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Life {
    /// Made, and not known to have been started.
    Created { since: Instant },
    /// Running.
    Up,
    /// Ended, and how is still being read.
    Ended {
        /// As far as it is known, and what was made of that.
        exit: Exit,
        reason: ExitReason,
        /// The pool's failures before this end was counted as one more; `None` when it was not.
        uncounted: Option<Box<Backoff>>,
    },
    /// Ended.
    Down(Exit),
}

impl Life {
    /// Whether it does not run any more.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Down(_))
    }
}

/// A runner has a job, since when and which.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latch {
    pub(super) since: Instant,
    pub(super) job: Option<String>,
    pub(super) facts: Option<Arc<JobFacts>>,
}

/// An action whose outcome is not yet known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum InFlight {
    Launch(Why),
    Deregister(Why),
    Stop(Why),
    Remove(Why),
}

/// A runner is being taken down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TakeDown {
    pub(super) why: Why,
    /// When its registration was gone for certain: removed now, or not there to remove.
    pub(super) deregistered_at: Option<Instant>,
    /// Whether its stop was asked of the engine.
    pub(super) stopped: bool,
}

/// One runner.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) name: RunnerName,
    pub(super) scope: Option<Scope>,
    pub(super) host: Option<HostName>,
    pub(super) template: Option<TemplateDigest>,
    pub(super) image: Option<String>,
    pub(super) resources: Resources,
    pub(super) registered: Registered,
    pub(super) contained: Contained,
    pub(super) latch: Option<Latch>,
    /// When it was first known to be able to take a job.
    pub(super) ready_at: Option<Instant>,
    /// When this process first knew of it: launched it, or found it.
    pub(super) known_since: Instant,
    /// Since when it boots: its launch ended, or it was found.
    pub(super) boots_since: Instant,
    /// When its container ended, or was found to be gone.
    pub(super) ended_at: Option<Instant>,
    /// How it ended.
    pub(super) ending: Option<Ending>,
    /// Whether the end of its job was taken in.
    pub(super) job_ended: bool,
    /// Whether this process launched it.
    pub(super) launched: bool,
    /// Whether its launch failed, so that whatever it left is to be cleared away.
    pub(super) launch_failed: bool,
    /// Whether the kernel killed one of its processes because memory ran out.
    pub(super) out_of_memory: bool,
    pub(super) in_flight: Option<InFlight>,
    pub(super) take_down: Option<TakeDown>,
    /// Do nothing about it before then: something failed.
    pub(super) retry_at: Instant,
    /// Failures in a row of actions on it.
    pub(super) retries: u32,
    pub(super) phase: Phase,
    pub(super) phase_since: Instant,
}

impl Runner {
    /// A runner of which nothing but the name is known.
    pub(super) fn new(name: RunnerName, now: Instant) -> Self {
        Self {
            name,
            scope: None,
            host: None,
            template: None,
            image: None,
            resources: Resources::default(),
            registered: Registered::Never,
            contained: Contained::Never,
            latch: None,
            ready_at: None,
            known_since: now,
            boots_since: now,
            ended_at: None,
            ending: None,
            job_ended: false,
            launched: false,
            launch_failed: false,
            out_of_memory: false,
            in_flight: None,
            take_down: None,
            retry_at: Instant::default(),
            retries: 0,
            phase: Phase::Starting,
            phase_since: now,
        }
    }

    /// What it is doing, by what both sides say:
    ///
    /// | container \ GitHub says | nothing | offline | online | busy |
    /// | --- | --- | --- | --- | --- |
    /// | none | (launching: starting) | orphaned | orphaned | orphaned |
    /// | none any more, ended just now | finished | finished | finished | finished |
    /// | up | starting if never listed, else ghost | starting, or idle until confirmed lost | idle | busy |
    /// | up, latched | busy | busy | busy | busy |
    /// | down | finished | finished | finished | finished |
    ///
    /// A runner whose host or scope cannot be seen is unknown, unless what is known cannot change.
    pub(super) fn phase(&self, host_up: bool, scope_up: bool, now: Instant) -> Phase {
        let just_ended = self.ended_at.is_some_and(|at| now.since(at) < FINISHED_GRACE);
        match &self.contained {
            Contained::Never if self.is_launching() => Phase::Starting,
            Contained::Present { life, .. } if life.has_ended() => Phase::Finished,
            Contained::Gone { .. } if just_ended => Phase::Finished,
            Contained::Never | Contained::Gone { .. } => Phase::Orphaned,
            Contained::Present { .. } if !host_up => Phase::Unknown,
            Contained::Present { .. } if self.latch.is_some() => Phase::Busy,
            Contained::Present { .. } if self.take_down.is_some() => Phase::Stopping,
            Contained::Present { missed: true, .. } => Phase::Unknown,
            Contained::Present { .. } if self.registered.gone_since().is_some() => Phase::Ghost,
            Contained::Present { .. } if !scope_up => Phase::Unknown,
            Contained::Present { .. } if self.ready_at.is_some() => Phase::Idle,
            Contained::Present { .. } => Phase::Starting,
        }
    }

    /// Whether its container is up or on its way, or cannot be said not to be: it takes room.
    pub(super) fn takes_room(&self) -> bool {
        match &self.contained {
            Contained::Present { life, .. } => !life.has_ended(),
            Contained::Never => self.is_launching(),
            Contained::Gone { .. } => false,
        }
    }

    /// Whether it can take a job now, or will soon.
    pub(super) fn is_capacity(&self, boot_timeout: Duration, now: Instant) -> bool {
        self.takes_room()
            && self.latch.is_none()
            && self.take_down.is_none()
            && !matches!(self.contained, Contained::Present { missed: true, .. })
            && self.registered.gone_since().is_none()
            && !self.start_failed()
            && !self.connection_lost()
            && (self.ready_at.is_some() || self.is_launching() || now.since(self.boots_since) < boot_timeout)
    }

    /// Whether its launch is under way, however long that takes: another would only make it longer.
    fn is_launching(&self) -> bool {
        matches!(self.in_flight, Some(InFlight::Launch(_)))
    }

    /// Whether its container was made and is not known to run after a start that failed.
    fn start_failed(&self) -> bool {
        self.launch_failed && matches!(self.contained, Contained::Present { life: Life::Created { .. }, .. })
    }

    /// Whether it has a job, and its container has not ended.
    pub(super) fn is_busy(&self) -> bool {
        self.latch.is_some() && self.takes_room()
    }

    /// Whether two lists far enough apart say that it is offline after it was ready.
    pub(super) fn connection_lost(&self) -> bool {
        match self.registered {
            Registered::Listed { at, offline_since: Some(since), .. } => {
                self.ready_at.is_some() && at.since(since) >= OFFLINE_CONFIRMATION
            }
            _ => false,
        }
    }

    /// Its container, while it is there.
    pub(super) fn container(&self) -> Option<(&HostName, &ContainerId)> {
        match (&self.host, &self.contained) {
            (Some(host), Contained::Present { id, .. }) => Some((host, id)),
            _ => None,
        }
    }

    /// Whether nothing of it is left, or can still come.
    pub(super) fn is_over(&self) -> bool {
        self.in_flight.is_none()
            && matches!(self.contained, Contained::Never | Contained::Gone { .. })
            && !self.registered.may_exist()
    }

    /// Takes in what a list says of its registration.
    pub(super) fn listed(&mut self, registration: &Registration, began: Instant, now: Instant) {
        if let (Registered::Missing { .. }, Some(TakeDown { why: Why::Ghost, stopped: false, .. })) =
            (&self.registered, self.take_down)
        {
            self.take_down = None;
        }
        // A list lags behind a removal as it does behind a mint.
        if let Registered::Gone { at, .. } = self.registered
            && began <= at + LIST_LAG
        {
            return;
        }
        if registration.status == RunnerStatus::Online {
            self.ready_at.get_or_insert(now);
            self.shows_life();
        }
        let before = match self.registered {
            Registered::Listed { offline_since, .. } => offline_since,
            _ => None,
        };
        let offline_since = match &registration.status {
            RunnerStatus::Online => None,
            RunnerStatus::Offline => before.or(Some(began)),
            // A word we do not know changes nothing.
            RunnerStatus::Other(_) => before,
        };
        self.registered = Registered::Listed { id: registration.id, at: began, offline_since };
    }

    /// Takes in what a list says of its container, apart from its end.
    pub(super) fn found(&mut self, host: &HostName, container: &Container, began: Instant, now: Instant) {
        self.host = Some(host.clone());
        self.template = Some(container.template.clone());
        self.image.clone_from(&container.image);
        self.resources = container.resources;
        if self.scope.is_none() {
            self.scope.clone_from(&container.scope);
        }
        if matches!(self.registered, Registered::Never)
            && let Some(id) = container.registration
        {
            self.registered = Registered::Expected { id: Some(id), since: now };
        }
        let life = match (&container.state, &self.contained) {
            (ContainerState::Created, Contained::Present { life: Life::Created { since }, .. }) => {
                Life::Created { since: *since }
            }
            // A list that began before the start was asked for.
            (ContainerState::Created, Contained::Present { life, .. }) => life.clone(),
            (ContainerState::Created, _) => Life::Created { since: now },
            // A list that began before the end was seen. One that began after tells of somebody
            // who started it again: see `Fleet::observe`.
            (ContainerState::Up, Contained::Present { at, life, .. }) if life.has_ended() && began <= *at => {
                life.clone()
            }
            (ContainerState::Up, _) => Life::Up,
            (ContainerState::Down(exit), _) => Life::Down(exit.clone()),
        };
        let at = match &self.contained {
            Contained::Present { at, .. } => (*at).max(began),
            Contained::Never | Contained::Gone { .. } => began,
        };
        self.contained = Contained::Present { id: container.id.clone(), at, missed: false, life };
    }

    /// Takes in that it does what only a running container can do: the reply to its start was lost.
    pub(super) fn shows_life(&mut self) {
        if let Contained::Present { life: life @ Life::Created { .. }, .. } = &mut self.contained {
            *life = Life::Up;
        }
    }

    /// Takes in that its log says it listens for jobs.
    pub(super) fn listening(&mut self, now: Instant) {
        self.shows_life();
        if self.ready_at.is_none() {
            self.ready_at = Some(now);
            if let Registered::Listed { offline_since, .. } = &mut self.registered {
                *offline_since = None;
            }
        }
    }

    /// Does nothing more about it for a while, longer each time: from `base` up to 64 times that.
    pub(super) fn retry_later(&mut self, base: Duration, now: Instant) {
        self.retry_at = now + base * (1 << self.retries.min(6));
        self.retries += 1;
    }

    /// Whether what it does now began under our eyes: one that was found with its job took it before.
    pub(super) fn was_watched(&self, now: Instant) -> bool {
        self.launched || now.since(self.known_since) >= QUEUE_LAG
    }

    /// Whether it is known by its registration alone, which says that it is connected: it runs somewhere,
    /// perhaps on a host that cannot be seen.
    pub(super) fn runs_elsewhere(&self) -> bool {
        matches!(self.contained, Contained::Never)
            && self.in_flight.is_none()
            && !self.launch_failed
            && matches!(self.registered, Registered::Listed { offline_since: None, .. })
            && self.ready_at.is_some()
    }

    /// How long its container ran, at most: by the engine's word, and by how long it has been known where this
    /// process launched it.
    pub(super) fn lived(&self, exit: Option<&Exit>, now: Instant) -> Duration {
        let known = if self.launched { now.since(self.known_since) } else { Duration::MAX };
        exit.and_then(|exit| exit.ran).unwrap_or(Duration::MAX).min(known)
    }

    /// How long it was able to take a job.
    fn was_able_for(&self, exit: &Exit, now: Instant) -> Duration {
        let able = match self.ready_at {
            Some(ready_at) if self.launched => now.since(ready_at),
            None if self.launched => Duration::ZERO,
            // Found, not launched: it may have been able to long before.
            _ => Duration::MAX,
        };
        able.min(self.lived(Some(exit), now))
    }

    /// When it was begun. One that this process did not launch was begun before all that it remembers.
    pub(super) fn begun(&self) -> Instant {
        if self.launched { self.known_since } else { Instant::default() }
    }

    /// How it ended, in a word.
    pub(super) fn exit_reason(&self, exit: &Exit, now: Instant) -> ExitReason {
        let had_job = self.latch.is_some() || exit.job.is_some();
        let stopped = self.take_down.filter(|t| t.stopped).map(|t| t.why);
        let by_signal = matches!(exit.code, 130 | 137 | 143);
        if exit.version_deprecated && !had_job {
            ExitReason::VersionDeprecated
        } else if exit.out_of_memory || self.out_of_memory {
            ExitReason::OutOfMemory
        } else if stopped == Some(Why::MaxJobAge) {
            ExitReason::MaxJobAge
        } else if stopped == Some(Why::BootTimeout) {
            ExitReason::BootTimeout
        } else if stopped.is_some() && !had_job {
            ExitReason::DaemonStop
        } else if by_signal {
            ExitReason::Killed
        } else if had_job {
            if exit.code == 0 { ExitReason::Completed } else { ExitReason::Failed }
        } else if self.take_down.is_some_and(|t| t.deregistered_at.is_some()) {
            // An idle runner ends by itself when its registration is removed.
            ExitReason::DaemonStop
        } else if exit.code != 0 {
            ExitReason::Failed
        } else if self.was_able_for(exit, now) >= QUICK_EXIT {
            ExitReason::IdleRemoved
        } else {
            ExitReason::QuickExit
        }
    }
}
