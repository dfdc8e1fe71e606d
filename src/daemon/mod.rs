//! The shell around the core: it runs the edges, feeds evidence in and carries plans out.
//!
//! ```text
//! observers ──evidence──▶ planner (Fleet: observe, plan) ──actions──▶ edges ──evidence──▶ planner
//!                            │
//!                            └─ status and events ─▶ metrics, log, web server
//! ```

mod bounds;
mod engine;
mod failures;
mod limits;
mod lock;
mod observers;
mod parts;
mod planner;
mod start_error;
mod web;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::{
    bounds::Bounded,
    lock::{InstanceLock, LockError},
    start_error::StartError,
};
use self::{
    parts::Parts,
    planner::{Planner, notify_systemd},
};
use crate::{
    config::Config,
    demand::Tasks,
    fleet::{Evidence, Status},
    http,
};

/// Connections that wait to be accepted at most.
const BACKLOG: u32 = 1024;

/// How long actions in flight may take when the daemon stops. A launch that succeeds leaves nothing to clean
/// up, and a session that is closed need not expire.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// A daemon that holds its lock and its address, and has not begun to plan.
pub struct Daemon {
    planner: Planner,
    tasks: Tasks,
    app: http::App,
    listener: TcpListener,
    _lock: InstanceLock,
}

impl Daemon {
    /// Takes the lock and the address, and starts to observe everything that is configured. Waits for
    /// none of it: an unreachable scope or engine does not prevent a start. Must be called within a runtime.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        limits::raise_open_files();
        let lock = InstanceLock::acquire(&config.state_dir, &config.instance)?;
        let listener = listen(config.listen).map_err(|error| StartError::Listen(config.listen, error))?;
        let secrets = web::secrets(config)?;
        let parts = Parts::new(config)?;
        let (tasks, queues) = observers::start(&parts);
        let (app, hints) = web::app(&parts, secrets, queues);
        let planner = Planner::new(parts, hints);
        Ok(Self { planner, tasks, app, listener, _lock: lock })
    }

    /// Where the web server listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The last pass's report, now and whenever there is a new one.
    pub fn reports(&self) -> watch::Receiver<Arc<Status>> {
        self.app.reports.clone()
    }

    /// A function that makes the daemon drain: launch nothing, remove idle runners, let busy ones finish.
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
        let stop = self.tasks.stop.clone();
        let shutdown = async move {
            shutdown.await;
            stop.cancel();
        };
        let actions = self.planner.run(shutdown).await;
        notify_systemd(sd_notify::NotifyState::Stopping);
        info!("stopping; runners are left running for the next start");
        self.tasks.observers.abort_all();
        ending.cancel();
        self.tasks.sessions.close();
        let ends = async { tokio::join!(actions.wait(), self.tasks.sessions.wait(), server) };
        if timeout(SHUTDOWN, ends).await.is_err() {
            if !actions.is_empty() {
                let left = actions.len();
                warn!(left, "some actions did not finish in time; the next start cleans up after them");
            }
            if !self.tasks.sessions.is_empty() {
                warn!("failed to close a scale set's session in time; the next start closes it");
            }
        }
    }
}

/// Listens at once: an address is not resolved.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
