//! Lists a Swarm: the services of this instance with their tasks, its secrets, and the nodes.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bollard::{
    models::{ContainerSummary, Node as ListedNode, Service, Task},
    query_parameters::{
        ListNodesOptions, ListSecretsOptionsBuilder, ListServicesOptionsBuilder, ListTasksOptionsBuilder,
    },
};
use futures_util::{StreamExt as _, stream};
use tokio::{time::Instant, try_join};
use tracing::{debug, warn};

use super::{
    shared::{AT_REST, Known, Swarm},
    spec::Form,
    state::{self, LABEL_DRAIN, Seen, State},
};
use crate::{
    fleet::{
        Attachment, AttachmentKind, Cluster, Container, ContainerId, ContainerState, Node, PREFIX, Resources,
        RunnerName,
    },
    host::{
        HostError, Listed,
        call::Call,
        container::{LABEL_INSTANCE, Ours, is_plain_name, runner_of},
        engine::boxed,
    },
    text::chain,
};

/// When a Swarm with runners is listed again, whose ends only a list shows.
const WITH_RUNNERS: Duration = Duration::from_secs(1);

/// The same while tasks are about to run.
const WHILE_STARTING: Duration = Duration::from_millis(250);

/// A list is repeated after this many times its own duration at the earliest.
const SHARE: u32 = 10;

/// Logs of ended tasks that are read at once.
const ENDS: usize = 8;

/// How long the exit of a service that was removed may be asked for.
const EXIT_KEPT: Duration = Duration::from_mins(5);

/// How often what others reserve is read, which needs a list of all tasks.
const OTHERS: Duration = Duration::from_secs(10);

impl Swarm {
    pub(super) async fn list_all(&self) -> Result<Listed, HostError> {
        let began = Instant::now();
        // Nodes first: one that is paused by then gets nothing that the tasks listed after it do not show.
        let listed_nodes = self.listed_nodes().await?;
        let (services, attachments) = try_join!(self.services(), self.secrets())?;
        let names = names_of(&services);
        let tasks = if names.is_empty() { Vec::new() } else { self.tasks_named(names).await? };
        let is_to_be_drained = |node: &ListedNode| {
            node.spec
                .as_ref()
                .and_then(|spec| spec.labels.as_ref())
                .is_some_and(|l| l.contains_key(LABEL_DRAIN))
        };
        self.read_others(&services, listed_nodes.iter().any(is_to_be_drained)).await;
        *self.0.form.lock() = form_of(&listed_nodes);
        let nodes: Vec<Node> = {
            let others = self.0.others.lock();
            listed_nodes.into_iter().filter_map(|node| state::node(node, &others.others)).collect()
        };
        self.remember(&services, &tasks, &nodes, began);
        self.read_ends().await;
        let mut listed = Listed { attachments, ..Listed::default() };
        let mut cluster = Cluster { nodes, ..Cluster::default() };
        for service in &services {
            let Some((ours, resources)) = self.ours(service) else { continue };
            let Some(known) = self.recall(&ours.id) else { continue };
            if let Some(placed) = known.task.as_ref().and_then(Seen::placed) {
                cluster.runners.insert(ours.runner.clone(), placed);
            }
            let is_over = known.task.as_ref().is_some_and(|seen| matches!(seen.state, State::Over(_)));
            let state = match known.exit.filter(|_| is_over) {
                Some(exit) => ContainerState::Down(exit),
                None => ContainerState::Up,
            };
            let Ours { id, runner, registration, scope, template, image, devices, .. } = ours;
            listed.containers.push(Container {
                id,
                runner,
                registration,
                scope,
                template,
                image,
                resources,
                devices,
                state,
            });
        }
        *self.0.relist_after.lock() = self.pace().max(began.elapsed() * SHARE);
        self.0.listed.send_replace(());
        listed.cluster = Some(cluster);
        Ok(listed)
    }

    async fn services(&self) -> Result<Vec<Service>, HostError> {
        let label = format!("{LABEL_INSTANCE}={}", self.manager().instance());
        let options =
            ListServicesOptionsBuilder::new().filters(&HashMap::from([("label", vec![label])])).build();
        let listed = self
            .engine()
            .request(Call::ListServices, |docker| {
                boxed(async move { docker.list_services(Some(options)).await })
            })
            .await?;
        Ok(listed)
    }

    pub(super) async fn listed_nodes(&self) -> Result<Vec<ListedNode>, HostError> {
        let listed = self
            .engine()
            .request(Call::ListNodes, |docker| {
                boxed(async move { docker.list_nodes(None::<ListNodesOptions>).await })
            })
            .await?;
        Ok(listed)
    }

    /// The secrets of this instance's runners.
    pub(super) async fn secrets(&self) -> Result<Vec<Attachment>, HostError> {
        let label = format!("{LABEL_INSTANCE}={}", self.manager().instance());
        let options =
            ListSecretsOptionsBuilder::new().filters(&HashMap::from([("label", vec![label])])).build();
        let listed = self
            .engine()
            .request(Call::ListSecrets, |docker| {
                boxed(async move { docker.list_secrets(Some(options)).await })
            })
            .await?;
        let attachment = |secret: bollard::models::Secret| {
            let labels = secret.spec?.labels?;
            let runner = labels.get(crate::host::LABEL_RUNNER).map(String::as_str);
            Some(Attachment {
                runner: runner_of(runner, self.manager().instance()).ok()?,
                kind: AttachmentKind::Secret,
                id: secret.id.filter(|id| is_plain_name(id))?,
            })
        };
        Ok(listed.into_iter().filter_map(attachment).collect())
    }

    /// Reads what others take of the nodes, if that is due or needed now. Without it their reservations are not known, and the Swarm
    /// itself refuses what has no room.
    async fn read_others(&self, ours: &[Service], now: bool) {
        let is_due = self.0.others.lock().at.is_none_or(|at| at.elapsed() >= OTHERS);
        if !is_due && !now {
            return;
        }
        let listed = self.running_tasks().await;
        let mut seen = self.0.others.lock();
        seen.at = Some(Instant::now());
        match listed {
            Ok(tasks) => seen.others = state::others(&tasks, ours),
            Err(error) => {
                debug!(host = %self.engine().host, error = chain(&error), "cannot list the tasks of others");
            }
        }
    }

    /// All tasks that run or are to run, of all services.
    pub(super) async fn running_tasks(&self) -> Result<Vec<Task>, HostError> {
        let options = ListTasksOptionsBuilder::new()
            .filters(&HashMap::from([("desired-state", ["running", "complete"].map(str::to_owned).to_vec())]))
            .build();
        let listed = self
            .engine()
            .request(Call::ListTasks, |docker| boxed(async move { docker.list_tasks(Some(options)).await }))
            .await?;
        Ok(listed)
    }

    /// Records the tasks of this instance's services, and forgets the services that are gone.
    fn remember(&self, services: &[Service], tasks: &[Task], nodes: &[Node], began: Instant) {
        let mut by_service: HashMap<&str, Vec<&Task>> = HashMap::new();
        for task in tasks {
            by_service.entry(task.service_id.as_deref().unwrap_or_default()).or_default().push(task);
        }
        let mut present = BTreeSet::new();
        let mut known = self.0.known.lock();
        for service in services {
            let Some((ours, _)) = self.ours(service) else { continue };
            let tasks = by_service.get(&*ours.id.0).map(Vec::as_slice).unwrap_or_default();
            let seen = state::task_of(tasks.iter().copied()).filter(|seen| is_plain_name(&seen.id));
            let entry = known.entry(ours.id.clone()).or_insert_with(|| Known::new(ours.runner.clone()));
            let node = seen.as_ref().and_then(|seen| seen.node.as_ref());
            entry.is_reachable =
                node.is_none_or(|node| nodes.iter().any(|listed| listed.id == *node && listed.reachable));
            entry.task = seen.or_else(|| entry.task.take());
            present.insert(ours.id);
        }
        // One that was created after the list began, or whose exit is still to be asked for, is kept.
        known.retain(|id, known| {
            let is_to_be_asked = known.exit.is_some() && known.since.elapsed() < EXIT_KEPT;
            present.contains(id) || known.since >= began || is_to_be_asked
        });
    }

    /// Reads how the tasks ended that have just ended. One whose log cannot be read counts as running until the next list,
    /// and then its end is reported without the log.
    async fn read_ends(&self) {
        let ended: Vec<(ContainerId, Seen, bool)> = self
            .0
            .known
            .lock()
            .iter()
            .filter(|(_, known)| known.exit.is_none())
            .filter_map(|(id, known)| Some((id.clone(), known.task.clone()?, known)))
            .filter(|(_, seen, _)| matches!(seen.state, State::Over(_)))
            .map(|(id, seen, known)| (id, seen, known.is_reachable && known.unread == 0))
            .collect();
        let read = stream::iter(ended).map(|(id, seen, with_log)| async move {
            let exit = self.exit_of(&seen, with_log).await;
            (id, exit)
        });
        let read: Vec<_> = read.buffer_unordered(ENDS).collect().await;
        for (id, exit) in read {
            let mut known = self.0.known.lock();
            let Some(known) = known.get_mut(&id) else { continue };
            match exit {
                Ok(exit) => known.exit = Some(exit),
                Err(_) => known.unread += 1,
            }
        }
    }

    /// A service of this instance as a container, with its limits.
    fn ours(&self, service: &Service) -> Option<(Ours, Resources)> {
        let id = ContainerId(service.id.as_deref().filter(|id| is_plain_name(id))?.into());
        let spec = service.spec.as_ref()?;
        let task = spec.task_template.as_ref();
        let container = task.and_then(|task| task.container_spec.as_ref());
        let summary = ContainerSummary {
            names: spec.name.clone().map(|name| vec![name]),
            labels: spec.labels.clone(),
            image_id: container.and_then(|container| container.image.clone()),
            ..ContainerSummary::default()
        };
        let limits = task.and_then(|task| task.resources.as_ref()?.limits.as_ref());
        let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let resources = limits.map_or_else(Resources::default, |limits| Resources {
            memory: positive(limits.memory_bytes),
            cpu_millis: positive(limits.nano_cpus) / 1_000_000,
        });
        match Ours::read(&summary, id.clone(), self.manager().instance()) {
            Ok(ours) => Some((ours, resources)),
            Err(why) => {
                if self.manager().memory().first_warning(&id) {
                    warn!(
                        host = %self.engine().host, service = %id, why,
                        "ignored a service with this instance's label that is not one of its runners"
                    );
                }
                None
            }
        }
    }

    /// When to list again, by what the runners are doing.
    fn pace(&self) -> Duration {
        let known = self.0.known.lock();
        let is_starting = |known: &Known| match &known.task {
            None => known.exit.is_none(),
            Some(seen) => matches!(seen.state, State::Before(None)),
        };
        if known.values().any(is_starting) {
            WHILE_STARTING
        } else if known.values().any(|known| known.exit.is_none()) {
            WITH_RUNNERS
        } else {
            AT_REST
        }
    }
}

/// The form of services that all nodes can run.
fn form_of(nodes: &[ListedNode]) -> Form {
    let version = |node: &ListedNode| node.description.as_ref()?.engine.as_ref()?.engine_version.clone();
    let versions: Vec<String> = nodes.iter().map(|node| version(node).unwrap_or_default()).collect();
    Form::of(versions.iter().map(String::as_str))
}

/// What the names of these services begin with, up to the part that differs from runner to runner.
fn names_of(services: &[Service]) -> Vec<String> {
    let name = |service: &Service| service.spec.as_ref()?.name.as_deref().and_then(RunnerName::parse);
    let all: BTreeSet<String> = services
        .iter()
        .filter_map(name)
        .map(|name| format!("{PREFIX}-{}-{}-", name.pool(), name.instance()))
        .collect();
    all.into_iter().collect()
}
