//! What every measurement stands on: the engine, the runner image, a fresh simulated GitHub, and the
//! configuration of a pool that uses them; and the clearing away of all of it.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptions, RemoveContainerOptionsBuilder,
};
use dayfly::{
    config::{Config, EndpointSource, HostConfig, PoolConfig},
    fleet::{
        Demand, Host, HostName, InstanceId, Network, Policy, Pool, PullPolicy, Resources, Template, Timestamp,
    },
    github::TokenSource,
    host::{
        Endpoint, LABEL_INSTANCE,
        own_image::{self, OwnImage},
    },
    simulator::{Settings, Simulator, image},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;

/// The organization whose runners are launched.
const ORGANIZATION: &str = "bench";

/// What the pool's runners and jobs are labelled with.
pub(crate) const LABELS: [&str; 2] = ["self-hosted", "bench"];

/// How long anything here may take before it counts as broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Removals under way at once.
const REMOVALS: usize = 4;

/// Where measurements take place. Clones share it.
#[derive(Clone)]
pub(crate) struct Stand(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) docker: bollard::Docker,
    pub(crate) endpoint: Endpoint,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) instance: InstanceId,
    pub(crate) dir: TempDir,
    image_was_there: bool,
}

impl std::ops::Deref for Stand {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Stand {
    /// Connects to the engine that `DOCKER_HOST` names, else to this machine's, and makes the image.
    pub(crate) async fn new() -> Result<Self> {
        let endpoint: Endpoint = match std::env::var("DOCKER_HOST") {
            Ok(text) => text.parse().with_context(|| format!("DOCKER_HOST is refused: {text}"))?,
            Err(_) => Endpoint::default(),
        };
        let docker = endpoint.connect().await?;
        let version = docker.version().await?.version.unwrap_or_default();
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("token"), &Settings::default().tokens[0])?;
        let before: Vec<String> = docker
            .list_images(None::<ListImagesOptions>)
            .await?
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .collect();
        let image = OwnImage { repository: image::REPOSITORY, changes: &[] }
            .ensure(&docker, Path::new(env!("CARGO_BIN_EXE_dayfly")))
            .await?;
        let image_was_there = before.contains(&image);
        let instance = format!("bench{:06x}", fastrand::u32(..1 << 24)).parse()?;
        Ok(Self(Arc::new(Inner { docker, endpoint, version, image, instance, dir, image_was_there })))
    }

    /// A GitHub without any requests so far.
    pub(crate) async fn github(&self) -> Result<Simulator> {
        let settings = Settings {
            scopes: vec![ORGANIZATION.to_owned()],
            // As long as the real one's.
            poll_cycle: Duration::from_secs(50),
            ..Settings::default()
        };
        Ok(Simulator::start(settings).await?)
    }

    /// A pool that keeps so many runners idle.
    pub(crate) fn pool(&self, github: &Simulator, min_idle: u32, max: u32) -> Result<Pool> {
        Ok(Pool {
            name: "bench".parse()?,
            scope: github.scope_url(ORGANIZATION).parse()?,
            credential: "default".into(),
            hosts: vec!["local".parse()?],
            placement: dayfly::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: LABELS.map(str::to_owned).to_vec(),
            demand: Demand::IDLE,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy { min_idle, max, ..Policy::default() },
            template: Template {
                image: self.image.clone(),
                command: image::COMMAND.map(str::to_owned).to_vec(),
                pull: PullPolicy::Never,
                network: Network::Named("host".to_owned()),
                ..Template::default()
            },
        })
    }

    /// A job that the pool's runners take.
    pub(crate) fn job() -> dayfly::simulator::Job {
        dayfly::simulator::Job::new(ORGANIZATION, &LABELS)
    }

    /// What a daemon with this one pool is started with; all that is not said is the default.
    pub(crate) fn config(&self, pool: Pool) -> Result<Config> {
        let host: HostName = "local".parse()?;
        Ok(Config {
            instance: self.instance.clone(),
            state_dir: self.dir.path().join("state"),
            credentials: BTreeMap::from([("default".to_owned(), self.token().into())]),
            hosts: vec![HostConfig {
                host: Host {
                    name: host,
                    max_runners: None,
                    budget: Resources::default(),
                    devices: BTreeMap::new(),
                    nodes: None,
                },
                endpoint: self.endpoint.clone(),
                endpoint_source: EndpointSource::Configured,
                min_free_disk: None,
            }],
            listen: "127.0.0.1:0".parse()?,
            allowed_hosts: Vec::new(),
            webhook_secret_file: None,
            poll_interval: Duration::from_secs(10),
            pools: vec![PoolConfig { pool, credential: "default".to_owned(), login: None }],
            warnings: Vec::new(),
        })
    }

    pub(crate) fn token(&self) -> TokenSource {
        TokenSource::File(self.dir.path().join("token"))
    }

    /// The ids of all containers that were made here, running or not.
    pub(crate) async fn containers(&self) -> Result<Vec<String>> {
        let label = format!("{LABEL_INSTANCE}={}", self.instance);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&HashMap::from([("label", vec![label])]))
            .build();
        let listed = self.docker.list_containers(Some(options)).await?;
        Ok(listed.into_iter().filter_map(|container| container.id).collect())
    }

    /// When the first and the last of so many containers ran, by the engine's own record.
    pub(crate) async fn started_at(&self, count: usize) -> Result<(Timestamp, Timestamp)> {
        let ids = self.containers().await?;
        if ids.len() != count {
            bail!("{} containers instead of {count}", ids.len());
        }
        let mut times = Vec::new();
        for id in ids {
            let inspected = self.docker.inspect_container(&id, None::<InspectContainerOptions>).await?;
            let state = inspected.state.unwrap_or_default();
            if state.running != Some(true) {
                bail!("container {id} does not run");
            }
            times.push(moment(state.started_at.as_deref())?);
        }
        let first = times.iter().min().context("there is no container")?;
        Ok((*first, times.iter().max().copied().unwrap_or(*first)))
    }

    /// Removes all containers that were made here; how many there were.
    pub(crate) async fn clear(&self) -> Result<usize> {
        let ids = self.containers().await?;
        let count = ids.len();
        let removals = stream::iter(ids).map(|id| async move {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.docker.remove_container(&id, Some(options)).await {
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {
                    Ok(())
                }
                other => other,
            }
        });
        removals.buffer_unordered(REMOVALS).try_collect::<()>().await?;
        Ok(count)
    }

    /// Removes the image, unless it existed before.
    pub(crate) async fn remove_image(&self) {
        if !self.image_was_there {
            // Another process may use it by now.
            let _ = own_image::remove(&self.docker, &self.image).await;
        }
    }
}

/// A moment as the engine writes it.
pub(crate) fn moment(text: Option<&str>) -> Result<Timestamp> {
    let moment: jiff::Timestamp = text.context("the engine tells no time")?.parse()?;
    Ok(Timestamp::from_millis(u64::try_from(moment.as_millisecond())?))
}

/// The time now, by the clock that the engine has too.
pub(crate) fn now() -> Result<Timestamp> {
    moment(Some(&jiff::Timestamp::now().to_string()))
}
