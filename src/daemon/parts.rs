//! What the daemon is made of, by the configuration: the edges, and the channels between observers and planner. Nothing
//! of it runs yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{broadcast, mpsc::UnboundedReceiver, watch};

use super::{bounds::Bounded, engine::Engine, start_error::StartError};
use crate::{
    config::{Config, HostConfig},
    demand::{Publisher, ScopeContext, scale_set},
    executor::Edges,
    fleet::{Event, Evidence, Fleet, HostName, Pool, PoolName, Scope, Status},
    github::{self, Client, Credential, CredentialKind, CredentialSource, scale_set::ScaleSetRunners},
    host::{self, AnyEngine},
    telemetry::Metrics,
};

/// Events that a slow listener may lag behind before it misses some.
const EVENTS: usize = 1024;

/// The edges as the daemon has them.
pub(super) type BoundedEdges = Edges<Bounded<Client>, Bounded<AnyEngine>, Bounded<ScaleSetRunners>>;

/// The parts of a daemon.
pub(super) struct Parts<'c> {
    pub(super) config: &'c Config,
    pub(super) metrics: Arc<Metrics>,
    /// One per scope; those of one credential share its token and its limits.
    pub(super) clients: BTreeMap<Scope, Client>,
    pub(super) engines: BTreeMap<HostName, Engine>,
    /// What mints and removes the runners of the pools that are scale sets.
    pub(super) scale_sets: BTreeMap<PoolName, ScaleSetRunners>,
    pub(super) edges: Arc<BoundedEdges>,
    pub(super) fleet: Fleet,
    pub(super) publisher: Publisher,
    pub(super) evidence: UnboundedReceiver<Evidence>,
    /// What the last pass reported.
    pub(super) reports: watch::Sender<Arc<Status>>,
    pub(super) events: broadcast::Sender<Event>,
    /// The pools of each scope.
    scopes: BTreeMap<Scope, Vec<Pool>>,
}

impl<'c> Parts<'c> {
    pub(super) fn new(config: &'c Config) -> Result<Self, StartError> {
        let pools = || config.pools.iter().map(|pool| &pool.pool);
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        let clients = clients(config, &metrics)?;
        let engines: BTreeMap<_, _> =
            config.hosts.iter().map(|host| engine(config, host, metrics.clone())).collect();
        let scale_sets = scale_set::runner_apis(pools(), &clients);
        let edges = Edges {
            instance: config.instance.clone(),
            scopes: bounded_clients(config, &clients),
            pool_apis: bounded(&scale_sets),
            hosts: engines
                .iter()
                .map(|(host, engine)| (host.clone(), Bounded::engine(engine.api.clone())))
                .collect(),
            pools: pools().map(|pool| (pool.name.clone(), pool.clone())).collect(),
        };
        let hosts = config.hosts.iter().map(|host| host.host.clone()).collect();
        let fleet = Fleet::new(config.instance.clone(), seed(), pools().cloned().collect(), hosts);
        let (publisher, evidence) = Publisher::channel();
        let mut scopes: BTreeMap<Scope, Vec<Pool>> = BTreeMap::new();
        for pool in pools() {
            scopes.entry(pool.scope.clone()).or_default().push(pool.clone());
        }
        Ok(Self {
            config,
            metrics,
            clients,
            engines,
            scale_sets,
            edges: Arc::new(edges),
            reports: watch::Sender::new(Arc::new(fleet.status())),
            fleet,
            publisher,
            evidence,
            events: broadcast::Sender::new(EVENTS),
            scopes,
        })
    }

    /// The scopes that have a client, as the job sources take them.
    pub(super) fn scopes<'a>(
        &'a self,
        reports: &'a watch::Receiver<Arc<Status>>,
    ) -> impl Iterator<Item = ScopeContext<'a>> {
        self.clients.iter().map(move |(scope, client)| ScopeContext {
            client,
            pools: self.scopes.get(scope).map_or(&[], Vec::as_slice),
            instance: &self.config.instance,
            state_dir: &self.config.state_dir,
            poll_interval: self.config.poll_interval,
            scopes_with_queues: scopes_with_queues(self.config, scope),
            publisher: &self.publisher,
            reports,
            events: &self.events,
        })
    }
}

/// How many scopes with queues share the limits of a scope's credential.
fn scopes_with_queues(config: &Config, scope: &Scope) -> u32 {
    let credential = config.pools.iter().find(|pool| pool.pool.scope == *scope).map(|pool| &pool.credential);
    let with_queues = config.pools.iter().filter(|pool| pool.pool.demand.polls_queues());
    let sharing = with_queues.filter(|pool| Some(&pool.credential) == credential);
    let scopes: BTreeSet<&Scope> = sharing.map(|pool| &pool.pool.scope).collect();
    u32::try_from(scopes.len()).unwrap_or(u32::MAX)
}

/// One client per scope; those of one credential share its token and its limits.
fn clients(config: &Config, metrics: &Arc<Metrics>) -> Result<BTreeMap<Scope, Client>, StartError> {
    let mut credentials: BTreeMap<&str, Credential> = BTreeMap::new();
    let mut clients = BTreeMap::new();
    for pool in &config.pools {
        let (scope, name) = (&pool.pool.scope, pool.credential.as_str());
        if clients.contains_key(scope) {
            continue;
        }
        let Some(source) = config.credentials.get(name) else { continue };
        let credential = credentials.entry(name).or_insert_with(|| Credential::new(source.clone()));
        let (metrics, label) = (metrics.clone(), label_of(name, source, scope));
        let used = credential.clone();
        let reporter: github::Reporter = Arc::new(move |report| {
            metrics.record_github(&label, report);
            metrics.record_token_expiration(&label, used.token_expires_at());
        });
        let client = Client::new(scope.clone(), credential, reporter)?.of_instance(&config.instance);
        clients.insert(scope.clone(), client);
    }
    Ok(clients)
}

/// A credential's name in metrics. An App has a budget for each account that it is installed on.
fn label_of(name: &str, source: &CredentialSource, scope: &Scope) -> String {
    match source.kind {
        CredentialKind::Token(_) => name.to_owned(),
        CredentialKind::App(_) => format!("{name}/{}", scope.path().split('/').next().unwrap_or_default()),
    }
}

/// The clients with the bounds of their credentials around them.
fn bounded_clients(config: &Config, clients: &BTreeMap<Scope, Client>) -> BTreeMap<Scope, Bounded<Client>> {
    let mut bounds = BTreeMap::new();
    let credential_of: BTreeMap<_, _> =
        config.pools.iter().rev().map(|pool| (&pool.pool.scope, &pool.credential)).collect();
    clients
        .iter()
        .map(|(scope, client)| {
            let bound = bounds.entry(credential_of[scope]).or_insert_with(Bounded::github);
            (scope.clone(), bound(client.clone()))
        })
        .collect()
}

/// Runner APIs with common bounds around them.
fn bounded<T: Clone>(apis: &BTreeMap<PoolName, T>) -> BTreeMap<PoolName, Bounded<T>> {
    let bound = Bounded::github();
    apis.iter().map(|(pool, api)| (pool.clone(), bound(api.clone()))).collect()
}

fn engine(config: &Config, host: &HostConfig, metrics: Arc<Metrics>) -> (HostName, Engine) {
    let reporter: host::Reporter = Arc::new(move |report| metrics.record_engine(report));
    let name = host.host.name.clone();
    let (endpoint, instance) = (host.endpoint.clone(), config.instance.clone());
    let api = AnyEngine::new(host.is_swarm(), name.clone(), endpoint, instance, reporter);
    (name, Engine::new(api))
}

/// Makes this run's runner names unique.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library seeds its hashers from the operating system; the time is added to be sure.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((now, std::process::id()))
}
