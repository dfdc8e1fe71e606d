//! What the edges have seen: plain facts with when the look began, and the outcomes of actions.
//! Nothing here decides anything.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    job::{GroupPolicy, Job, JobFacts, JobId, JobState},
    name::{HostName, PoolName, RunnerName},
    pool::{Resources, TemplateDigest},
    report::Source,
    scope::Scope,
    time::{ClockReading, Instant, Timestamp},
};

/// GitHub's number for a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct RegistrationId(pub u64);

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The engine's id of a container. Edges make it only from ids that are safe in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct ContainerId(pub Arc<str>);

impl ContainerId {
    /// Its first twelve characters, as Docker shows it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a runner is connected, as GitHub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerStatus {
    /// Connected.
    Online,
    /// Not connected, or not yet.
    Offline,
    /// A word that this version does not know; proves nothing.
    Other(String),
}

/// GitHub's record of a runner: anybody's, not only ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// GitHub's number.
    pub id: RegistrationId,
    /// The name it was minted with.
    pub name: String,
    /// Whether it is connected.
    pub status: RunnerStatus,
    /// Whether it has a job. `true` can be believed; `false` lags by up to a minute.
    pub busy: bool,
}

/// A container of ours, as the engine says.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The engine's id.
    pub id: ContainerId,
    /// The runner it was made for, from its label.
    pub runner: RunnerName,
    /// The runner's registration, from its label.
    pub registration: Option<RegistrationId>,
    /// Where that registration is, from its label.
    pub scope: Option<Scope>,
    /// What it was made from, from its label.
    pub template: TemplateDigest,
    /// The engine's id of the image that it runs.
    pub image: Option<String>,
    /// Its limits.
    pub resources: Resources,
    /// What it is doing.
    pub state: ContainerState,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made but never started.
    Created,
    /// Running (or paused, or restarting: whatever may hold a live runner).
    Up,
    /// Not running any more.
    Down(Exit),
}

/// How a container ended, collected before it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When, by the engine's clock; for people.
    pub at: Timestamp,
    /// How long the container ran: both its times are of the engine's clock. `None` where one is missing.
    pub ran: Option<Duration>,
    /// Exit code of its first process. The runner's wrapper turns nearly everything into 0.
    pub code: i64,
    /// Whether the kernel killed any of its processes because memory ran out.
    pub out_of_memory: bool,
    /// The job that its log says it ran.
    pub job: Option<String>,
    /// The result that its log says the job had.
    pub result: Option<String>,
    /// Whether its log says that GitHub refuses this runner version.
    pub version_deprecated: bool,
    /// The end of its log, for people.
    pub log_tail: Arc<str>,
}

impl Exit {
    /// The exit code of a runner whose version GitHub refuses (`Constants.cs` in actions/runner).
    pub const VERSION_DEPRECATED: i64 = 7;
}

/// What a runner said in its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `Listening for Jobs`: it is connected and can take one.
    Listening,
    /// `Running job: …`: it has one.
    RunningJob {
        /// The job's display name.
        job: String,
        /// When it began, by the clock of the engine's machine.
        began: Option<Timestamp>,
    },
    /// `Job … completed with result: …`.
    JobCompleted(String),
}

/// What a container answers when it is asked, just before a stop, whether it has a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupation {
    /// Neither its log nor its processes show a job.
    Idle,
    /// It has a job, by name where the log tells it.
    Busy(Option<String>),
    /// It does not run any more.
    Down,
}

/// Why a scope or host did not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// How long to wait before it is worth trying again, where the other side said so.
    pub retry_after: Option<Duration>,
    /// The whole chain of causes, for people.
    pub detail: String,
}

/// The kinds of trouble that decisions differ by; each is also a metric's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// GitHub: the name exists (409).
    NameTaken,
    /// GitHub: no more registrations fit into the group (422).
    RegistrationLimit,
    /// GitHub: refused for good, by permission or by content (401, 403, 404, 422).
    Refused,
    /// GitHub: asked to slow down.
    RateLimited,
    /// GitHub: failed, timed out, or gave an answer that cannot be used.
    GithubFailed,
    /// GitHub: the scale set is held by another session.
    SessionTaken,
    /// Engine: no such image.
    ImageMissing,
    /// Engine: refused what was asked (400, 409).
    EngineRefused,
    /// Engine: failed, timed out or cannot be reached.
    EngineFailed,
    /// This process, or this machine, can open no more files or connections: neither side is to blame.
    OutOfFiles,
}

impl TroubleKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::NameTaken,
        Self::RegistrationLimit,
        Self::Refused,
        Self::RateLimited,
        Self::GithubFailed,
        Self::SessionTaken,
        Self::ImageMissing,
        Self::EngineRefused,
        Self::EngineFailed,
        Self::OutOfFiles,
    ];

    /// The kind as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameTaken => "name_taken",
            Self::RegistrationLimit => "registration_limit",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::GithubFailed => "github_failed",
            Self::SessionTaken => "session_taken",
            Self::ImageMissing => "image_missing",
            Self::EngineRefused => "engine_refused",
            Self::EngineFailed => "engine_failed",
            Self::OutOfFiles => "out_of_files",
        }
    }
}

impl serde::Serialize for TroubleKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether an engine has a pool's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// It has it, under this id, which changes when the image does.
    Present(String),
    /// It does not, and is pulling it.
    Pulling,
    /// It does not, and why it could not be pulled.
    Missing(String),
    /// The engine does not say, and why. Says nothing where more is known.
    Unknown(String),
}

/// How a launch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launched {
    /// The container runs.
    Up {
        /// The registration that was minted.
        registration: RegistrationId,
        /// The container that was started.
        container: ContainerId,
    },
    /// It does not.
    Failed {
        /// What is known of the registration.
        registration: Minted,
        /// The container, if it was made; it is not running.
        container: Option<ContainerId>,
        /// Why.
        trouble: Trouble,
    },
}

/// What a failed launch left at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minted {
    /// Nothing: GitHub said no.
    No,
    /// A registration.
    Yes(RegistrationId),
    /// The answer was lost: perhaps a registration.
    Perhaps,
}

/// How a deregistration went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deregistered {
    /// GitHub removed it (204).
    Removed,
    /// It was not there (404). That is not a sign of idleness.
    NotFound,
    /// GitHub reports that it has a job (422).
    Busy,
    /// The container itself says that it has a job; GitHub was not asked.
    Vetoed(Option<String>),
    /// Neither side could be asked.
    Failed(Trouble),
}

/// How a stop went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It does not run any more.
    Down,
    /// The container says that it has a job, and was left alone.
    Vetoed(Option<String>),
    /// It could not be asked or stopped.
    Failed(Trouble),
}

/// How the removal of a container went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, or was already.
    Gone,
    /// It is still there.
    Failed(Trouble),
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A complete list of a scope's registrations.
    Registrations {
        /// The scope.
        scope: Scope,
        /// When the first page was asked for.
        began: Instant,
        /// Everybody's runners.
        registrations: Vec<Registration>,
        /// Pools whose runners may be missing from it: their scale sets could not be listed.
        unseen: Vec<PoolName>,
    },
    /// A scope's registrations could not be listed, or not completely.
    ScopeTrouble {
        /// The scope.
        scope: Scope,
        /// Why.
        trouble: Trouble,
    },
    /// A complete list of a host's containers that bear our instance.
    Containers {
        /// The host.
        host: HostName,
        /// When the list was asked for.
        began: Instant,
        /// Ours.
        containers: Vec<Container>,
    },
    /// A host cannot be seen.
    HostTrouble {
        /// The host.
        host: HostName,
        /// Why.
        trouble: Trouble,
    },
    /// A runner's log had something to tell.
    Said {
        /// The runner.
        runner: RunnerName,
        /// What.
        said: Said,
        /// The clock of the engine's machine, by which the log is dated.
        clock: ClockReading,
    },
    /// A container ended, and how is not read yet: [`Exited`](Self::Exited) follows, or a list.
    Died {
        /// The runner.
        runner: RunnerName,
        /// Exit code of its first process.
        code: i64,
    },
    /// A container ended.
    Exited {
        /// The runner.
        runner: RunnerName,
        /// How.
        exit: Exit,
    },
    /// The kernel killed a process of a container because memory ran out; the container may live on.
    OutOfMemory {
        /// The runner.
        runner: RunnerName,
    },
    /// Whether a host has an image.
    Image {
        /// The host.
        host: HostName,
        /// The image reference of a template.
        image: String,
        /// Whether it is there.
        state: ImageState,
    },
    /// A host has less free disk than it should keep, or again enough.
    DiskLow {
        /// The host.
        host: HostName,
        /// Whether it is low.
        low: bool,
    },
    /// A complete look at a repository's queue: all jobs that are not over.
    Queue {
        /// The repository.
        repository: Scope,
        /// When the look began.
        began: Instant,
        /// The jobs, and how far each is.
        jobs: Vec<(Job, JobState)>,
    },
    /// What one job's own record said when it was asked for, or what a webhook said of it.
    Job {
        /// The job.
        job: Job,
        /// How far it is.
        state: JobState,
        /// When the look began, or when the webhook came.
        at: Instant,
        /// Whether GitHub was asked: then it is the truth of that moment. A webhook is a hint, which
        /// may be late, doubled or out of order.
        asked: bool,
    },
    /// GitHub does not have a job any more that it was asked for.
    JobGone {
        /// Its repository.
        repository: Scope,
        /// The job.
        job: JobId,
        /// When the look began.
        at: Instant,
    },
    /// A runner has a job, as its scale set says.
    Took {
        /// The runner's name.
        runner: String,
        /// The job.
        facts: Arc<JobFacts>,
        /// When it was queued.
        queued_at: Instant,
    },
    /// The job of a runner is over and not assigned any more, as its scale set says. To be told after
    /// the [`Assigned`](Self::Assigned) of the same message.
    JobOver {
        /// The runner's name.
        runner: String,
    },
    /// How many jobs GitHub has assigned to a scale set, those that run included.
    Assigned {
        /// The pool.
        pool: PoolName,
        /// How many; `None` when nobody can say any more, since the set is not ours now.
        jobs: Option<u32>,
        /// When the answer came that says so.
        at: Instant,
    },
    /// Whether a pool's source of waiting jobs works.
    Source {
        /// The pool.
        pool: PoolName,
        /// The source.
        source: Source,
        /// Why it does not; `None` when it does.
        trouble: Option<Trouble>,
    },
    /// A scope's runner groups, as far as its pools use them.
    Groups {
        /// The scope.
        scope: Scope,
        /// The groups.
        groups: Vec<GroupPolicy>,
    },
    /// This machine was suspended, for so long since this was told last.
    Slept(Duration),
    /// What this machine's wall clock shows, by which schedules go. To be told before every plan, since it may be
    /// set at any time.
    WallClock(ClockReading),
    /// How a launch went.
    Launch {
        /// The runner.
        runner: RunnerName,
        /// How.
        outcome: Launched,
    },
    /// How a deregistration went.
    Deregister {
        /// The runner.
        runner: RunnerName,
        /// How.
        outcome: Deregistered,
    },
    /// How a stop went.
    Stop {
        /// The runner.
        runner: RunnerName,
        /// How.
        outcome: Stopped,
    },
    /// How a removal went.
    Remove {
        /// The runner.
        runner: RunnerName,
        /// How.
        outcome: Removed,
    },
    /// The operator wants all runners gone that have no job, or not any more.
    Drain(bool),
}
