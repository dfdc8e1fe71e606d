//! What the edges have observed: plain facts, each with the time at which the observation began, and the
//! outcomes of actions. Nothing is decided here.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    attachment::Attachment,
    cluster::{Cluster, NodeId},
    destination::Destination,
    devices::Devices,
    job::{GroupPolicy, Job, JobFacts, JobId, JobOrigin, JobState},
    name::{HostName, PoolName, RunnerName},
    reasons::Source,
    scope::Scope,
    template::{Resources, TemplateDigest},
    template_parts::FilesDigest,
    time::{ClockReading, Instant, Timestamp},
};

/// GitHub's id of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct RegistrationId(pub u64);

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The engine's id of a container. Edges create it only from ids that are safe in a path.
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

/// Whether a runner is connected, as reported by GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerStatus {
    /// Connected.
    Online,
    /// Not connected, or not yet.
    Offline,
    /// A status that this version does not know; proves nothing.
    Other(String),
}

/// GitHub's record of a runner, of this instance or any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub id: RegistrationId,
    pub name: String,
    pub status: RunnerStatus,
    /// Whether it has a job. `true` is reliable; `false` lags by up to a minute.
    pub busy: bool,
}

/// A container of this instance, as reported by the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub id: ContainerId,
    /// The runner it was created for, from its label.
    pub runner: RunnerName,
    /// The runner's registration, from its label.
    pub registration: Option<RegistrationId>,
    /// The scope of that registration, from its label.
    pub scope: Option<Scope>,
    /// The template it was created from, from its label.
    pub template: TemplateDigest,
    /// The engine's id of the image that it runs.
    pub image: Option<String>,
    pub resources: Resources,
    /// What it has for itself, from its label.
    pub devices: Devices,
    pub state: ContainerState,
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Created but never started.
    Created,
    /// Running (or paused, or restarting: any state that may hold a live runner).
    Up,
    /// No longer running.
    Down(Exit),
}

/// How a container exited, collected before it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When it exited, by the engine's clock; only for display.
    pub at: Timestamp,
    /// How long the container ran, between two times of the engine's clock. `None` where one is missing.
    pub ran: Option<Duration>,
    /// Exit code of its first process. The runner's wrapper turns nearly everything into 0.
    pub code: i64,
    /// Whether the kernel killed any of its processes because memory ran out.
    pub out_of_memory: bool,
    /// The job in its log.
    pub job: Option<String>,
    /// The result of the job in its log.
    pub result: Option<String>,
    /// Whether its log says that GitHub refuses this runner version.
    pub version_deprecated: bool,
    /// The end of its log, for display.
    pub log_tail: Arc<str>,
}

impl Exit {
    /// The exit code of a runner whose version GitHub refuses (`Constants.cs` in actions/runner).
    pub const VERSION_DEPRECATED: i64 = 7;
}

/// What a runner reported in its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `Listening for Jobs`: it is connected and can take a job.
    Listening,
    /// `Running job: …`: it has a job.
    RunningJob {
        job: String,
        /// When the job began, by the clock of the engine's machine.
        began: Option<Timestamp>,
    },
    /// `Job … completed with result: …`.
    JobCompleted(String),
}

/// The result of checking a container for a job, just before a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupation {
    /// Neither its log nor its processes show a job.
    Idle,
    /// It has a job, with its name where the log has it.
    Busy(Option<String>),
    /// It is no longer running.
    Down,
}

/// Why a request to a scope or host failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// How long to wait before a retry, where the other side asked for it.
    pub retry_after: Option<Duration>,
    /// The whole chain of causes, as text.
    pub detail: String,
}

/// The kinds of failures that decisions depend on; each is also a metric's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// GitHub: the name exists (409).
    NameTaken,
    /// GitHub: the group accepts no more registrations (422).
    RegistrationLimit,
    /// GitHub: refused for good, by permission or by content (401, 403, 404, 422).
    Refused,
    /// GitHub: rate limited.
    RateLimited,
    /// GitHub: failed, timed out, or gave an unusable response.
    GithubFailed,
    /// GitHub: another session gets the pool's jobs.
    SessionTaken,
    /// A file on this machine that the pool's template names cannot be used.
    TemplateFile,
    /// Engine: no such image.
    ImageMissing,
    /// Engine: refused the request (400, 409).
    EngineRefused,
    /// Engine: failed, timed out or cannot be reached.
    EngineFailed,
    /// Engine: the runner's own engine did not answer in time.
    DindNotReady,
    /// Engine: the runner's proxy did not answer in time.
    EgressNotReady,
    /// Engine: no addresses are left for another network.
    NetworksExhausted,
    /// This process or machine cannot open more files or connections; neither side is at fault.
    OutOfFiles,
}

impl TroubleKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::NameTaken,
        Self::RegistrationLimit,
        Self::Refused,
        Self::RateLimited,
        Self::GithubFailed,
        Self::SessionTaken,
        Self::TemplateFile,
        Self::ImageMissing,
        Self::EngineRefused,
        Self::EngineFailed,
        Self::DindNotReady,
        Self::EgressNotReady,
        Self::NetworksExhausted,
        Self::OutOfFiles,
    ];

    /// Whether it is one host's, so that the pool's runners may well start on another.
    pub(super) const fn is_of_host(self) -> bool {
        match self {
            Self::ImageMissing
            | Self::EngineRefused
            | Self::EngineFailed
            | Self::DindNotReady
            | Self::EgressNotReady
            | Self::NetworksExhausted => true,
            Self::NameTaken
            | Self::RegistrationLimit
            | Self::Refused
            | Self::RateLimited
            | Self::GithubFailed
            | Self::SessionTaken
            | Self::TemplateFile
            | Self::OutOfFiles => false,
        }
    }

    /// The kind as the value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameTaken => "name_taken",
            Self::RegistrationLimit => "registration_limit",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::GithubFailed => "github_failed",
            Self::SessionTaken => "session_taken",
            Self::TemplateFile => "template_file",
            Self::ImageMissing => "image_missing",
            Self::EngineRefused => "engine_refused",
            Self::EngineFailed => "engine_failed",
            Self::DindNotReady => "dind_not_ready",
            Self::EgressNotReady => "egress_not_ready",
            Self::NetworksExhausted => "networks_exhausted",
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
    /// It is present, with this id, which changes when the image does.
    Present(String),
    /// It is being pulled.
    Pulling,
    /// It is missing, and why it could not be pulled.
    Missing(String),
    /// It could not be checked, and why. Does not replace an earlier result.
    Unknown(String),
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// When it began.
    pub since: Instant,
    /// Layers that are complete, those that were present before included.
    pub layers_done: u32,
    /// Layers that the registry has announced so far.
    pub layers: u32,
    /// Bytes that have been downloaded, as they are compressed in the registry.
    pub bytes: u64,
    /// Bytes of all layers whose size is known; the engine reports it when the download of a layer begins.
    pub bytes_known: u64,
}

/// The outcome of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launched {
    /// The container is running.
    Up { registration: RegistrationId, container: ContainerId },
    /// The launch failed.
    Failed {
        registration: Minted,
        /// The container, if it was created; it is not running.
        container: Option<ContainerId>,
        trouble: Trouble,
    },
}

/// What a failed launch left on GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minted {
    /// Nothing: GitHub refused.
    No,
    /// A registration.
    Yes(RegistrationId),
    /// The response was lost: possibly a registration.
    Perhaps,
}

/// The outcome of a deregistration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deregistered {
    /// GitHub removed it (204).
    Removed,
    /// It did not exist (404). That does not mean that the runner is idle.
    NotFound,
    /// GitHub reports that it has a job (422).
    Busy,
    /// The container has a job; no request was sent to GitHub.
    Vetoed(Option<String>),
    /// The request failed.
    Failed(Trouble),
}

/// The outcome of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It is no longer running.
    Down,
    /// The container has a job, and was not stopped.
    Vetoed(Option<String>),
    /// It could not be checked or stopped.
    Failed(Trouble),
}

/// The outcome of the removal of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, or was gone already.
    Gone,
    /// It still exists.
    Failed(Trouble),
}

/// One observed fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A complete list of a scope's registrations.
    Registrations {
        scope: Scope,
        /// When the first page was asked for.
        began: Instant,
        registrations: Vec<Registration>,
        /// Pools whose runners may be missing from it: some of them could not be listed.
        unseen: Vec<PoolName>,
    },
    /// A scope's registrations could not be listed completely.
    ScopeTrouble { scope: Scope, trouble: Trouble },
    /// A complete list of a host's containers with this instance's label, and of what was made beside them.
    Containers { host: HostName, began: Instant, containers: Vec<Container>, attachments: Vec<Attachment> },
    /// A host's containers could not be listed.
    HostTrouble { host: HostName, trouble: Trouble },
    /// A runner's log had a line of interest.
    Said {
        runner: RunnerName,
        said: Said,
        /// The clock of the engine's machine, which the times in the log refer to.
        clock: ClockReading,
    },
    /// A container exited, and how has not been read yet: [`Exited`](Self::Exited) or a list follows.
    Died {
        runner: RunnerName,
        /// Exit code of its first process.
        code: i64,
    },
    /// A container exited.
    Exited { runner: RunnerName, exit: Exit },
    /// The kernel killed a process of a container because memory ran out; the container may still be running.
    OutOfMemory { runner: RunnerName },
    /// A runner's proxy has had this many requests to a destination so far.
    Destination { runner: RunnerName, destination: Destination, requests: u64 },
    /// Whether a host has an image.
    Image { host: HostName, image: String, state: ImageState },
    /// The content of the files that a pool's template names, whenever it may have changed.
    TemplateFiles { pool: PoolName, files: FilesDigest },
    /// How far the pull of an image to a host is; `None` when it has ended.
    Pull { host: HostName, image: String, progress: Option<PullProgress> },
    /// A host has less free disk space than it should keep, or enough again.
    DiskLow { host: HostName, low: bool },
    /// The machines of a host that is a cluster, and where its runners are.
    Cluster { host: HostName, cluster: Cluster },
    /// The outcome of draining a node of a cluster; why it failed, if it did.
    NodeDrained { host: HostName, node: NodeId, trouble: Option<Trouble> },
    /// What a host's machine has; 0 is not known.
    HostSize { host: HostName, size: Resources },
    /// A complete listing of a repository's queue: all jobs that have not finished.
    Queue {
        repository: Scope,
        began: Instant,
        /// The jobs and their states.
        jobs: Vec<(Job, JobState)>,
    },
    /// The state of one job, from its record on GitHub or from a webhook.
    Job {
        job: Job,
        state: JobState,
        /// When the request began, or when the webhook arrived.
        at: Instant,
        /// Whether it is from a request to GitHub, and thus the state at that moment. A webhook is a hint,
        /// which may be late, duplicated or out of order.
        asked: bool,
    },
    /// GitHub no longer has a job that was looked up.
    JobGone { repository: Scope, job: JobId, at: Instant },
    /// A runner has a job, as reported where GitHub assigns jobs to a pool.
    Took { runner: String, facts: Arc<JobFacts>, queued_at: Instant },
    /// Where the jobs of a run come from.
    Origin { repository: Scope, run_id: u64, origin: JobOrigin },
    /// The job of a runner has finished and is no longer assigned, as reported by GitHub. Must follow
    /// the [`Assigned`](Self::Assigned) of the same message.
    JobOver { runner: String },
    /// How many jobs GitHub has assigned to a pool, including running ones.
    Assigned {
        pool: PoolName,
        /// `None` when it is not known, because another session uses the set.
        jobs: Option<u32>,
        /// When the response arrived.
        at: Instant,
    },
    /// Whether a pool's job source works.
    Source {
        pool: PoolName,
        source: Source,
        /// Why it fails; `None` when it works.
        trouble: Option<Trouble>,
    },
    /// A scope's runner groups, as far as its pools use them.
    Groups { scope: Scope, groups: Vec<GroupPolicy> },
    /// This machine was suspended, for this long since the last such report.
    Slept(Duration),
    /// A reading of this machine's wall clock, which schedules use. Must be given before every plan, since
    /// the clock may be set at any time.
    WallClock(ClockReading),
    /// The outcome of a launch.
    Launch { runner: RunnerName, outcome: Launched },
    /// The outcome of a deregistration.
    Deregister { runner: RunnerName, outcome: Deregistered },
    /// The outcome of a stop.
    Stop { runner: RunnerName, outcome: Stopped },
    /// How a removal went.
    Remove { runner: RunnerName, outcome: Removed },
    /// The operator has requested a drain, or ended it.
    Drain(bool),
}
