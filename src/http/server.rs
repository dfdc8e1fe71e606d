//! Connections: who may hold one for how long. What they are answered is in the pages.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time};

use super::pages::{App, pages};

/// How long a client may take to send a request's head; idle connections are closed after it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long requests in flight may take once the daemon stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// Answers requests until `shutdown` completes, and then at most two seconds longer.
///
/// Not `axum::serve`: that waits for ever for a client that does not finish its request's head,
/// and for requests in flight at a shutdown.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(pages(app));
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection =
                    graceful.watch(http1.serve_connection(TokioIo::new(stream), service.clone()));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(error = %error, "a client's connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection, will try again");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::debug!("requests in flight were cut off");
    }
}
