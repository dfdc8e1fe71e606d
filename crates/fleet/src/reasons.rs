//! The closed sets of reasons and phases, each with its value in logs and metrics, and a text for people
//! where there is more to say.

use serde::Serialize;

/// Defines a closed set of reasons, each with its value in logs and metrics.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value in logs, metrics and the status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// What a runner is doing now.
    Phase {
        /// Its container is running or being launched, and it is not online yet.
        Starting = "starting",
        /// It can take a job.
        Idle = "idle",
        /// It has a job, or had one and its container has not exited yet.
        Busy = "busy",
        /// It is being removed.
        Stopping = "stopping",
        /// Its container exited.
        Finished = "finished",
        /// A registration without a container.
        Orphaned = "orphaned",
        /// A container without a registration.
        Ghost = "ghost",
        /// Its host or scope cannot be listed.
        Unknown = "unknown",
    }
}

reasons! {
    /// Why an action is taken.
    Why {
        /// Launch: fewer runners can take a job than the pool should keep idle.
        Spare = "spare",
        /// Launch: jobs are queued.
        Demand = "demand",
        /// Remove: idle for long and not needed.
        Surplus = "surplus",
        /// Remove: the daemon or its node is draining.
        Draining = "draining",
        /// Remove: its pool was removed from the configuration.
        PoolGone = "pool_gone",
        /// Remove: its container template is outdated.
        Outdated = "outdated",
        /// Remove: it did not come online in time.
        BootTimeout = "boot_timeout",
        /// Remove: it was online, and two listings some time apart show it offline.
        ConnectionLost = "connection_lost",
        /// Remove: GitHub has no registration for it, and it has no job.
        Ghost = "ghost",
        /// Remove: its job took longer than `max_job_age`.
        MaxJobAge = "max_job_age",
        /// Remove: its own engine or its proxy stopped, and it has no job.
        SidecarLost = "sidecar_lost",
        /// Remove: a queued job of a pool with a higher priority needs its room, and it has no job.
        Preempted = "preempted",
        /// Remove: its node cannot be reached, and GitHub lists it as offline.
        NodeLost = "node_lost",
        /// Remove: its container was created but never started.
        NeverStarted = "never_started",
        /// Clean up: its container exited.
        Finished = "finished",
        /// Clean up: a registration without a container.
        Orphaned = "orphaned",
        /// Clean up: what a failed launch left over.
        LaunchFailed = "launch_failed",
    }
}

impl Why {
    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Spare => "to keep min_idle runners idle",
            Self::Demand => "for a queued job",
            Self::Surplus => "more runners are idle than the pool needs",
            Self::Draining => "the daemon or its node is draining",
            Self::PoolGone => "its pool was removed from the configuration",
            Self::Outdated => "its image or container settings are outdated",
            Self::BootTimeout => "it did not come online within boot_timeout",
            Self::ConnectionLost => "GitHub lists it as offline",
            Self::Ghost => "GitHub has no registration for it",
            Self::MaxJobAge => "its job ran longer than max_job_age",
            Self::SidecarLost => "its own Docker Engine or its proxy stopped",
            Self::Preempted => "a queued job of a pool with a higher priority needs its room",
            Self::NodeLost => "its node cannot be reached, and GitHub lists it as offline",
            Self::NeverStarted => "its container was created but never started",
            Self::Finished => "its container has exited",
            Self::Orphaned => "no host has a container for it",
            Self::LaunchFailed => "its launch failed",
        }
    }
}

reasons! {
    /// Why the launches of a pool are paused.
    Held {
        /// Its scope has not been listed since the daemon's start.
        ScopeUnseen = "scope_unseen",
        /// Its host has not been listed, or its image not been checked, since the daemon's start.
        HostUnseen = "host_unseen",
        /// Its host cannot be listed now.
        HostUnreachable = "host_unreachable",
        /// GitHub has limited the rate of requests.
        RateLimited = "rate_limited",
        /// As many runners were minted within a minute as GitHub's limits allow.
        Paced = "paced",
        /// The daemon is draining.
        Draining = "draining",
        /// The host is pulling its image.
        ImagePulling = "image_pulling",
        /// The host does not have its image.
        ImageMissing = "image_missing",
        /// It cannot be checked whether the host has its image.
        ImageUnknown = "image_unknown",
        /// GitHub refuses the image's runner version; retried at long intervals.
        VersionDeprecated = "version_deprecated",
        /// GitHub accepts no more registrations in this group.
        RegistrationLimit = "registration_limit",
        /// GitHub refuses, by permission or by content.
        Refused = "refused",
        /// Launches fail, and are retried with increasing delays.
        BackingOff = "backing_off",
        /// Its scale set has no session yet, so that GitHub assigns it no jobs.
        NoSession = "no_session",
        /// Its scale set is held by another session, perhaps that of another installation.
        SessionTaken = "session_taken",
        /// `max` is reached.
        AtMax = "at_max",
        /// The host's `max_runners` is reached.
        HostFull = "host_full",
        /// The host's memory budget is exhausted.
        HostMemory = "host_memory",
        /// The host's cpu budget is exhausted.
        HostCpus = "host_cpus",
        /// All GPUs of the host are in use.
        HostGpus = "host_gpus",
        /// All exclusive devices of one of the pool's kinds are in use on the host.
        HostDevices = "host_devices",
        /// The host's room is kept for a pool that comes first and needs more than is free.
        HostReserved = "host_reserved",
        /// No node of the host, which is a cluster, is suitable.
        NoNode = "no_node",
        /// The host has no addresses left for another network.
        NetworksExhausted = "networks_exhausted",
        /// The host is low on disk space.
        HostDisk = "host_disk",
    }
}

impl Held {
    /// Whether the host is in use up to a limit, so that there is room again when a runner ends.
    pub(super) const fn is_full(self) -> bool {
        matches!(
            self,
            Self::HostFull
                | Self::HostMemory
                | Self::HostCpus
                | Self::HostGpus
                | Self::HostDevices
                | Self::HostReserved
                | Self::NoNode
        )
    }

    /// Whether it only means that something has not been listed yet, as after every start.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::ScopeUnseen | Self::HostUnseen | Self::NoSession)
    }

    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::ScopeUnseen => {
                "its runners on GitHub have not been listed yet; if this persists, run `dayfly check`"
            }
            Self::HostUnseen => "its host has not been listed yet; if this persists, run `dayfly check`",
            Self::HostUnreachable => "its host cannot be reached",
            Self::RateLimited => "GitHub's rate limit is exhausted; launches resume when it resets",
            Self::Paced => "as many runners were minted in the last minute as GitHub's limits allow",
            Self::Draining => "draining",
            Self::ImagePulling => "its host is pulling its image",
            Self::ImageMissing => "its host does not have its image",
            Self::ImageUnknown => {
                "its host cannot check whether it has its image; run `dayfly check` for the reason"
            }
            Self::VersionDeprecated => "GitHub refuses the image's runner version; use a newer image",
            Self::RegistrationLimit => "its runner group accepts no more runners",
            Self::Refused => {
                "GitHub or the engine refuses to launch runners; run `dayfly check` for the reason"
            }
            Self::BackingOff => "launches fail; retrying with increasing delays",
            Self::NoSession => "its scale set has no session yet, so GitHub assigns no jobs to it",
            Self::SessionTaken => {
                "another session is using its scale set; its runners are kept, and the session is retried"
            }
            Self::AtMax => "max is reached",
            Self::HostFull => "its host's max_runners is reached",
            Self::HostMemory => "its host's memory budget is exhausted",
            Self::HostCpus => "its host's cpu budget is exhausted",
            Self::HostGpus => "all GPUs of its host are in use",
            Self::HostDevices => "all devices of a kind that it needs are in use on its host",
            Self::HostReserved => "the free room of its host is kept for a pool that comes first",
            Self::NoNode => "no node of its host is suitable",
            Self::NetworksExhausted => {
                "its host has no addresses left for another network; enlarge `default-address-pools` in the engine's \
                 daemon.json, or remove unused networks"
            }
            Self::HostDisk => "its host is low on disk space",
        }
    }
}

reasons! {
    /// The job sources of a pool.
    Source {
        /// Polls the queues of repositories.
        Queue = "queue",
        /// GitHub's webhooks, and the lookups that make up for lost ones.
        Webhook = "webhook",
        /// The messages of a runner scale set.
        ScaleSet = "scale_set",
    }
}

impl Source {
    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Queue => "the queues of its repositories",
            Self::Webhook => "webhooks",
            Self::ScaleSet => "its scale set",
        }
    }
}

reasons! {
    /// Why no pool serves a queued job that seems to be meant for these pools, in the order of the checks.
    Unmatched {
        /// It asks for no label, and no pool takes such jobs.
        Unlabelled = "unlabelled",
        /// No pool has all of its labels.
        Labels = "labels",
        /// The runner group does not allow its repository.
        Group = "group",
        /// Its repository is public, which the runner group or the pool does not allow.
        PublicRepository = "public_repository",
        /// The runner group allows other workflows only.
        Workflow = "workflow",
    }
}

impl Unmatched {
    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Unlabelled => "it asks for no labels",
            Self::Labels => "no pool has all of its labels",
            Self::Group => "the runner group does not allow its repository",
            Self::PublicRepository => "its repository is public, which is not allowed",
            Self::Workflow => "the runner group allows other workflows only",
        }
    }
}

reasons! {
    /// Why a removal was cancelled.
    Veto {
        /// The container has a job that GitHub did not report.
        LocalBusy = "local_busy",
        /// GitHub reports that it has a job (422).
        GithubBusy = "github_busy",
        /// A job came after the deregistration.
        LateJob = "late_job",
        /// GitHub had no registration to remove: not a sign of idleness, so the container stays.
        NotFound = "not_found",
        /// GitHub or the engine could not be reached.
        Unanswered = "unanswered",
    }
}

impl Veto {
    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::LocalBusy => "its container has a job",
            Self::GithubBusy => "GitHub reports that it has a job",
            Self::LateJob => "a job arrived after its registration was removed",
            Self::NotFound => "GitHub has no registration for it, so it may have just taken a job",
            Self::Unanswered => "GitHub or its host could not be reached to check for a job; will retry",
        }
    }
}

reasons! {
    /// How a runner's container ended.
    ExitReason {
        /// Its job ended.
        Completed = "completed",
        /// It ended by itself, idle: GitHub or an outage ended its session.
        IdleRemoved = "idle_removed",
        /// Dayfly stopped it.
        DaemonStop = "daemon_stop",
        /// Dayfly stopped it because it did not come online in time.
        BootTimeout = "boot_timeout",
        /// Dayfly stopped it because its job took too long.
        MaxJobAge = "max_job_age",
        /// The kernel killed it, or a process of its job, because memory ran out.
        OutOfMemory = "oom",
        /// Something other than Dayfly killed or stopped it.
        Killed = "killed",
        /// GitHub refuses its version.
        VersionDeprecated = "version_deprecated",
        /// It exited soon after its start, without a job.
        QuickExit = "quick_exit",
        /// Any other failure.
        Failed = "failed",
        /// Its node was lost with it.
        NodeLost = "node_lost",
        /// Its container vanished, and how it ended cannot be known.
        Vanished = "vanished",
    }
}

impl ExitReason {
    /// The same as a text for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Completed => "it exited after its job",
            Self::IdleRemoved => "it exited while idle: GitHub or an outage ended its session",
            Self::DaemonStop => "it was removed by Dayfly",
            Self::BootTimeout => "it was removed because it did not come online within boot_timeout",
            Self::MaxJobAge => "it was removed because its job ran longer than max_job_age",
            Self::OutOfMemory => "the kernel killed it or a process of its job because memory ran out",
            Self::Killed => "it was killed or stopped by something other than Dayfly",
            Self::VersionDeprecated => "GitHub refuses the image's runner version; use a newer image",
            Self::QuickExit => "it exited soon after its start, without a job",
            Self::Failed => "its process exited with an error",
            Self::NodeLost => "its node was lost",
            Self::Vanished => "its container disappeared from the host",
        }
    }

    /// Whether it is a failure, whose log is kept.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Completed | Self::IdleRemoved | Self::DaemonStop)
    }
}

reasons! {
    /// The step at which a runner failed.
    Step {
        /// Minting its registration, or creating and starting its container.
        Launch = "launch",
        /// It was running.
        Run = "run",
        /// It was being removed.
        Removal = "removal",
    }
}
