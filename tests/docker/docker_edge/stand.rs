//! The environment of each test: an engine, an instance, an image, and the removal of everything with the
//! instance's label, also when the test fails.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bollard::{
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        RemoveVolumeOptions,
    },
};
use dayfly::{
    fleet::{
        Container, ContainerId, Demand, Devices, Exit, InstanceId, Mount, Names, Network, Policy, Pool,
        RegistrationId, RunnerName, Template, Timestamp,
    },
    host::{
        Docker, Endpoint, Host, HostError, LABEL_INSTANCE, Launch, Prepared, RequestReport, TemplateFiles,
    },
};
use secrecy::SecretString;

use crate::{
    engines::{self, TestEngine},
    shell_image, tools_image,
};

pub(crate) const JIT: &str = "jit-config-that-nobody-may-see";
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Line beginnings of a real runner.
pub(crate) const LISTENING: &str = "echo '2026-01-01 00:00:00Z: Listening for Jobs'";
/// Runs until it is stopped, as an idle runner does.
pub(crate) const IDLE: &str = "trap 'exit 0' TERM; sleep 600 & wait";

pub(crate) struct Stand {
    pub(crate) docker: Docker,
    pub(crate) engine: bollard::Docker,
    pub(crate) instance: InstanceId,
    pub(crate) image: String,
    pub(crate) reports: Arc<Mutex<Vec<RequestReport>>>,
    socket: String,
    names: Mutex<Names>,
}

/// What a launch needs besides its runner and its pool.
pub(crate) struct Given {
    jit: SecretString,
    files: TemplateFiles,
    devices: Devices,
    prepared: Prepared,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            jit: SecretString::from(JIT),
            files: TemplateFiles::default(),
            devices: Devices::default(),
            prepared: Prepared::default(),
        }
    }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::on(&TestEngine::usual()).await
    }

    /// A stand with an image for caches, too.
    pub(crate) async fn with_tools() -> Self {
        let stand = Self::new().await;
        tools_image::import(&stand.engine, &stand.image, "tools", &["cp", "chown"]).await;
        stand
    }

    /// The image that has what setup containers run, and whose user is not root.
    pub(crate) fn tools(&self) -> String {
        format!("{}:tools", self.image)
    }

    pub(crate) async fn on(engine: &TestEngine) -> Self {
        Self::made(engine.socket.clone(), &engine.endpoint()).await
    }

    /// A stand whose edge speaks to the engine through another endpoint.
    pub(crate) async fn at(endpoint: &str) -> Self {
        Self::made(TestEngine::usual().socket, endpoint).await
    }

    async fn made(socket: String, endpoint: &str) -> Self {
        let engine = bollard::Docker::connect_with_unix(&socket, 600, bollard::API_DEFAULT_VERSION);
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => panic!("these tests need a Docker Engine at {socket}: {error}"),
        };
        if let Err(error) = engine.ping().await {
            panic!("these tests need a Docker Engine at {socket}: {error}");
        }
        let random = RandomState::new().hash_one("instance");
        let instance: InstanceId = format!("t{:011x}", random >> 20).parse().unwrap();
        let reports = Arc::<Mutex<Vec<RequestReport>>>::default();
        let stand = Self {
            docker: docker_at(endpoint, &instance, &reports),
            image: format!("dayfly-edge-{instance}"),
            names: Mutex::new(Names::new(instance.clone(), random)),
            engine,
            instance,
            reports,
            socket,
        };
        shell_image::import(&stand.engine, &stand.image, "latest").await;
        stand
    }

    /// An image that also has `bash`, which can connect to addresses.
    pub(crate) async fn bash_image(&self) -> String {
        shell_image::import_root(&self.engine, &self.image, "bash", shell_image::root_with(&["bash"], &[]))
            .await;
        format!("{}:bash", self.image)
    }

    pub(crate) fn pool(&self, script: &str) -> Pool {
        Pool {
            name: "edge".parse().unwrap(),
            scope: "https://github.com/acme".parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: dayfly::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: vec!["self-hosted".to_owned()],
            demand: Demand::IDLE,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy::default(),
            template: Template {
                image: self.image.clone(),
                command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                network: Network::Named("none".to_owned()),
                ..Template::default()
            },
        }
    }

    /// A pool whose containers are created from this image.
    pub(crate) fn pool_of(&self, image: &str, script: &str) -> Pool {
        let mut pool = self.pool(script);
        image.clone_into(&mut pool.template.image);
        pool
    }

    pub(crate) fn name(&self) -> RunnerName {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = Timestamp::from_millis(millis.try_into().unwrap());
        self.names.lock().unwrap().next(&"edge".parse().unwrap(), now)
    }

    pub(crate) async fn create(&self, pool: &Pool) -> Result<(RunnerName, ContainerId), HostError> {
        let runner = self.name();
        let id = self.create_as(&runner, pool).await?;
        Ok((runner, id))
    }

    pub(crate) async fn create_as(&self, runner: &RunnerName, pool: &Pool) -> Result<ContainerId, HostError> {
        self.create_prepared(runner, pool, &Prepared::default()).await
    }

    /// The same with what was made for the runner.
    pub(crate) async fn create_prepared(
        &self,
        runner: &RunnerName,
        pool: &Pool,
        prepared: &Prepared,
    ) -> Result<ContainerId, HostError> {
        let files = &TemplateFiles::read(&pool.template).await.expect("the template's files can be read");
        self.docker.create(Launch { files, prepared, ..self.launch(runner, pool, &Given::default()) }).await
    }

    /// A launch from the pool's own image.
    pub(crate) fn launch<'a>(
        &'a self,
        runner: &'a RunnerName,
        pool: &'a Pool,
        given: &'a Given,
    ) -> Launch<'a> {
        Launch {
            instance: &self.instance,
            runner,
            registration: RegistrationId(23),
            pool,
            files: &given.files,
            image: &pool.template.image,
            jit: &given.jit,
            devices: &given.devices,
            prepared: &given.prepared,
        }
    }

    /// A started container that runs the script.
    pub(crate) async fn run(&self, script: &str) -> (RunnerName, ContainerId) {
        self.run_pool(&self.pool(script)).await
    }

    pub(crate) async fn run_pool(&self, pool: &Pool) -> (RunnerName, ContainerId) {
        let (runner, id) = self.create(pool).await.unwrap();
        self.docker.start(&id).await.unwrap();
        (runner, id)
    }

    /// The names of a container's volumes.
    pub(crate) async fn volumes_of(&self, id: &ContainerId) -> Vec<String> {
        let mounts = self.engine.inspect_container(&id.0, None).await.unwrap().mounts.unwrap_or_default();
        mounts.into_iter().filter_map(|mount| mount.name).collect()
    }

    /// A container of this test that the edge did not make.
    pub(crate) async fn foreign(&self, name: &str, labels: &[(&str, &str)]) -> ContainerId {
        self.foreign_with(name, labels, "json-file").await
    }

    pub(crate) async fn foreign_with(&self, name: &str, labels: &[(&str, &str)], log: &str) -> ContainerId {
        let mut labels: HashMap<String, String> =
            labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        labels.insert("dev.dayfly.test".to_owned(), self.instance.to_string());
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            cmd: Some(["/bin/sh", "-c", IDLE].map(str::to_owned).to_vec()),
            labels: Some(labels),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                log_config: Some(HostConfigLogConfig { typ: Some(log.to_owned()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let id = self.engine.create_container(Some(options), body).await.unwrap().id;
        self.engine.start_container(&id, None).await.unwrap();
        ContainerId(id.into())
    }

    /// Whether the engine is Podman, which differs from Docker in some answers.
    pub(crate) async fn is_podman(&self) -> bool {
        let components = self.engine.version().await.unwrap().components;
        components.unwrap_or_default().iter().any(|component| component.name == "Podman Engine")
    }

    pub(crate) async fn running(&self, id: &ContainerId) -> bool {
        let found = engines::inspect_container(&self.engine, &id.0).await.unwrap();
        found.state.and_then(|state| state.running).unwrap()
    }

    pub(crate) async fn exists(&self, id: &ContainerId) -> bool {
        engines::inspect_container(&self.engine, &id.0).await.is_ok()
    }

    /// Waits for the container's end.
    pub(crate) async fn ended(&self, id: &ContainerId) -> Exit {
        until("the container ends", async || self.docker.exit(id).await.unwrap()).await
    }

    /// Waits until the log holds the text, for tests whose next step depends on it.
    pub(crate) async fn logged(&self, id: &ContainerId, text: &str) {
        use futures_util::StreamExt;
        let options = bollard::query_parameters::LogsOptionsBuilder::new().stdout(true).follow(true).build();
        let mut log = self.engine.logs(&id.0, Some(options));
        let mut all = String::new();
        let found = async {
            while let Some(frame) = log.next().await {
                all.push_str(&String::from_utf8_lossy(frame.unwrap().as_ref()));
                if all.contains(text) {
                    return;
                }
            }
            panic!("the log ended without {text:?}: {all}");
        };
        tokio::time::timeout(DEADLINE, found).await.expect("the container logs in time");
    }

    pub(crate) async fn listed(&self, runner: &RunnerName) -> Option<Container> {
        self.docker.list().await.unwrap().containers.into_iter().find(|container| container.runner == *runner)
    }

    pub(crate) fn reports(&self) -> MutexGuard<'_, Vec<RequestReport>> {
        self.reports.lock().unwrap()
    }
}

pub(crate) fn docker_at(
    endpoint: &str,
    instance: &InstanceId,
    reports: &Arc<Mutex<Vec<RequestReport>>>,
) -> Docker {
    let reports = Arc::clone(reports);
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let reporter = Arc::new(move |report: &RequestReport| reports.lock().unwrap().push(report.clone()));
    Docker::new("local".parse().unwrap(), endpoint, instance.clone(), reporter)
}

impl Drop for Stand {
    fn drop(&mut self) {
        let (socket, instance, image) = (self.socket.clone(), self.instance.clone(), self.image.clone());
        // The test's own runtime may be on its way out.
        let cleared = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clear(&socket, &instance, &image));
        });
        if cleared.join().is_err() {
            assert!(thread::panicking(), "the test's containers could not be removed");
        }
    }
}

async fn clear(socket: &str, instance: &InstanceId, image: &str) {
    let engine = bollard::Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION).unwrap();
    bollard::Docker::connect_with_unix(&TestEngine::usual().socket, 120, bollard::API_DEFAULT_VERSION)
        .unwrap();
    for label in [LABEL_INSTANCE, "dev.dayfly.test"] {
        let filter = HashMap::from([("label", vec![format!("{label}={instance}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        for container in engines::list_containers(&engine, options).await.unwrap() {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match engine.remove_container(&container.id.unwrap(), Some(options)).await {
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404 | 409, .. })
                | Ok(()) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    let filter = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    for network in engine.list_networks(Some(options)).await.unwrap() {
        engine.remove_network(&network.id.unwrap()).await.unwrap();
    }
    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    for volume in engine.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default() {
        engine.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await.unwrap();
    }
    // Tests call their volume and their image alike.
    match engine.remove_volume(image, None::<RemoveVolumeOptions>).await {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) | Ok(()) => {}
        Err(error) => panic!("{error}"),
    }
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    for image in [image, &format!("{image}:tools"), &format!("{image}:bash")] {
        match engine.remove_image(image, Some(options.clone()), None).await {
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) | Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Asks again and again until there is an answer, and fails after a deadline.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

pub(crate) fn bind(source: &Path, target: &str) -> Mount {
    Mount { source: source.to_str().unwrap().to_owned(), target: target.to_owned(), read_only: false }
}

pub(crate) fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
