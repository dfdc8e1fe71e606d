//! A GitHub that fits in a process, and the runners to go with it: what tests, benchmarks and `dayfly demo`
//! share. It only communicates over the network and knows nothing of the daemon.
//!
//! [`Simulator::start`] serves the runner API of repositories, organizations and enterprises on
//! a loopback address, with and without `/api/v3`, and a queue of jobs. The simulated runner ([`runner`])
//! takes its JIT config as the real one does, connects, and serves one job. [`image`] makes a
//! container image of it on the spot.

mod apps;
mod broker;
mod faults;
mod github;
mod hooks;
pub mod image;
mod jit;
mod job;
pub mod runner;
mod scale_sets;
mod server;
mod settings;
mod wire;
mod world;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::world::World;
use dayfly_fleet::Timestamp;

pub use self::{
    apps::{App, Installation},
    faults::{Fault, FaultKind},
    github::{Endpoint, Request},
    hooks::{DeliveryView, Hook, HookFaults},
    job::{Behaviour, Hold, Job},
    scale_sets::{ScaleSetFault, ScaleSetKnobs, ScaleSetRequest, ScaleSetRoute, ScaleSetRules, ScaleSetView},
    settings::{EndOfLife, GroupPolicy, Presence, Settings},
    world::{Conclusion, JobState, JobView, RunnerView, Snapshot, Waits},
};

/// How often a condition is checked that changes without a notification, such as lags and leases.
const LOOK: Duration = Duration::from_millis(20);

/// A running simulator. Dropping it ends the server and every connection to it.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    outage: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// Sends webhook deliveries, once there are webhooks.
    sender: OnceLock<JoinHandle<()>>,
}

/// What the server's connections and the handle share.
struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

impl Shared {
    /// The world, with everything in it that time alone brings about up to date.
    fn world(&self) -> (MutexGuard<'_, World>, Timestamp) {
        // A panic while it was held is a bug that the panicking side reports; the state is plain.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        world.settle(now);
        (world, now)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Simulator {
    /// Binds the address of `settings` and serves on it. Fails when the address cannot be bound.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let runner_url = settings.runner_url.clone().unwrap_or_else(|| format!("http://{address}"));
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

    /// The address without a path: `http://127.0.0.1:PORT`. The API base is this with `/api/v3`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that a pool's `url` gets for a scope such as `acme` or `acme/widgets`.
    pub fn scope_url(&self, scope: &str) -> String {
        format!("{}/{scope}", self.url())
    }

    /// Queues a job and says its id.
    pub fn enqueue(&self, job: Job) -> u64 {
        self.change(|world, now| world.enqueue(job, now))
    }

    /// Lets a job be queued that an approval or a concurrency limit held; says whether it was held.
    pub fn release(&self, job: u64) -> bool {
        self.change(|world, now| world.release_held(job, now))
    }

    /// Cancels a job; says whether it was not over yet. A runner that has it notices when it reports.
    pub fn cancel(&self, job: u64) -> bool {
        self.change(|world, now| world.cancel(job, now))
    }

    /// Runs all jobs of a run again, as a new attempt with new job ids, which are returned.
    pub fn rerun(&self, run: u64) -> Vec<u64> {
        self.change(|world, now| world.rerun(run, now))
    }

    /// Creates a repository (`owner/name`), or changes whether it is public. It was pushed to now.
    pub fn push(&self, repository: &str, public: bool) {
        self.change(|world, now| world.push(repository, public, now));
    }

    /// Creates a webhook, which is pinged at once, and says its id.
    pub fn add_hook(&self, hook: Hook) -> u64 {
        self.sender.get_or_init(|| tokio::spawn(hooks::post::send(Arc::clone(&self.shared))));
        self.change(|world, now| {
            let id = world.hooks.add(hook);
            world.ping(id, now);
            id
        })
    }

    /// Makes deliveries of all hooks go wrong from now on.
    pub fn set_hook_faults(&self, faults: HookFaults) {
        self.change(|world, _| world.hooks.faults = faults);
    }

    /// Sends the deliveries that were kept back, newest first, and keeps none back any more.
    pub fn let_deliveries_go(&self) {
        self.change(|world, now| world.hooks.let_go(now));
    }

    /// The deliveries that were tried, oldest first; only the latest ten thousand are kept.
    pub fn deliveries(&self) -> Vec<DeliveryView> {
        self.shared.world().0.hooks.views()
    }

    /// Makes GitHub misbehave, until the fault is used up or cleared.
    pub fn fault(&self, fault: Fault) {
        self.change(|world, now| world.faults.add(fault, now));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.change(|world, _| world.faults.clear());
    }

    /// While `on`, every connection is cut at once and nothing is answered, to anybody.
    pub fn outage(&self, on: bool) {
        self.outage.send_replace(on);
    }

    /// Adds a registration without a container to a scope: another installation's runner, or a leftover.
    /// `None` when there is no such scope.
    pub fn register(&self, scope: &str, name: &str, labels: &[&str], presence: Presence) -> Option<u64> {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.change(|world, now| world.register(scope, name, labels, presence, now))
    }

    /// Removes a registration as GitHub does by itself now and then; says whether it was there.
    pub fn forget(&self, registration: u64) -> bool {
        self.change(|world, _| world.forget(registration))
    }

    /// How long after a job's assignment `busy` says so, from now on.
    pub fn set_busy_lag(&self, lag: Duration) {
        self.change(|world, _| world.settings.busy_lag = lag);
    }

    /// Changes what GitHub is set up with: Apps, clock, tokens, groups.
    pub fn set(&self, edit: impl FnOnce(&mut Settings)) {
        self.change(|world, _| edit(&mut world.settings));
    }

    /// Ends all installation tokens at once, as GitHub does when an App is suspended.
    pub fn revoke_installation_tokens(&self) {
        self.change(|world, _| world.issued.revoke());
    }

    /// Runner scale sets: what is the case, and what can be turned.
    pub fn scale_sets(&self) -> ScaleSetKnobs<'_> {
        ScaleSetKnobs(self)
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
            // Either a change or the time for another check; both lead to the next check.
            drop(timeout_at(look, self.shared.changed.notified()).await);
        }
    }

    fn change<T>(&self, edit: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let (mut world, now) = self.shared.world();
        let outcome = edit(&mut world, now);
        drop(world);
        self.shared.changed.notify_waiters();
        outcome
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
