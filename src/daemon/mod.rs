//! The shell around the core: it runs the edges, feeds evidence in and carries plans out.
//!
//! ```text
//! observers ──evidence──▶ planner (Fleet: observe, plan) ──actions──▶ edges ──evidence──▶ planner
//!                            │
//!                            └─ status and events ─▶ metrics, log, web server
//! ```

mod bounds;
mod edges;
mod failures;
mod images;
mod limits;
mod listings;
mod lock;
mod logs;
mod observers;
mod planner;
mod sets;
mod sources;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Notify, broadcast, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    clock,
    config::Config,
    fleet::{Event, Evidence, Fleet, HostName, Scope},
    github::{self, Client, Credential, CredentialKind, CredentialSource, webhook::SecretError},
    host::{self, Docker},
    http::{self, Snapshot},
    telemetry::Metrics,
};

pub use self::{
    bounds::Bounded,
    edges::{Edges, STOP_GRACE},
    lock::{InstanceLock, LockError},
};
use self::{
    failures::Failures,
    images::keep_image,
    listings::Cadence,
    observers::{Engine, Publisher, check_clock, follow_events, observe, watch_disk},
    planner::{BoundedEdges, Planner, notify_systemd},
    sets::Sets,
    sources::{Sources, webhook},
};

/// How often an engine's containers are listed; its events make it sooner.
const CONTAINER_LOOK: Duration = Duration::from_secs(10);

/// Events that a slow listener may lag behind before it misses some.
const EVENTS: usize = 1024;

/// Connections that wait to be accepted at most.
const BACKLOG: u32 = 1024;

/// How long whatever is under way may take to end when the daemon does. A launch that gets there leaves
/// nothing to clear away, and a session that is closed need not expire.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another daemon runs, or the state directory cannot be written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The address of the web server cannot be had.
    #[error("cannot listen on {0}; set http.listen to another address")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A scope's client cannot be made.
    #[error(transparent)]
    Github(#[from] github::GithubError),
    /// The secret of webhooks cannot be used.
    #[error("the webhook secret cannot be used")]
    WebhookSecret(#[from] SecretError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A daemon that holds its lock and its address, and has not begun to plan.
pub struct Daemon {
    planner: Planner,
    observers: JoinSet<()>,
    /// The sessions of scale sets, which end by closing.
    sessions: TaskTracker,
    stop: CancellationToken,
    app: http::App,
    listener: TcpListener,
    _lock: InstanceLock,
}

impl Daemon {
    /// Takes the lock and the address, and starts to look at everything that is configured. Waits for
    /// nobody: a scope or engine that cannot be reached is no reason not to start. Has to be called within
    /// a runtime.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        limits::raise_open_files();
        let lock = InstanceLock::acquire(&config.state_dir, &config.instance)?;
        let listener = listen(config.listen).map_err(|error| StartError::Listen(config.listen, error))?;
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        let (sender, evidence) = mpsc::unbounded_channel();
        let publisher = Publisher { evidence: sender };

        let clients = clients(config, &metrics)?;
        let engines = engines(config, &metrics);
        let sets = Sets::of(config.pools.iter().map(|pool| &pool.pool), &clients);
        let edges = Arc::new(Edges {
            instance: config.instance.clone(),
            scopes: bounded_clients(config, &clients),
            sets: sets.runners(),
            hosts: engines
                .iter()
                .map(|(host, engine)| (host.clone(), Bounded::engine(engine.docker.clone())))
                .collect(),
            pools: config.pools.iter().map(|p| (p.pool.name.clone(), p.pool.clone())).collect(),
        });

        let pools = config.pools.iter().map(|pool| pool.pool.clone()).collect();
        let hosts = config.hosts.iter().map(|host| host.host.clone()).collect();
        let fleet = Fleet::new(config.instance.clone(), seed(), pools, hosts);
        let (snapshot, shown) = watch::channel(Arc::new(Snapshot {
            instance: config.instance.as_str().into(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: clock::wall().shown,
            planned: None,
            status: fleet.status(),
            engines: engines.keys().map(|host| (host.clone(), "docker")).collect(),
            rates: BTreeMap::new(),
        }));
        let mut observers = look_at_all(config, &clients, &engines, &edges, &publisher, &metrics, &shown);
        let events = broadcast::Sender::new(EVENTS);
        let sources =
            Sources { config, clients: &clients, publisher: &publisher, events: &events, shown: &shown };
        let doors = sources.start(&mut observers);
        let (webhook, hints) = webhook(config, doors, &clients, &metrics)?.unzip();
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        for pool in config.pools.iter().map(|pool| &pool.pool) {
            let tasks = (&sessions, &stop);
            sets.serve(pool, &config.instance, &config.state_dir, &publisher, tasks, shown.clone());
        }
        let gather = metrics.clone();
        let app = http::App {
            snapshot: shown,
            metrics: Arc::new(move || gather.gather()),
            now: Arc::new(clock::now),
            webhook,
            names: http::HostNames::new(config.listen, &config.allowed_hosts),
        };
        let actions = TaskTracker::new();
        let failures = Failures::start(&config.state_dir, &actions);
        let planner = Planner {
            fleet,
            edges,
            clients,
            engines,
            evidence,
            hints,
            publisher,
            snapshot,
            events,
            metrics,
            failures,
            actions,
            suspended: clock::suspended(),
        };
        Ok(Self { planner, observers, sessions, stop, app, listener, _lock: lock })
    }

    /// Where the web server listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The last pass's report, now and whenever there is a new one.
    pub fn reports(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.app.snapshot.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.planner.events.subscribe()
    }

    /// What makes the daemon drain when it is called: launch nothing, remove the idle, let the
    /// busy finish.
    pub fn drain(&self) -> impl Fn() + Send + Sync + 'static {
        let publisher = self.planner.publisher.clone();
        move || publisher.publish(Evidence::Drain(true))
    }

    /// Runs until `shutdown`. Containers are left running, for the next start to adopt.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let ending = CancellationToken::new();
        let server = tokio::spawn(http::serve(self.listener, self.app, ending.clone().cancelled_owned()));
        notify_systemd(sd_notify::NotifyState::Ready);
        // Sessions close while the last actions end.
        let stop = self.stop.clone();
        let shutdown = async move {
            shutdown.await;
            stop.cancel();
        };
        let actions = self.planner.run(shutdown).await;
        notify_systemd(sd_notify::NotifyState::Stopping);
        info!("stopping; runners are left running for the next start");
        self.observers.abort_all();
        ending.cancel();
        self.sessions.close();
        let ends = async { tokio::join!(actions.wait(), self.sessions.wait(), server) };
        if timeout(SHUTDOWN, ends).await.is_err() {
            if !actions.is_empty() {
                let left = actions.len();
                warn!(left, "some actions did not finish in time; the next start cleans up after them");
            }
            if !self.sessions.is_empty() {
                warn!("failed to close a scale set's session in time; the next start closes it");
            }
        }
    }
}

/// Listens at once: an address needs no look-up.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Looks at every scope and host for as long as the daemon runs: their lists, the engines' events, disks and
/// images.
fn look_at_all(
    config: &Config,
    clients: &BTreeMap<Scope, Client>,
    engines: &BTreeMap<HostName, Engine>,
    edges: &Arc<BoundedEdges>,
    publisher: &Publisher,
    metrics: &Arc<Metrics>,
    shown: &watch::Receiver<Arc<Snapshot>>,
) -> JoinSet<()> {
    let mut observers = JoinSet::new();
    for (scope, client) in clients {
        let (edges, publisher, shown) = (edges.clone(), publisher.clone(), shown.clone());
        let (scope, client, metrics) = (scope.clone(), client.clone(), metrics.clone());
        let pools = config.pools.iter().map(|pool| &pool.pool).filter(|pool| pool.scope == scope);
        let cadence = Cadence::new(&scope, &pools.collect::<Vec<_>>(), config.poll_interval);
        observers.spawn(async move {
            loop {
                let began = (clock::now(), tokio::time::Instant::now());
                publisher.publish(edges.list_registrations(&scope, began.0).await);
                let interval = |base| {
                    let interval = client.effective_interval(base);
                    metrics.record_poll_interval(&scope, interval);
                    interval
                };
                cadence.wait(began.1, shown.clone(), interval).await;
            }
        });
    }
    for (host, engine) in engines {
        let news = Arc::new(Notify::new());
        observers.spawn(follow_events(engine.clone(), host.clone(), publisher.clone(), news.clone()));
        observers.spawn(check_clock(engine.clone(), host.clone()));
        let (edges, publisher) = (edges.clone(), publisher.clone());
        let (engine, host) = (engine.clone(), host.clone());
        let list = move || {
            let (edges, publisher) = (edges.clone(), publisher.clone());
            let (engine, host) = (engine.clone(), host.clone());
            async move {
                let began = clock::now();
                let evidence = edges.list_containers(&host, began).await;
                engine.was_listed(matches!(evidence, Evidence::Containers { .. }));
                publisher.publish(evidence);
            }
        };
        observers.spawn(observe(list, || CONTAINER_LOOK, news));
    }
    for host in &config.hosts {
        let name = &host.host.name;
        let (Some(min_free), Some(engine)) = (host.min_free_disk, engines.get(name)) else { continue };
        if host.endpoint.is_local() {
            observers.spawn(watch_disk(engine.docker.clone(), name.clone(), min_free, publisher.clone()));
        } else {
            warn!(host = %name, "`min_free_disk` has no effect: the disk of a remote engine cannot be checked from this machine");
        }
    }
    for ((host, image), pull) in config.images() {
        if let Some(engine) = engines.get(host) {
            let (host, image) = (host.clone(), image.to_owned());
            observers.spawn(keep_image(engine.clone(), host, image, pull, publisher.clone()));
        }
    }
    observers
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

fn engines(config: &Config, metrics: &Arc<Metrics>) -> BTreeMap<HostName, Engine> {
    let engine = |host: &crate::config::HostConfig| {
        let metrics = metrics.clone();
        let reporter: host::Reporter = Arc::new(move |report| metrics.record_engine(report));
        let name = host.host.name.clone();
        let docker = Docker::new(name.clone(), host.endpoint.clone(), config.instance.clone(), reporter);
        (name, Engine::new(docker))
    };
    config.hosts.iter().map(engine).collect()
}

/// Makes this run's runner names unlike any other's.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library seeds its hashers from the operating system; the time makes sure.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((now, std::process::id()))
}
