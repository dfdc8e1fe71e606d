//! The environment of a test on a Swarm: a daemon, and both nodes.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command},
    sync::Mutex,
    time::Duration,
};

use bollard::{
    Docker,
    models::{
        ContainerSummary, Node, NodeSpec, NodeSpecAvailabilityEnum, ResourceObject, Service, ServiceSpec,
        ServiceSpecMode, ServiceSpecModeReplicated, Task, TaskSpec, TaskSpecContainerSpec, TaskSpecResources,
    },
    query_parameters::{
        ListContainersOptionsBuilder, ListNodesOptions, ListSecretsOptionsBuilder,
        ListServicesOptionsBuilder, ListTasksOptions, UpdateNodeOptionsBuilder,
    },
};
use dayfly::host::{LABEL_INSTANCE, LABEL_RUNNER};
use tokio::time::timeout;

use crate::{
    engine::{self, LABEL_TEST},
    engines::{TestEngine, skipped},
    world::{self, DEADLINE, Pool, World, clear, quick, until},
};

/// A Swarm with one daemon.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) manager: Docker,
    pub(crate) worker: Docker,
    pub(crate) at: [TestEngine; 2],
    /// Held until all is cleared.
    _turn: File,
}

/// Removes everything of the test from the Swarm, and makes its nodes as they were.
impl Drop for Site {
    fn drop(&mut self) {
        self.world.halt();
        if std::thread::panicking() {
            // It may have been disturbed when the test failed.
            for what in ["resume", "reconnect", "start"] {
                disturb(what, "worker");
            }
        }
        let [manager, worker] = self.at.clone();
        let instance = self.world.instance.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let docker = engine::connect(&manager).await;
                for label in [LABEL_INSTANCE, LABEL_TEST] {
                    for service in services(&docker, label, &instance).await {
                        docker.delete_service(&service.id.unwrap()).await.unwrap();
                    }
                }
                until("no task is left", async || {
                    let left = tasks(&docker, &instance).await.is_empty();
                    left.then_some(())
                })
                .await;
                for secret in secrets(&docker, &instance).await {
                    docker.delete_secret(&secret).await.unwrap();
                }
                for node in docker.list_nodes(None::<ListNodesOptions>).await.unwrap() {
                    change_node(&docker, node, |spec| {
                        spec.labels = None;
                        spec.availability = Some(NodeSpecAvailabilityEnum::ACTIVE);
                    })
                    .await;
                }
            });
            clear(&worker, &instance);
        })
        .join()
        .unwrap_or_else(|_| assert!(std::thread::panicking(), "the Swarm could not be cleared"));
    }
}

/// The manager and the worker of a Swarm: `DAYFLY_TEST_SWARM_MANAGER` and `DAYFLY_TEST_SWARM_WORKER`.
fn nodes() -> Option<(TestEngine, TestEngine)> {
    let variable = |name: &str| std::env::var(format!("DAYFLY_TEST_SWARM_{name}")).ok();
    let host = variable("HOST_ADDRESS")?.parse().expect("this machine's address");
    let node = |name: &str| {
        let socket = variable(name)?.strip_prefix("unix://").map(str::to_owned)?;
        Some(TestEngine { socket, host })
    };
    Some((node("MANAGER")?, node("WORKER")?))
}

impl Site {
    /// Without a Swarm, prints that the test was skipped.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let Some((manager, worker)) = nodes() else {
            skipped(&format!("{test}: DAYFLY_TEST_SWARM_MANAGER is not set; see tests/engines/with"));
            return None;
        };
        // Other tests, of this process or of another, wait.
        let turn = tokio::task::spawn_blocking(|| engine::turn_of("swarm")).await.unwrap();
        let mut world = World::on(manager.clone(), quick()).await;
        world.extra.push_str("\nhosts.local.engine = \"swarm\"");
        let at = [manager, worker];
        let (manager, worker) = (engine::connect(&at[0]).await, engine::connect(&at[1]).await);
        engine::image(&worker, &world.instance).await;
        Some(Self { world, manager, worker, at, _turn: turn })
    }

    pub(crate) async fn start(&mut self, pools: &[&Pool]) {
        self.world.configure(pools);
        self.world.start().await;
    }

    pub(crate) async fn services(&self) -> Vec<Service> {
        services(&self.manager, LABEL_INSTANCE, &self.world.instance).await
    }

    /// The ids of all services of the instance.
    pub(crate) async fn service_ids(&self) -> BTreeSet<String> {
        self.services().await.into_iter().filter_map(|service| service.id).collect()
    }

    pub(crate) async fn secrets(&self) -> Vec<String> {
        secrets(&self.manager, &self.world.instance).await
    }

    /// An image with a shell, on both nodes.
    pub(crate) async fn image_with_shell(&self) -> String {
        engine::image_with_shell(&self.worker, &self.world.instance).await;
        engine::image_with_shell(&self.manager, &self.world.instance).await
    }

    pub(crate) async fn tasks(&self) -> Vec<Task> {
        tasks(&self.manager, &self.world.instance).await
    }

    /// The ids of the nodes on which runners are.
    pub(crate) async fn nodes_of_runners(&self) -> BTreeSet<String> {
        self.tasks().await.into_iter().filter_map(|task| task.node_id).collect()
    }

    async fn node(&self, name: &str) -> Node {
        let nodes = self.manager.list_nodes(None::<ListNodesOptions>).await.unwrap();
        let named =
            |node: &Node| node.description.as_ref().and_then(|of| of.hostname.as_deref()) == Some(name);
        nodes.into_iter().find(named).unwrap_or_else(|| panic!("there is a node {name}"))
    }

    async fn change(&self, node: &str, change: impl FnOnce(&mut NodeSpec)) {
        change_node(&self.manager, self.node(node).await, change).await;
    }

    pub(crate) async fn pause(&self, node: &str) {
        self.change(node, |spec| spec.availability = Some(NodeSpecAvailabilityEnum::PAUSE)).await;
    }

    pub(crate) async fn resume(&self, node: &str) {
        self.change(node, |spec| spec.availability = Some(NodeSpecAvailabilityEnum::ACTIVE)).await;
    }

    pub(crate) async fn label(&self, node: &str, label: &str, value: &str) {
        self.change(node, |spec| {
            spec.labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
        })
        .await;
    }

    /// A service of someone else that reserves all but a little memory of each node; returns its id.
    pub(crate) async fn reserve_nearly_all(&self) -> String {
        let nodes = self.manager.list_nodes(None::<ListNodesOptions>).await.unwrap();
        let memory = |node: &Node| node.description.as_ref()?.resources.as_ref()?.memory_bytes;
        let least = nodes.iter().filter_map(memory).min().unwrap();
        let spec = ServiceSpec {
            name: Some(format!("other-{}", self.world.instance)),
            labels: Some(HashMap::from([(LABEL_TEST.to_owned(), self.world.instance.clone())])),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(2) }),
                ..ServiceSpecMode::default()
            }),
            task_template: Some(TaskSpec {
                container_spec: Some(TaskSpecContainerSpec {
                    image: Some(self.world.image.clone()),
                    command: Some(["/dayfly", "egress-proxy", "--mode", "audit"].map(str::to_owned).into()),
                    ..TaskSpecContainerSpec::default()
                }),
                resources: Some(TaskSpecResources {
                    reservations: Some(ResourceObject {
                        memory_bytes: Some(least - (1 << 30)),
                        ..ResourceObject::default()
                    }),
                    ..TaskSpecResources::default()
                }),
                ..TaskSpec::default()
            }),
            ..ServiceSpec::default()
        };
        self.manager.create_service(spec, None).await.unwrap().id.unwrap()
    }

    /// Where containers reach the simulated GitHub.
    pub(crate) fn github_address(&self) -> IpAddr {
        self.at[0].host
    }

    /// The group of the manager's socket.
    pub(crate) fn group_of_socket(&self) -> u32 {
        fs::metadata(&self.at[0].socket).unwrap().gid()
    }

    /// Starts `dayfly nodes` with these arguments.
    pub(crate) fn nodes_command(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(engine::BINARY);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).arg("nodes").args(arguments);
        command.arg("--config").arg(self.world.config()).spawn().unwrap()
    }

    /// Waits until nothing of the instance is left: no service, task, secret or container on either node.
    pub(crate) async fn is_clean(&self) {
        let seen = Mutex::new(Vec::new());
        let clean = timeout(DEADLINE, async {
            loop {
                let left = self.left().await;
                if left.is_empty() {
                    return;
                }
                *seen.lock().unwrap() = left;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(clean.await.is_ok(), "there are left: {:#?}", seen.lock().unwrap());
    }

    /// Waits until the nodes have the containers of the daemon's runners, and no others of the instance.
    pub(crate) async fn only_runs_runners(&self) {
        until("there is one container for each runner", async || {
            let mut found = 0;
            for engine in [&self.manager, &self.worker] {
                found += containers(engine, &self.world.instance).await.len();
            }
            (found == self.world.status().await.runners.len()).then_some(())
        })
        .await;
    }

    /// What there is of the instance.
    pub(crate) async fn left(&self) -> Vec<String> {
        let instance = &self.world.instance;
        let services = self.services().await;
        let mut left: Vec<String> = services
            .iter()
            .map(|service| format!("service {:?}", service.spec.as_ref().map(|s| &s.name)))
            .collect();
        left.extend(self.tasks().await.iter().map(|task| {
            format!("task {:?} {:?} {:?} of {:?}", task.id, task.desired_state, task.status, task.service_id)
        }));
        left.extend(self.secrets().await.into_iter().map(|secret| format!("secret {secret}")));
        for (name, engine) in [("manager", &self.manager), ("worker", &self.worker)] {
            let found = containers(engine, instance).await;
            left.extend(found.into_iter().map(|container| format!("{container} on {name}")));
        }
        left
    }
}

/// A pool on the Swarm. Its image has no shell that could read a secret.
pub(crate) fn on_swarm(name: &str) -> Pool {
    world::pool(name, "acme").container("jit_config = \"environment\"")
}

/// Does something to a node, `manager` or `worker`, by the script of the test engines.
pub(crate) fn disturb(what: &str, node: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/node");
    let status = Command::new(script).args([what, node]).status().unwrap();
    assert!(status.success() || std::thread::panicking(), "{what} {node}");
}

async fn change_node(docker: &Docker, node: Node, change: impl FnOnce(&mut NodeSpec)) {
    let mut spec = node.spec.unwrap();
    change(&mut spec);
    let version = node.version.unwrap().index.unwrap().try_into().unwrap();
    let options = UpdateNodeOptionsBuilder::new().version(version).build();
    docker.update_node(&node.id.unwrap(), spec, options).await.unwrap();
}

async fn services(docker: &Docker, label: &str, instance: &str) -> Vec<Service> {
    let filters = HashMap::from([("label", vec![format!("{label}={instance}")])]);
    let options = ListServicesOptionsBuilder::new().filters(&filters).build();
    docker.list_services(Some(options)).await.unwrap()
}

async fn secrets(docker: &Docker, instance: &str) -> Vec<String> {
    let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
    let options = ListSecretsOptionsBuilder::new().filters(&filters).build();
    let listed = docker.list_secrets(Some(options)).await.unwrap();
    listed.into_iter().filter_map(|secret| secret.id).collect()
}

/// All tasks of an instance's runners, also of services that are gone.
async fn tasks(docker: &Docker, instance: &str) -> Vec<Task> {
    let listed = docker.list_tasks(None::<ListTasksOptions>).await.unwrap();
    let is_of = |task: &Task| {
        let labels = task.spec.as_ref().and_then(|spec| spec.container_spec.as_ref()?.labels.as_ref());
        labels.and_then(|labels| labels.get(LABEL_RUNNER)).is_some_and(|runner| runner.contains(instance))
    };
    listed.into_iter().filter(is_of).collect()
}

/// The containers of an instance's runners that an engine has, in any state.
async fn containers(docker: &Docker, instance: &str) -> Vec<String> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let listed = docker.list_containers(Some(options)).await.unwrap();
    let shown = |container: ContainerSummary| {
        let names = container.names.unwrap_or_default();
        let is_of = names.iter().any(|name| name.contains(&format!("-{instance}-")));
        is_of.then(|| format!("container {names:?} ({:?})", container.status))
    };
    listed.into_iter().filter_map(shown).collect()
}
