//! The handle of a running simulator: it starts the server, turns what can be turned, and shows what is the case.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    broker,
    endpoint::Endpoint,
    faults::Fault,
    github::{self, log::Request},
    hooks::{self, DeliveryView, Hook, HookFaults},
    job::Job,
    scale_sets::{self, ScaleSetKnobs},
    server,
    settings::{Presence, Settings},
    shared::Shared,
    world::{World, job_record::JobView, snapshot::Snapshot},
};

/// How often a condition is checked when nothing announces a change, as lags and leases do not.
const LOOK: Duration = Duration::from_millis(20);

/// A running simulator. Dropping it ends the server and every connection to it.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    outage: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// Sends the deliveries of hooks, once there are any.
    sender: OnceLock<JoinHandle<()>>,
}

impl Simulator {
    /// Binds the address of `settings` and serves on it. Fails when the address cannot be bound.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let runner_url = match &settings.runner_host {
            Some(host) => format!("http://{host}:{}", address.port()),
            None => format!("http://{address}"),
        };
        let mut world = World::new(settings, runner_url);
        world.hooks.base = format!("http://{address}/api/v3");
        let shared = Arc::new(Shared { world: Mutex::new(world), changed: Notify::new() });
        let router = broker::routes()
            .merge(scale_sets::routes())
            .fallback(github::answer)
            .with_state(Arc::clone(&shared));
        let (outage, seen) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, router, seen));
        Ok(Self { shared, address, outage, server, sender: OnceLock::new() })
    }

    /// The address without a path: `http://127.0.0.1:PORT`, also where it listens on all addresses. The API base
    /// is this with `/api/v3`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that a pool's `url` gets for a scope such as `acme` or `acme/widgets`.
    pub fn scope_url(&self, scope: &str) -> String {
        format!("{}/{scope}", self.url())
    }

    /// Queues a job and says its id.
    pub fn enqueue(&self, job: Job) -> u64 {
        self.shared.change(|world, now| world.enqueue(job, now))
    }

    /// Lets a job be queued that an approval or a concurrency limit held; says whether it was held.
    pub fn release(&self, job: u64) -> bool {
        self.shared.change(|world, now| world.release_held(job, now))
    }

    /// Cancels a job; says whether it was not over yet. A runner that has it notices when it reports.
    pub fn cancel(&self, job: u64) -> bool {
        self.shared.change(|world, now| world.cancel(job, now))
    }

    /// Runs all jobs of a run again, as a new attempt with new job ids, which are returned.
    pub fn rerun(&self, run: u64) -> Vec<u64> {
        self.shared.change(|world, now| world.rerun(run, now))
    }

    /// Creates a repository (`owner/name`), or changes whether it is public. It was pushed to now.
    pub fn push(&self, repository: &str, public: bool) {
        self.shared.change(|world, now| world.push(repository, public, now));
    }

    /// Creates a webhook, which is pinged at once, and says its id.
    pub fn add_hook(&self, hook: Hook) -> u64 {
        self.sender.get_or_init(|| tokio::spawn(hooks::post::send(Arc::clone(&self.shared))));
        self.shared.change(|world, now| {
            let id = world.hooks.add(hook);
            world.ping(id, now);
            id
        })
    }

    /// Makes deliveries of all hooks go wrong from now on.
    pub fn set_hook_faults(&self, faults: HookFaults) {
        self.shared.change(|world, _| world.hooks.faults = faults);
    }

    /// Sends the deliveries that were kept back, newest first, and keeps none back any more.
    pub fn let_deliveries_go(&self) {
        self.shared.change(|world, now| world.hooks.let_go(now));
    }

    /// The deliveries that were tried, oldest first; only the latest ten thousand are kept.
    pub fn deliveries(&self) -> Vec<DeliveryView> {
        self.shared.world().0.hooks.views()
    }

    /// Makes GitHub misbehave, until the fault is used up or cleared.
    pub fn fault(&self, fault: Fault) {
        self.shared.change(|world, now| world.faults.add(fault, now));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.change(|world, _| world.faults.clear());
    }

    /// While `on`, every connection is cut at once and no request is answered.
    pub fn outage(&self, on: bool) {
        self.outage.send_replace(on);
    }

    /// Puts a registration without a container into a scope: a runner of another installation, or
    /// a leftover. `None` when there is no such scope.
    pub fn register(&self, scope: &str, name: &str, labels: &[&str], presence: Presence) -> Option<u64> {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.shared.change(|world, now| world.register(scope, name, labels, presence, now))
    }

    /// Removes a registration as GitHub does by itself now and then; says whether it was there.
    pub fn forget(&self, registration: u64) -> bool {
        self.shared.change(|world, _| world.forget(registration))
    }

    /// How long after a job's assignment `busy` says so, from now on.
    pub fn set_busy_lag(&self, lag: Duration) {
        self.shared.change(|world, _| world.settings.busy_lag = lag);
    }

    /// Changes what GitHub is set up with: Apps, clock, tokens, groups.
    pub fn set(&self, edit: impl FnOnce(&mut Settings)) {
        self.shared.change(|world, _| edit(&mut world.settings));
    }

    /// Ends all installation tokens at once, as GitHub does when an App is suspended.
    pub fn revoke_installation_tokens(&self) {
        self.shared.change(|world, _| world.issued.revoke());
    }

    /// Runner scale sets: what is the case, and what can be turned.
    pub fn scale_sets(&self) -> ScaleSetKnobs<'_> {
        ScaleSetKnobs(&self.shared)
    }

    /// What is the case now: registrations, jobs by state, queue waits.
    pub fn snapshot(&self) -> Snapshot {
        let (world, now) = self.shared.world();
        world.snapshot(now)
    }

    /// Every job ever queued, in order.
    pub fn jobs(&self) -> Vec<JobView> {
        self.shared.world().0.jobs()
    }

    /// The GitHub requests received, oldest first; only the latest hundred thousand are kept.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.world().0.log.requests()
    }

    /// How many requests an endpoint has received since the start.
    pub fn count(&self, endpoint: Endpoint) -> u64 {
        self.shared.world().0.log.count(endpoint)
    }

    /// How many requests of all together were charged to a rate limit since the start.
    pub fn charged(&self) -> u64 {
        self.shared.world().0.log.charged()
    }

    /// Waits until a condition holds and returns what was the case then; as an error, what was the
    /// case when `within` had passed.
    pub async fn until(
        &self,
        within: Duration,
        condition: impl Fn(&Snapshot) -> bool,
    ) -> Result<Snapshot, Box<Snapshot>> {
        let deadline = Instant::now() + within;
        loop {
            let snapshot = self.snapshot();
            if condition(&snapshot) {
                return Ok(snapshot);
            }
            if Instant::now() >= deadline {
                return Err(Box::new(snapshot));
            }
            let look = (Instant::now() + LOOK).min(deadline);
            // Either a change or the time of the next check; both lead to the next check.
            drop(timeout_at(look, self.shared.changed.notified()).await);
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(sender) = self.sender.get() {
            sender.abort();
        }
    }
}
