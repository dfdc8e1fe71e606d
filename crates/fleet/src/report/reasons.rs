//! The closed sets of reasons and phases, each with the word that logs and metrics show, and where people are
//! told more, with a sentence.

use serde::Serialize;

/// Defines a closed set of reasons, each with the word that logs and metrics show.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that logs, metrics and the status page show.
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
        /// Its container is up or on its way, and it is not yet online.
        Starting = "starting",
        /// It can take a job.
        Idle = "idle",
        /// It has a job, or had one and its container has not ended yet.
        Busy = "busy",
        /// It is being taken down.
        Stopping = "stopping",
        /// Its container ended.
        Finished = "finished",
        /// A registration without a container.
        Orphaned = "orphaned",
        /// A container without a registration.
        Ghost = "ghost",
        /// Its host or scope cannot be seen.
        Unknown = "unknown",
    }
}

reasons! {
    /// Why an action is taken.
    Why {
        /// Launch: fewer runners can take a job than the pool keeps idle.
        Spare = "spare",
        /// Launch: jobs are queued.
        Demand = "demand",
        /// Take down: idle for long and not needed.
        Surplus = "surplus",
        /// Take down: the operator drains.
        Draining = "draining",
        /// Take down: its pool is not configured any more.
        PoolGone = "pool_gone",
        /// Take down: its container template is outdated.
        Outdated = "outdated",
        /// Take down: it did not come online in time.
        BootTimeout = "boot_timeout",
        /// Take down: it was online, and two lists apart say that it is not.
        ConnectionLost = "connection_lost",
        /// Take down: GitHub does not know it any more, and it has no job.
        Ghost = "ghost",
        /// Take down: its job took longer than `max_job_age`.
        MaxJobAge = "max_job_age",
        /// Take down: its container was made and never started.
        NeverStarted = "never_started",
        /// Clear away: its container ended.
        Finished = "finished",
        /// Clear away: a registration whose container is nowhere.
        Orphaned = "orphaned",
        /// Clear away: what a failed launch left.
        LaunchFailed = "launch_failed",
    }
}

impl Why {
    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Spare => "to keep min_idle runners idle",
            Self::Demand => "for a queued job",
            Self::Surplus => "more runners are idle than the pool needs",
            Self::Draining => "the daemon drains",
            Self::PoolGone => "its pool is not in the configuration any more",
            Self::Outdated => "its image or container settings are outdated",
            Self::BootTimeout => "it did not come online within boot_timeout",
            Self::ConnectionLost => "GitHub lists it as offline",
            Self::Ghost => "GitHub has no registration for it",
            Self::MaxJobAge => "its job ran longer than max_job_age",
            Self::NeverStarted => "its container was created and never started",
            Self::Finished => "its container has ended",
            Self::Orphaned => "no host has a container for it",
            Self::LaunchFailed => "its launch failed",
        }
    }
}

reasons! {
    /// What holds a pool back from what it wants.
    Held {
        /// Its scope has not been listed since the start.
        ScopeUnseen = "scope_unseen",
        /// Its host has not been listed, or not asked for the image, since the start.
        HostUnseen = "host_unseen",
        /// Its host cannot be seen now.
        HostUnreachable = "host_unreachable",
        /// GitHub asked to slow down.
        RateLimited = "rate_limited",
        /// As many runners were minted within a minute as GitHub's limits allow.
        Paced = "paced",
        /// The operator drains.
        Draining = "draining",
        /// The host does not have its image yet, and pulls it.
        ImagePulling = "image_pulling",
        /// The host does not have its image.
        ImageMissing = "image_missing",
        /// The host does not say whether it has its image.
        ImageUnknown = "image_unknown",
        /// GitHub refuses the image's runner version; probed slowly.
        VersionDeprecated = "version_deprecated",
        /// GitHub takes no more registrations in this group.
        RegistrationLimit = "registration_limit",
        /// GitHub refuses, by permission or by content.
        Refused = "refused",
        /// Launches fail; tried again ever more slowly.
        BackingOff = "backing_off",
        /// Its scale set has no session yet, so that GitHub assigns it no jobs.
        NoSession = "no_session",
        /// Its scale set is held by another session, perhaps that of another installation.
        SessionTaken = "session_taken",
        /// `max` is reached.
        AtMax = "at_max",
        /// The host's `max_runners` is reached.
        HostFull = "host_full",
        /// The host's memory budget is used up.
        HostMemory = "host_memory",
        /// The host's processor budget is used up.
        HostCpus = "host_cpus",
        /// The host is short of disk.
        HostDisk = "host_disk",
    }
}

impl Held {
    /// Whether it says only that something has not been seen yet, which is so after every start.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::ScopeUnseen | Self::HostUnseen | Self::NoSession)
    }

    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::ScopeUnseen => "its runners at GitHub could not be listed yet; `dayfly check` says why",
            Self::HostUnseen => "its host could not be reached yet; `dayfly check` says why",
            Self::HostUnreachable => "its host cannot be reached",
            Self::RateLimited => "GitHub's rate limit is used up; it waits",
            Self::Paced => "as many runners were minted in the last minute as GitHub's limits allow",
            Self::Draining => "draining",
            Self::ImagePulling => "its host is pulling its image",
            Self::ImageMissing => "its host does not have its image",
            Self::ImageUnknown => "its host does not say whether it has its image; `dayfly check` says why",
            Self::VersionDeprecated => "GitHub refuses the image's runner version; use a newer image",
            Self::RegistrationLimit => "its runner group takes no more runners",
            Self::Refused => "GitHub or the engine refuses; `dayfly check` says why",
            Self::BackingOff => "launches fail; each attempt waits longer than the one before",
            Self::NoSession => "its scale set has no session yet, so that GitHub gives it no jobs",
            Self::SessionTaken => {
                "its scale set is held by another session; its runners are kept, and it waits"
            }
            Self::AtMax => "max is reached",
            Self::HostFull => "its host's max_runners is reached",
            Self::HostMemory => "its host's memory budget is used up",
            Self::HostCpus => "its host's cpu budget is used up",
            Self::HostDisk => "its host is short of disk",
        }
    }
}

reasons! {
    /// Where a pool learns of waiting jobs.
    Source {
        /// Looks at the queues of repositories.
        Queue = "queue",
        /// GitHub's webhooks, and what repairs those that were lost.
        Webhook = "webhook",
        /// The messages of a runner scale set.
        ScaleSet = "scale_set",
    }
}

impl Source {
    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Queue => "the queues of its repositories",
            Self::Webhook => "webhooks",
            Self::ScaleSet => "its scale set",
        }
    }
}

reasons! {
    /// Why a queued job that looks as if it were ours is no pool's, in the order of the checks.
    Unmatched {
        /// It asks for no label, and no pool takes such jobs.
        Unlabelled = "unlabelled",
        /// No pool has all of its labels.
        Labels = "labels",
        /// The runner group does not admit its repository.
        Group = "group",
        /// Its repository is public, which the runner group or the pool does not allow.
        PublicRepository = "public_repository",
        /// The runner group admits other workflows only.
        Workflow = "workflow",
    }
}

impl Unmatched {
    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Unlabelled => "it asks for no label",
            Self::Labels => "no pool has all of its labels",
            Self::Group => "the runner group does not admit its repository",
            Self::PublicRepository => "its repository is public, which is not allowed",
            Self::Workflow => "the runner group admits other workflows only",
        }
    }
}

reasons! {
    /// Who refused a removal.
    Veto {
        /// The container has a job, which GitHub did not say.
        LocalBusy = "local_busy",
        /// GitHub says that it has a job (422).
        GithubBusy = "github_busy",
        /// A job came after the deregistration.
        LateJob = "late_job",
        /// GitHub had no registration to remove: not a sign of idleness, so the container stays.
        NotFound = "not_found",
        /// GitHub or the engine could not be asked.
        Unanswered = "unanswered",
    }
}

impl Veto {
    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::LocalBusy => "its container has a job",
            Self::GithubBusy => "GitHub says that it has a job",
            Self::LateJob => "a job arrived after its registration was removed",
            Self::NotFound => "GitHub has no registration for it, so it may have just taken a job",
            Self::Unanswered => "GitHub or its host did not say whether it has a job; will try again",
        }
    }
}

reasons! {
    /// How a runner ended.
    ExitReason {
        /// It had its job.
        Completed = "completed",
        /// It ended by itself, idle: GitHub or an outage ended its session.
        IdleRemoved = "idle_removed",
        /// We stopped it.
        DaemonStop = "daemon_stop",
        /// We stopped it, since it did not come online in time.
        BootTimeout = "boot_timeout",
        /// We stopped it, since its job took too long.
        MaxJobAge = "max_job_age",
        /// The kernel killed it, or a process of its job, for want of memory.
        OutOfMemory = "oom",
        /// Somebody else killed or stopped it.
        Killed = "killed",
        /// GitHub refuses its version.
        VersionDeprecated = "version_deprecated",
        /// It ended soon after its start, without a job.
        QuickExit = "quick_exit",
        /// Any other failure.
        Failed = "failed",
        /// Its container vanished, and how it ended cannot be known.
        Vanished = "vanished",
    }
}

impl ExitReason {
    /// The same, for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Completed => "it ended after its job",
            Self::IdleRemoved => "it ended while idle: GitHub or an outage ended its session",
            Self::DaemonStop => "it was removed by Dayfly",
            Self::BootTimeout => "it was removed because it did not come online within boot_timeout",
            Self::MaxJobAge => "it was removed because its job ran longer than max_job_age",
            Self::OutOfMemory => "the kernel killed it or a process of its job because memory ran out",
            Self::Killed => "it was killed or stopped by something other than Dayfly",
            Self::VersionDeprecated => "GitHub refuses the image's runner version; use a newer image",
            Self::QuickExit => "it ended soon after its start, without a job",
            Self::Failed => "its process failed",
            Self::Vanished => "its container disappeared from the host",
        }
    }

    /// Whether people will want to know why: its log is kept.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Completed | Self::IdleRemoved | Self::DaemonStop)
    }
}
