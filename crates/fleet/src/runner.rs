//! The state of one runner: what GitHub, the engine and its log report, and what is being done about it. The
//! central part is the table in [`Runner::phase`].

mod attached;
mod halves;
mod on_cluster;

use std::{sync::Arc, time::Duration};

pub(super) use self::halves::{Contained, LIST_LAG, Life, Registered};
use self::{attached::Attached, halves::OFFLINE_CONFIRMATION, on_cluster::OnCluster};
use super::{
    cluster::{NodeId, Placed},
    destination::Destinations,
    devices::Devices,
    evidence::{Container, ContainerId, ContainerState, Exit, Registration, RunnerStatus},
    job::{JobFacts, JobOrigin, QUEUE_LAG},
    name::{HostName, RunnerName},
    reasons::{ExitReason, Phase, Why},
    report::Ending,
    scope::Scope,
    template::{Resources, TemplateDigest},
    time::Instant,
};

/// How long GitHub may take to remove a registration by itself after its runner's job.
pub(super) const FINISHED_GRACE: Duration = Duration::from_mins(1);

/// How long a node of a cluster may take to start a container, with the pull of its image, and the cluster to find a node.
const PREPARATION: Duration = Duration::from_mins(15);

/// How long GitHub waits for a runner that has a job before it gives up both. Until then a removal is refused, or, when
/// GitHub shows it as not busy for a moment, is not.
const LOST_JOB: Duration = Duration::from_mins(15);

/// An exit without a job within this time after the start is a failure, later it is that of an idle runner.
pub(super) const QUICK_EXIT: Duration = Duration::from_mins(1);

/// The job of a runner, and since when it has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latch {
    pub(super) since: Instant,
    pub(super) job: Option<String>,
    pub(super) facts: Option<Arc<JobFacts>>,
    /// Where the job comes from, according to its run's record.
    pub(super) origin: Option<JobOrigin>,
}

/// An action whose outcome is not yet known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum InFlight {
    Launch(Why),
    Deregister(Why),
    Stop(Why),
    Remove {
        why: Why,
        /// Whether it removes the container too: a list may show one that was not known when it began.
        container: bool,
    },
}

/// The removal of a runner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TakeDown {
    pub(super) why: Why,
    /// When its registration was certainly gone: removed, or not found.
    pub(super) deregistered_at: Option<Instant>,
    /// Whether its stop was requested from the engine.
    pub(super) stopped: bool,
}

/// One runner.
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact")]
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) name: RunnerName,
    pub(super) scope: Option<Scope>,
    pub(super) host: Option<HostName>,
    pub(super) template: Option<TemplateDigest>,
    pub(super) image: Option<String>,
    /// The limits of its container.
    pub(super) resources: Resources,
    /// What it has for itself until its container is gone.
    pub(super) devices: Devices,
    /// What was made for it beside its container.
    pub(super) attached: Attached,
    /// Its place, if its host is a cluster that has listed it.
    pub(super) on_cluster: Option<OnCluster>,
    /// Whether the removal that keeps its caches for others was planned.
    pub(super) promoted: bool,
    pub(super) registered: Registered,
    pub(super) contained: Contained,
    pub(super) latch: Option<Latch>,
    /// When it was first known to be ready for a job.
    pub(super) ready_at: Option<Instant>,
    /// When this process launched it or found it.
    pub(super) known_since: Instant,
    /// When its boot began: its launch succeeded, or it was found.
    pub(super) boots_since: Instant,
    /// When its container exited, or was found to be gone.
    pub(super) ended_at: Option<Instant>,
    pub(super) ending: Option<Ending>,
    /// Whether the end of its job was recorded.
    pub(super) job_ended: bool,
    pub(super) launched: bool,
    /// Whether its launch failed, so that what is left of it must be removed.
    pub(super) launch_failed: bool,
    /// Whether the kernel killed one of its processes because memory ran out.
    pub(super) out_of_memory: bool,
    /// What its jobs connected to through its proxy.
    pub(super) destinations: Arc<Destinations>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) take_down: Option<TakeDown>,
    /// No action is planned before then, because one failed.
    pub(super) retry_at: Instant,
    /// Consecutive failures of actions on it.
    pub(super) retries: u32,
    pub(super) phase: Phase,
    pub(super) phase_since: Instant,
}

impl Runner {
    /// A runner of which only the name is known.
    pub(super) fn new(name: RunnerName, now: Instant) -> Self {
        Self {
            name,
            scope: None,
            host: None,
            template: None,
            image: None,
            resources: Resources::default(),
            devices: Devices::default(),
            attached: Attached::default(),
            on_cluster: None,
            promoted: false,
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
            destinations: Arc::default(),
            in_flight: None,
            take_down: None,
            retry_at: Instant::default(),
            retries: 0,
            phase: Phase::Starting,
            phase_since: now,
        }
    }

    /// Its phase, from both halves:
    ///
    /// | container \ GitHub says | nothing | offline | online | busy |
    /// | --- | --- | --- | --- | --- |
    /// | none | (launching: starting) | orphaned | orphaned | orphaned |
    /// | none any more, ended just now | finished | finished | finished | finished |
    /// | up | starting if never listed, else ghost | starting, or idle until confirmed lost | idle | busy |
    /// | up, latched | busy | busy | busy | busy |
    /// | down | finished | finished | finished | finished |
    ///
    /// A runner whose host, node or scope cannot be reached is unknown, unless its state can no longer change.
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

    /// Whether its container is running or being launched, or that cannot be ruled out: it uses resources.
    pub(super) fn takes_room(&self) -> bool {
        match &self.contained {
            Contained::Present { life, .. } => !life.has_ended(),
            Contained::Never => self.is_launching() || self.may_have_been_created(),
            Contained::Gone { .. } => false,
        }
    }

    /// Whether it uses anything of its host.
    pub(super) fn takes_of_host(&self) -> bool {
        self.takes_room()
            || self.attached.may_exist()
            || !self.devices.is_empty() && matches!(self.contained, Contained::Present { .. })
    }

    /// The limits of what runs for it on its host.
    pub(super) fn committed_resources(&self) -> Resources {
        let mut all = self.attached.resources();
        if self.takes_room() {
            all.add(self.resources);
        }
        all
    }

    /// Whether it can take a job now, or will soon.
    pub(super) fn is_capacity(&self, boot_timeout: Duration, now: Instant) -> bool {
        self.takes_room()
            && self.latch.is_none()
            && self.take_down.is_none()
            && !matches!(self.contained, Contained::Present { missed: true, .. })
            && self.registered.gone_since().is_none()
            && !self.start_failed()
            && !self.may_have_been_created()
            && self.has_no_node().is_none()
            && !self.attached.is_lost()
            && !self.connection_lost()
            && (self.ready_at.is_some() || self.is_launching() || now.since(self.boots_since) < boot_timeout)
    }

    /// Whether its launch is in flight, however long that takes: another one would only make it slower.
    pub(super) fn is_launching(&self) -> bool {
        matches!(self.in_flight, Some(InFlight::Launch(_)))
    }

    /// Whether its container was created and is not known to be running after a failed start.
    fn start_failed(&self) -> bool {
        self.launch_failed && matches!(self.contained, Contained::Present { life: Life::Created { .. }, .. })
    }

    /// Whether it has a job and its container has not exited.
    pub(super) fn is_busy(&self) -> bool {
        self.latch.is_some() && self.takes_room()
    }

    /// Whether two lists far enough apart show it offline after it was ready.
    pub(super) fn connection_lost(&self) -> bool {
        self.ready_at.is_some() && self.registered.offline_for(OFFLINE_CONFIRMATION).is_some()
    }

    /// Records where a cluster has it.
    pub(super) fn placed(&mut self, placed: Placed, is_lost: bool, now: Instant) {
        let is_started = matches!(placed, Placed::On { started: true, .. });
        if !is_started && now.since(self.known_since) < PREPARATION {
            self.boots_since = now;
        }
        // If its node is back, it can be asked.
        self.take_down = self.take_down.filter(|take_down| is_lost || take_down.why != Why::NodeLost);
        self.on_cluster = Some(OnCluster { placed, is_lost });
    }

    /// Records that its launch on a cluster failed, which may have created it all the same, and thus will start it.
    pub(super) fn may_be_created(&mut self, now: Instant) {
        self.attached.may_be_left(now);
        self.on_cluster = Some(OnCluster { placed: Placed::Nowhere(None), is_lost: false });
    }

    /// Whether its launch failed like that, and no list has shown yet what became of it.
    pub(super) fn may_have_been_created(&self) -> bool {
        self.contained == Contained::Never
            && self.launch_failed
            && self.on_cluster.is_some()
            && self.attached.is_uncertain()
    }

    /// Since when GitHub has given it up, if it has: it does not list it any more, or as offline.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        let length = if self.latch.is_some() { LOST_JOB } else { OFFLINE_CONFIRMATION };
        match self.registered {
            // It took its job while Dayfly deregistered it, so that says nothing of the job.
            Registered::Gone { .. } if self.latch.is_some() => None,
            _ => self.registered.gone_since().or(self.registered.offline_for(length)),
        }
    }

    /// Its node, if it is on one of a cluster.
    pub(super) fn node(&self) -> Option<&NodeId> {
        self.on_cluster.as_ref()?.node()
    }

    /// Whether its node cannot be reached, while its container may be running there.
    pub(super) fn has_lost_node(&self) -> bool {
        self.takes_room() && self.on_cluster.as_ref().is_some_and(|place| place.is_lost)
    }

    /// Why its cluster has no suitable node for it, if that is so.
    pub(super) fn has_no_node(&self) -> Option<&str> {
        self.on_cluster.as_ref()?.why_nowhere()
    }

    /// Its container, while it exists.
    pub(super) fn container(&self) -> Option<(&HostName, &ContainerId)> {
        match (&self.host, &self.contained) {
            (Some(host), Contained::Present { id, .. }) => Some((host, id)),
            _ => None,
        }
    }

    /// Whether nothing of it is left, and nothing can still appear.
    pub(super) fn is_over(&self) -> bool {
        self.in_flight.is_none()
            && self.attached.is_over()
            && matches!(self.contained, Contained::Never | Contained::Gone { .. })
            && !self.registered.may_exist()
    }

    /// Records what a list shows of its registration.
    pub(super) fn listed(&mut self, registration: &Registration, began: Instant, now: Instant) {
        if let (Registered::Missing { .. }, Some(TakeDown { why: Why::Ghost, stopped: false, .. })) =
            (&self.registered, self.take_down)
        {
            self.take_down = None;
        }
        // Lists lag behind removals as they do behind mints.
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
            // An unknown status changes nothing.
            RunnerStatus::Other(_) => before,
        };
        self.registered = Registered::Listed { id: registration.id, at: began, offline_since };
    }

    /// Records what a list shows of its container, except its exit.
    pub(super) fn found(&mut self, host: &HostName, container: &Container, began: Instant, now: Instant) {
        self.host = Some(host.clone());
        self.template = Some(container.template.clone());
        self.image.clone_from(&container.image);
        self.resources = container.resources;
        self.devices.clone_from(&container.devices);
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
            // A list that began before the start was requested.
            (ContainerState::Created, Contained::Present { life, .. }) => life.clone(),
            (ContainerState::Created, _) => Life::Created { since: now },
            // A list that began before the exit was observed. One that began after it means that something
            // started the container again: see `Fleet::observe`.
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

    /// Records that it does something that only a running container can do: the response to its start was
    /// lost.
    pub(super) fn shows_life(&mut self) {
        if let Contained::Present { life: life @ Life::Created { .. }, .. } = &mut self.contained {
            *life = Life::Up;
        }
    }

    /// Records that it listens for jobs, according to its log.
    pub(super) fn listening(&mut self, now: Instant) {
        self.shows_life();
        if self.ready_at.is_none() {
            self.ready_at = Some(now);
            if let Registered::Listed { offline_since, .. } = &mut self.registered {
                *offline_since = None;
            }
        }
    }

    /// Delays further actions on it, longer each time: from `base` up to 64 times that.
    pub(super) fn retry_later(&mut self, base: Duration, now: Instant) {
        self.retry_at = now + base * (1 << self.retries.min(6));
        self.retries += 1;
    }

    /// Whether its job began while this process observed it: one that was found with its job took it before.
    pub(super) fn was_watched(&self, now: Instant) -> bool {
        self.launched || now.since(self.known_since) >= QUEUE_LAG
    }

    /// Whether only its registration is known, which shows it online: it runs somewhere, possibly on a host
    /// that cannot be listed.
    pub(super) fn runs_elsewhere(&self) -> bool {
        matches!(self.contained, Contained::Never)
            && self.in_flight.is_none()
            && !self.launch_failed
            && matches!(self.registered, Registered::Listed { offline_since: None, .. })
            && self.ready_at.is_some()
    }

    /// The longest time that its container can have run: as reported by the engine, and as observed where
    /// this process launched it.
    pub(super) fn lived(&self, exit: Option<&Exit>, now: Instant) -> Duration {
        let known = if self.launched { now.since(self.known_since) } else { Duration::MAX };
        exit.and_then(|exit| exit.ran).unwrap_or(Duration::MAX).min(known)
    }

    /// How long it was ready for a job.
    fn was_able_for(&self, exit: &Exit, now: Instant) -> Duration {
        let able = match self.ready_at {
            Some(ready_at) if self.launched => now.since(ready_at),
            None if self.launched => Duration::ZERO,
            // Found, not launched: it may have been ready long before.
            _ => Duration::MAX,
        };
        able.min(self.lived(Some(exit), now))
    }

    /// When its launch began. One that this process did not launch began before everything that it has
    /// recorded.
    pub(super) fn begun(&self) -> Instant {
        if self.launched { self.known_since } else { Instant::default() }
    }

    /// The reason for its exit.
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
            // An idle runner exits by itself when its registration is removed.
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
