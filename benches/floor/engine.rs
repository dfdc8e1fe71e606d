//! The floor: the engine alone, with requests for the same containers at a given concurrency.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigLogConfig, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions},
};
use dayfly::{
    fleet::{Names, Network, Pool, RunnerName},
    github::{Client, Credential, Mint, MintedRunner, RunnerApi},
    host::{LABEL_INSTANCE, LABEL_POOL, LABEL_REGISTRATION, LABEL_RUNNER, LABEL_SCOPE, LABEL_TEMPLATE},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use secrecy::ExposeSecret;

use super::{
    launch::Times,
    stand::{PATIENCE, Stand, now},
};

/// Creates and starts so many runners, which are minted before the clock runs.
pub(crate) async fn launch(stand: &Stand, count: usize, at_once: usize) -> Result<Times> {
    let github = stand.github().await?;
    let pool = stand.pool(&github, 0, u32::try_from(count)?)?;
    let client = Client::new(pool.scope.clone(), &Credential::new(stand.token()), Arc::new(|_| {}))?;
    let mut names = Names::new(stand.instance.clone(), fastrand::u64(..));
    let mut wanted = Vec::new();
    for _ in 0..count {
        let name = names.next(&pool.name, now()?);
        let mint = Mint { name: &name, group: &pool.group, labels: &pool.labels };
        let minted = client.mint(mint).await?;
        let body = body(stand, &pool, &name, &minted);
        wanted.push((name, body));
    }
    let began = now()?;
    let launches = stream::iter(wanted).map(|(name, body)| async move {
        let options = CreateContainerOptionsBuilder::new().name(name.as_str()).build();
        let created = stand.docker.create_container(Some(options), body).await?;
        stand.docker.start_container(&created.id, None::<StartContainerOptions>).await
    });
    launches.buffer_unordered(at_once).try_collect::<()>().await?;
    let online = github.until(PATIENCE, |snapshot| snapshot.online() == count).await;
    let online = online.map_err(|_| anyhow::anyhow!("not all runners came online"))?.at;
    let (first, last) = stand.started_at(count).await?;
    Ok(Times { first: first.since(began), running: last.since(began), online: online.since(began) })
}

/// A copy of Dayfly's requests to the engine; [`Likeness`] compares the two.
fn body(stand: &Stand, pool: &Pool, runner: &RunnerName, minted: &MintedRunner) -> ContainerCreateBody {
    let text = |(key, value): (&str, String)| (key.to_owned(), value);
    ContainerCreateBody {
        image: Some(pool.template.image.clone()),
        cmd: Some(pool.template.command.clone()),
        env: Some(vec![
            format!("ACTIONS_RUNNER_INPUT_JITCONFIG={}", minted.jit.expose_secret()),
            "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1".to_owned(),
        ]),
        labels: Some(HashMap::from(
            [
                (LABEL_INSTANCE, stand.instance.to_string()),
                (LABEL_POOL, pool.name.to_string()),
                (LABEL_RUNNER, runner.to_string()),
                (LABEL_REGISTRATION, minted.id.to_string()),
                (LABEL_SCOPE, pool.scope.to_string()),
                (LABEL_TEMPLATE, pool.template.digest().0),
            ]
            .map(text),
        )),
        stop_timeout: Some(60),
        host_config: Some(HostConfig {
            pids_limit: pool.template.pids.map(i64::from),
            mounts: Some(Vec::new()),
            ulimits: Some(Vec::new()),
            network_mode: match &pool.template.network {
                Network::Named(name) => Some(name.clone()),
                Network::Default | Network::Isolated => None,
            },
            init: Some(true),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                ..RestartPolicy::default()
            }),
            auto_remove: Some(false),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from(
                    [("max-size", "10m".to_owned()), ("max-file", "2".to_owned())].map(text),
                )),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// What two containers have in common when their making cost the engine the same.
#[derive(PartialEq)]
pub(crate) struct Likeness(serde_json::Value);

impl Likeness {
    /// Of any one container that is there now.
    pub(crate) async fn take(stand: &Stand) -> Result<Self> {
        let ids = stand.containers().await?;
        let id = ids.first().context("there is no container")?;
        let inspected = stand.docker.inspect_container(id, None::<InspectContainerOptions>).await?;
        let ContainerInspectResponse { config, host_config, image, .. } = inspected;
        let mut config = config.context("the engine tells no configuration")?;
        // What differs from runner to runner.
        config.hostname = None;
        if let Some(labels) = &mut config.labels {
            labels.values_mut().for_each(String::clear);
        }
        for entry in config.env.iter_mut().flatten() {
            entry.truncate(entry.find('=').unwrap_or(entry.len()));
        }
        config.env.iter_mut().for_each(|env| env.sort_unstable());
        Ok(Self(serde_json::json!([image, config, host_config])))
    }

    /// Fails when the floor is not that of Dayfly's containers.
    pub(crate) fn compare(floor: &Self, dayfly: &Self) -> Result<()> {
        ensure!(floor == dayfly, "the floor's container differs from Dayfly's:\n{}\n{}", floor.0, dayfly.0);
        Ok(())
    }
}

/// Between two rounds: the engine goes on for a moment after its last answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);
