//! A Docker Engine as a [`Host`]: every call is one or a few requests, and succeeds if there is nothing to
//! do.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64},
    },
    time::{Duration, Instant},
};

use bollard::{
    models::{
        ContainerStateStatusEnum, ContainerSummary, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum,
        SystemVersionComponents,
    },
    query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptionsBuilder},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::{
    Host, HostError, Launch, LaunchError, Listed, Preparation, Prepared, TemplateFiles,
    attachments::{cache_volume::Caches, labels::is_attachment},
    bases::Bases,
    call::Call,
    connect::Endpoint,
    container::{self, Condition, LABEL_INSTANCE, Ours, is_plain_name, plain},
    engine::{Deadlines, Engine, Fault, Reporter, boxed},
    lenient,
    log::Story,
    memory::Memory,
};
use crate::{
    clock,
    fleet::{
        ClockReading, Container, ContainerId, ContainerState, Exit, FilesDigest, HostName, InstanceId,
        NodeId, Occupation, Pool, Resources, RunnerName, Template,
    },
};

/// Concurrent inspections: an engine answers about this many as fast as one.
const INSPECTIONS: usize = 8;

/// One Docker Engine. Clones share their connection and their memory.
#[derive(Clone)]
pub struct Docker(Arc<Inner>);

struct Inner {
    engine: Engine,
    instance: InstanceId,
    memory: Mutex<Memory>,
    /// The last reading of the clock of the engine's machine.
    clock: Mutex<Option<ClockReading>>,
    last_event: AtomicI64,
    /// A list shows an exit that no event has reported.
    unreported: Notify,
    /// Changes when the streams of this engine turn out to be stale.
    streams: watch::Sender<()>,
    /// Whether there may be networks or volumes that were made for runners: most installations make none, and need
    /// not list them.
    has_attachments: AtomicBool,
    /// Whether the engine can set the usual limit of open files; `None` until a launch has shown it.
    limits_files: Mutex<Option<bool>>,
    /// The copies of runners that new ones are made from.
    bases: Bases,
    caches: Caches,
}

/// Whose engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Docker,
    Podman,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker Engine",
            Self::Podman => "Podman",
        })
    }
}

/// Facts about an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub product: Product,
    pub version: String,
    pub api_version: String,
    /// Operating system of its containers, such as `linux`.
    pub os: String,
    /// Processor architecture, such as `x86_64`.
    pub architecture: String,
    /// Memory of its machine, in bytes.
    pub memory: u64,
    pub cpus: u32,
    /// A reading of the clock of its machine; `None` where it does not report it.
    pub clock: Option<ClockReading>,
    /// Directory on its machine that holds images and containers.
    pub storage_root: String,
    pub runtimes: BTreeSet<String>,
    /// The limits of containers that it ignores, such as `memory`: a rootless engine without cgroup v2 does.
    pub ignored_limits: Vec<&'static str>,
    /// Whether it can list the processes of a container: not without control groups.
    pub lists_processes: bool,
}

/// How long an engine may take to answer a ping.
const PING: Duration = Duration::from_secs(3);

/// A clock that differs by this many seconds is reported.
const SKEW_REPORTED: i64 = 60;

impl Facts {
    /// How many seconds the clock of the engine's machine is ahead of this machine's, if that is much.
    pub fn skew(&self, wall: ClockReading) -> Option<i64> {
        let ahead = self.clock?.ahead_of(wall) / 1000;
        (ahead.abs() >= SKEW_REPORTED).then_some(ahead)
    }
}

impl Docker {
    /// The engine at `endpoint`. It connects with the first call, so the engine may be down now.
    pub fn new(host: HostName, endpoint: Endpoint, instance: InstanceId, reporter: Reporter) -> Self {
        Self::with_deadlines(host, endpoint, instance, reporter, Deadlines::default())
    }

    /// The same with other deadlines.
    pub fn with_deadlines(
        host: HostName,
        endpoint: Endpoint,
        instance: InstanceId,
        reporter: Reporter,
        deadlines: Deadlines,
    ) -> Self {
        Self(Arc::new(Inner {
            engine: Engine::new(host, endpoint, reporter, deadlines),
            instance,
            memory: Mutex::default(),
            clock: Mutex::default(),
            last_event: AtomicI64::new(0),
            unreported: Notify::new(),
            streams: watch::Sender::default(),
            has_attachments: AtomicBool::new(true),
            limits_files: Mutex::default(),
            bases: Bases::default(),
            caches: Caches::default(),
        }))
    }

    /// Facts about the engine; also a check that it responds at all.
    pub async fn facts(&self) -> Result<Facts, HostError> {
        let version =
            self.engine().request(Call::Version, |docker| async move { docker.version().await }).await?;
        let info =
            self.engine().request(Call::Info, |docker| boxed(async move { docker.info().await })).await?;
        // Podman names itself among its components, and the version is that of its own.
        let is_podman = |component: &SystemVersionComponents| component.name.starts_with("Podman");
        let components = version.components.unwrap_or_default();
        let product = if components.iter().any(is_podman) { Product::Podman } else { Product::Docker };
        let limits = [("memory", info.memory_limit), ("cpus", info.cpu_cfs_quota), ("pids", info.pids_limit)];
        // Podman reports them as possible even so.
        let is_rootless = info.security_options.iter().flatten().any(|option| option == "name=rootless");
        let has_none = is_rootless && info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_1);
        let ignored = limits.into_iter().filter(|(_, possible)| has_none || *possible == Some(false));
        let shown = info.system_time.as_deref().and_then(|time| time.parse().ok());
        let clock = shown.map(|shown| ClockReading { at: clock::now(), shown });
        *self.0.clock.lock() = clock;
        Ok(Facts {
            product,
            clock,
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            os: version.os.unwrap_or_default(),
            architecture: info.architecture.or(version.arch).unwrap_or_default(),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            cpus: info.ncpu.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            storage_root: info.docker_root_dir.unwrap_or_default(),
            runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
            ignored_limits: ignored.map(|(limit, _)| limit).collect(),
            lists_processes: info.cgroup_driver != Some(SystemInfoCgroupDriverEnum::NONE),
        })
    }

    /// Whether the engine answers at all, within three seconds: a ping waits for nothing that it does.
    pub async fn ping(&self) -> Result<(), HostError> {
        let ping = |docker: bollard::Docker| async move { docker.ping().await };
        match self.engine().request_within(PING, &[], Call::Ping, ping).await {
            // A proxy may refuse it.
            Ok(_) | Err(Fault::Said(..)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The last reading of the clock of the engine's machine; that of this machine before there is one.
    pub fn clock(&self) -> ClockReading {
        self.0.clock.lock().unwrap_or_else(clock::wall)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Whether the engine can set the usual limit of open files; `None` until a launch has shown it.
    pub(super) fn can_limit_files(&self) -> Option<bool> {
        *self.0.limits_files.lock()
    }

    pub(super) fn learn_limit_of_files(&self, possible: bool) {
        *self.0.limits_files.lock() = Some(possible);
    }

    pub(super) fn instance(&self) -> &InstanceId {
        &self.0.instance
    }

    pub(super) fn has_attachments(&self) -> &AtomicBool {
        &self.0.has_attachments
    }

    pub(super) fn bases(&self) -> &Bases {
        &self.0.bases
    }

    pub(super) fn caches(&self) -> &Caches {
        &self.0.caches
    }

    pub(super) fn last_event(&self) -> &AtomicI64 {
        &self.0.last_event
    }

    /// Waits until a list shows an exit that no event has reported.
    pub(super) async fn unreported_end(&self) {
        self.0.unreported.notified().await;
    }

    /// Changes when the streams of this engine turn out to be stale.
    pub(super) fn streams(&self) -> &watch::Sender<()> {
        &self.0.streams
    }

    /// What the lock protects is consistent after each statement, so a panic elsewhere does not break it.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock()
    }

    /// Completes a listed container with what only an inspection shows; `None` when it has disappeared.
    async fn complete(&self, ours: Ours) -> Result<Option<Container>, HostError> {
        if ours.condition == Some(Condition::Down) && self.memory().listed_down(&ours.id) {
            self.0.unreported.notify_one();
        }
        let known = self.memory().recall(&ours.id, ours.condition);
        let (resources, state) = match known {
            Some(known) => known,
            None => match self.learn(&ours.id).await? {
                Some(learned) => learned,
                None => return Ok(None),
            },
        };
        let Ours { id, runner, registration, scope, template, image, devices, .. } = ours;
        Ok(Some(Container { id, runner, registration, scope, template, image, resources, devices, state }))
    }

    async fn learn(&self, id: &ContainerId) -> Result<Option<(Resources, ContainerState)>, HostError> {
        let died = self.memory().has_died(id);
        let Some(inspected) = self.inspect(id).await? else { return Ok(None) };
        let resources = container::resources(&inspected);
        let engine_state = inspected.state.unwrap_or_default();
        let (state, exit) = match container::condition(&engine_state) {
            Condition::Created => (ContainerState::Created, None),
            Condition::Up => (ContainerState::Up, None),
            Condition::Down => {
                let Some(exit) = self.ended(id, &engine_state).await? else { return Ok(None) };
                (ContainerState::Down(exit.clone()), Some(exit))
            }
        };
        self.memory().inspected(id, resources, exit, died);
        Ok(Some((resources, state)))
    }
}

impl Host for Docker {
    type Files = TemplateFiles;
    type Prepared = Prepared;

    async fn list(&self) -> Result<Listed, HostError> {
        let began = Instant::now();
        let label = format!("{LABEL_INSTANCE}={}", self.0.instance);
        let filters = HashMap::from([("label", vec![label])]);
        let listed = self
            .engine()
            .request(Call::List, |docker| async move { lenient::list_containers(&docker, &filters).await })
            .await?;
        let (sidecars, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_attachment);
        let ours = self.ours(&listed, began);
        let containers: Vec<_> = stream::iter(ours)
            .map(|ours| self.complete(ours))
            .buffer_unordered(INSPECTIONS)
            .try_filter_map(|container| ready(Ok(container)))
            .try_collect()
            .await?;
        let attachments = self.attachments(&sidecars).await?;
        Ok(Listed { containers, attachments, cluster: None })
    }

    async fn read_files(&self, template: &Template) -> Result<TemplateFiles, HostError> {
        TemplateFiles::read(template).await.map_err(|error| HostError::TemplateFile(error.into()))
    }

    fn digest(files: &TemplateFiles) -> FilesDigest {
        files.digest()
    }

    async fn prepare(&self, runner: Preparation<'_>) -> Result<Prepared, HostError> {
        self.make_attachments(runner).await
    }

    async fn create(&self, launch: Launch<'_>) -> Result<ContainerId, HostError> {
        self.create_container(&launch, self.can_limit_files() == Some(true)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        Ok(self.start_container(id).await?)
    }

    async fn launch(&self, launch: Launch<'_>) -> Result<ContainerId, LaunchError> {
        self.launch_runner(&launch).await
    }

    async fn occupation(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        if self.condition(id).await? != Some(Condition::Up) {
            return Ok(Occupation::Down);
        }
        // Processes first: the runner writes its line before it starts the worker, so a runner that shows
        // neither was idle when the processes were listed.
        let works = self.works(id).await;
        let story = self.story(id).await;
        match (works, story) {
            (_, Ok(Story { job: Some(job), .. })) => Ok(Occupation::Busy(Some(job))),
            (Ok(true), _) => Ok(Occupation::Busy(None)),
            (Ok(false), Ok(_)) => Ok(Occupation::Idle),
            (Err(fault), _) | (_, Err(fault)) => {
                // It may have exited during the check.
                if self.condition(id).await? == Some(Condition::Up) {
                    Err(fault.into())
                } else {
                    Ok(Occupation::Down)
                }
            }
        }
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), HostError> {
        let text = plain(id)?;
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let deadline = grace.saturating_add(self.engine().deadlines.of(Call::Stop));
        let stopped = self
            .engine()
            .request_within(deadline, &[], Call::Stop, |docker| async move {
                docker.stop_container(&text, Some(options)).await
            })
            .await;
        match stopped {
            // bollard treats "not running" (304) as a success.
            Ok(()) => Ok(()),
            Err(fault) if fault.is(404) => Ok(()),
            Err(fault) => match self.condition(id).await {
                Ok(None | Some(Condition::Down)) => Ok(()),
                Ok(Some(Condition::Up | Condition::Created)) | Err(_) => Err(fault.into()),
            },
        }
    }

    async fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, HostError> {
        match self.learn(id).await? {
            Some((_, ContainerState::Down(exit))) => Ok(Some(exit)),
            Some((_, ContainerState::Created | ContainerState::Up)) | None => Ok(None),
        }
    }

    async fn promote(&self, runner: &RunnerName, pool: &Pool) -> Result<(), HostError> {
        self.promote_copies(runner, pool).await
    }

    async fn drain_node(&self, node: &NodeId) -> Result<(), HostError> {
        Err(HostError::Refused(format!("there is no node {}: the host is one machine", node.0)))
    }

    async fn detach(&self, runner: &RunnerName) -> Result<(), HostError> {
        self.remove_attachments(runner).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), HostError> {
        let fault = match self.remove_once(id, false).await {
            Ok(()) => return Ok(()),
            Err(fault @ Fault::Silent(_)) => return Err(fault.into()),
            Err(fault) => fault,
        };
        // 409 is returned both for a running container and for a removal in progress.
        let Some(inspected) = self.inspect(id).await? else { return Ok(()) };
        let state = inspected.state.unwrap_or_default();
        match state.status {
            Some(ContainerStateStatusEnum::REMOVING) => Ok(()),
            // A removal failed half-way; nothing is running any more, and only force removes the rest.
            Some(ContainerStateStatusEnum::DEAD) => Ok(self.remove_once(id, true).await?),
            _ => Err(fault.into()),
        }
    }
}

impl Docker {
    /// Selects this instance's containers from a list, warns once of each with this instance's label that is
    /// not one of its runners, and drops what is gone.
    fn ours(&self, listed: &[ContainerSummary], began: Instant) -> Vec<Ours> {
        let (mut present, mut ours) = (BTreeSet::new(), Vec::new());
        for summary in listed {
            let Some(id) = summary.id.as_deref().filter(|id| is_plain_name(id)) else { continue };
            let id = ContainerId(id.into());
            present.insert(id.clone());
            match Ours::read(summary, id.clone(), &self.0.instance) {
                Ok(one) => ours.push(one),
                Err(why) => {
                    if self.memory().first_warning(&id) {
                        tracing::warn!(
                            host = %self.engine().host, container = %id, why,
                            "ignored a container with this instance's label that is not one of its runners"
                        );
                    }
                }
            }
        }
        self.memory().retain(&present, began);
        ours
    }

    pub(super) async fn remove_once(&self, id: &ContainerId, force: bool) -> Result<(), Fault> {
        self.remove_as(Call::Remove, id, force).await
    }

    pub(super) async fn remove_as(&self, call: Call, id: &ContainerId, force: bool) -> Result<(), Fault> {
        let id = plain(id).map_err(Fault::Silent)?;
        // With its anonymous volumes, never with named ones.
        let options = RemoveContainerOptionsBuilder::new().v(true).force(force).build();
        let removed = self
            .engine()
            .request(call, |docker| async move { docker.remove_container(&id, Some(options)).await })
            .await;
        match removed {
            Err(fault) if fault.is(404) => Ok(()),
            other => other,
        }
    }
}
