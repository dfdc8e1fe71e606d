//! The connections of the proxy: their number, and how long a client may take to send a request.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    time,
};
use tracing::warn;

use super::{
    destinations::Destinations,
    forward::{Proxy, refusal},
    line::Report,
    network::{Network, keep_alive},
    policy::Policy,
};

/// The pause after a connection could not be accepted, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The limits of one proxy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To send the head of a request; also how long a connection may be idle between requests. An open
    /// tunnel may be idle for any time.
    pub head: Duration,
    /// To resolve a name, and again to connect.
    pub connect: Duration,
    /// Connections of clients, tunnels included. Each has at most one to a server, and together they keep
    /// below the 1024 open files that containers get by default.
    pub connections: usize,
    /// Connections above that which are accepted to be answered with 503. Still more wait.
    pub refused_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            connections: 400,
            refused_connections: 64,
        }
    }
}

/// Serves clients for as long as it is polled. Reports are sent to `reports`, and dropped while it is full.
pub async fn serve<N: Network>(
    listener: TcpListener,
    policy: Policy,
    network: N,
    limits: Limits,
    reports: mpsc::Sender<Report>,
) {
    let proxy = Arc::new(Proxy {
        policy,
        network,
        connect_timeout: limits.connect,
        destinations: Mutex::<Destinations>::default(),
        reports,
    });
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
    let places = Arc::new(Semaphore::new(limits.connections));
    let refused = Arc::new(Semaphore::new(limits.refused_connections));
    let mut failing = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(error = %error, "the proxy failed to accept a connection, will retry");
                }
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        keep_alive(&stream);
        let stream = TokioIo::new(stream);
        if let Ok(place) = places.clone().try_acquire_owned() {
            let (proxy, place) = (proxy.clone(), Arc::new(place));
            let service = service_fn(move |request| {
                let (proxy, place) = (proxy.clone(), place.clone());
                async move { Ok::<_, Infallible>(proxy.respond(request, place).await) }
            });
            tokio::spawn(http1.serve_connection(stream, service).with_upgrades());
            continue;
        }
        // It is never closed.
        let Ok(place) = refused.clone().acquire_owned().await else { return };
        let most = limits.connections;
        let service = service_fn(move |_: Request<Incoming>| async move {
            let text = format!("it has {most} open connections, which is its limit; close some of them");
            Ok::<_, Infallible>(refusal(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", &text))
        });
        let mut http1 = http1.clone();
        let connection = http1.keep_alive(false).serve_connection(stream, service);
        tokio::spawn(async move {
            // A client that breaks off has its answer, or does not want it.
            let _ = connection.await;
            drop(place);
        });
    }
}
