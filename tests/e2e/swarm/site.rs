//! The environment of a test on a Swarm: a daemon, and both nodes.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    process::Command,
};

use bollard::{
    Docker,
    models::{Node, NodeSpecAvailabilityEnum, Service, Task},
    query_parameters::{
        ListNodesOptions, ListSecretsOptionsBuilder, ListServicesOptionsBuilder, ListTasksOptions,
        UpdateNodeOptionsBuilder,
    },
};
use dayfly::host::{LABEL_DRAIN, LABEL_INSTANCE, LABEL_RUNNER};

use crate::{
    engine,
    engines::{TestEngine, skipped},
    world::{Pool, World, clear, pool, quick, until},
};

/// A Swarm with one daemon.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) manager: Docker,
    pub(crate) worker: Docker,
    at: [TestEngine; 2],
}

/// Removes everything of the test from the Swarm, and makes its nodes as they were.
impl Drop for Site {
    fn drop(&mut self) {
        self.world.halt();
        let [manager, worker] = self.at.clone();
        let instance = self.world.instance.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let docker = engine::connect(&manager).await;
                for service in services(&docker, &instance).await {
                    docker.delete_service(&service.id.unwrap()).await.unwrap();
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
                    let Node { id: Some(id), version: Some(version), spec: Some(mut spec), .. } = node else {
                        continue;
                    };
                    let labels = spec.labels.get_or_insert_default();
                    labels.remove(LABEL_DRAIN);
                    spec.availability = Some(NodeSpecAvailabilityEnum::ACTIVE);
                    let version = version.index.unwrap().try_into().unwrap();
                    let options = UpdateNodeOptionsBuilder::new().version(version).build();
                    docker.update_node(&id, spec, options).await.unwrap();
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
        let mut world = World::on(manager.clone(), quick()).await;
        world.extra.push_str("\nhosts.local.engine = \"swarm\"");
        let at = [manager, worker];
        let (manager, worker) = (engine::connect(&at[0]).await, engine::connect(&at[1]).await);
        engine::image(&worker, &world.instance).await;
        Some(Self { world, manager, worker, at })
    }

    /// A pool on the Swarm. Its image has no shell that could read a secret.
    pub(crate) fn pool(&self, name: &str) -> Pool {
        pool(name, "acme").container("jit_config = \"environment\"")
    }

    pub(crate) async fn start(&mut self, pools: &[&Pool]) {
        self.world.configure(pools);
        self.world.start().await;
    }

    pub(crate) async fn services(&self) -> Vec<Service> {
        services(&self.manager, &self.world.instance).await
    }

    pub(crate) async fn tasks(&self) -> Vec<Task> {
        tasks(&self.manager, &self.world.instance).await
    }

    /// The ids of the nodes on which runners are.
    pub(crate) async fn nodes_of_runners(&self) -> BTreeSet<String> {
        self.tasks().await.into_iter().filter_map(|task| task.node_id).collect()
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        let nodes = self.manager.list_nodes(None::<ListNodesOptions>).await.unwrap();
        let named =
            |node: &Node| node.description.as_ref().and_then(|of| of.hostname.as_deref()) == Some(name);
        nodes.into_iter().find(named).unwrap_or_else(|| panic!("there is a node {name}"))
    }

    /// Waits until nothing of the instance is left: no service, task, secret or container on either node.
    pub(crate) async fn is_clean(&self) {
        until("nothing is left on the Swarm", async || {
            let instance = &self.world.instance;
            let mut left = services(&self.manager, instance).await.len() + self.tasks().await.len();
            left += secrets(&self.manager, instance).await.len();
            for engine in [&self.manager, &self.worker] {
                left += containers(engine, instance).await;
            }
            (left == 0).then_some(())
        })
        .await;
    }

    /// Does something to a node, `manager` or `worker`, by the script of the test engines.
    pub(crate) fn disturb(&self, what: &str, node: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/node");
        let status = Command::new(script).args([what, node]).status().unwrap();
        assert!(status.success(), "{what} {node}");
    }
}

async fn services(docker: &Docker, instance: &str) -> Vec<Service> {
    let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
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

/// How many containers of an instance's runners an engine has, in any state.
async fn containers(docker: &Docker, instance: &str) -> usize {
    let options = bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).build();
    let listed = docker.list_containers(Some(options)).await.unwrap();
    let is_of = |names: &Vec<String>| names.iter().any(|name| name.contains(&format!("-{instance}-")));
    listed.into_iter().filter(|container| container.names.as_ref().is_some_and(is_of)).count()
}
