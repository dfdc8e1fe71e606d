//! What the web server shows, and the endpoint of webhooks.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::parts::Parts;
use crate::{
    clock,
    config::{Config, HostConfig},
    demand::{queue::QueueHandle, webhook},
    fleet::{Evidence, HostName},
    github::{
        Client,
        webhook::{SecretError, Secrets},
    },
    http::{About, AboutEngine, App, HostNames, Webhook},
};

/// The secrets of webhooks, where some are configured.
pub(super) fn secrets(config: &Config) -> Result<Option<Secrets>, SecretError> {
    config.webhook_secret_file.clone().map(Secrets::in_file).transpose()
}

/// The web server's part of a daemon, and where the hints of webhooks come out, if there is a secret for them.
pub(super) fn app(
    parts: &Parts<'_>,
    secrets: Option<Secrets>,
    queues: Vec<QueueHandle>,
) -> (App, Option<mpsc::Receiver<Evidence>>) {
    let (webhook, hints) = secrets.map(|secrets| endpoint(parts, secrets, queues)).unzip();
    let (config, metrics, clients) = (parts.config, parts.metrics.clone(), parts.clients.clone());
    let app = App {
        about: About {
            instance: config.instance.as_str().into(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: clock::wall().shown,
            engines: config.hosts.iter().map(engine_of).collect(),
        },
        reports: parts.reports.subscribe(),
        rates: Arc::new(move |scope| clients.get(scope)?.rate()),
        metrics: Arc::new(move || metrics.gather()),
        now: Arc::new(clock::now),
        webhook,
        names: HostNames::new(config.listen, &config.allowed_hosts),
    };
    (app, hints)
}

fn engine_of(host: &HostConfig) -> (HostName, AboutEngine) {
    let (endpoint, endpoint_source) = (host.endpoint.to_string(), host.endpoint_source.to_string());
    let kind = if host.is_swarm() { "swarm" } else { "docker" };
    (host.host.name.clone(), AboutEngine { kind, endpoint, endpoint_source })
}

/// The endpoint of webhooks, which knows GitHub's clock by the scope of a pool that has them as a source.
fn endpoint(
    parts: &Parts<'_>,
    secrets: Secrets,
    queues: Vec<QueueHandle>,
) -> (Webhook, mpsc::Receiver<Evidence>) {
    let (take, hints) = webhook::hints(queues);
    let metrics = parts.metrics.clone();
    metrics.expect_webhooks();
    let record = move |event, result| metrics.record_webhook(event, result);
    let hooked = parts.config.pools.iter().find(|pool| pool.pool.demand.has_webhooks());
    let github = hooked.and_then(|pool| parts.clients.get(&pool.pool.scope)).cloned();
    let clock = move || github.as_ref().map_or_else(clock::wall, Client::clock);
    let webhook = Webhook::new(secrets, Arc::new(take), Arc::new(record), Arc::new(clock));
    let identities = parts.clients.values().map(|client| client.identities().clone()).collect();
    (webhook.knowing(identities), hints)
}
