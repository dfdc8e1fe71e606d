//! The listening socket. It is a separate loop instead of axum's, because GitHub can also close a connection
//! without a response, or be unreachable.

use std::{convert::Infallible, io, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::ServiceExt as _;

/// Marks a response that is not to be sent: the connection is closed in its place.
#[derive(Clone, Copy)]
pub(super) struct Dropped;

/// Serves until it is aborted, which ends all connections too. During an outage connections are
/// accepted and closed at once.
pub(super) async fn serve(listener: TcpListener, router: Router, mut outage: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if !*outage.borrow() => {
                    connections.spawn(connection(stream, router.clone()));
                }
                Ok(_) => {}
                // Out of descriptors, most likely; others will be closed meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Ok(()) = outage.changed() => {
                if *outage.borrow_and_update() {
                    connections.abort_all();
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    // Without it small answers wait for the other side's delayed acknowledgement.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let response: Result<Response, Infallible> = answer.await;
            let Ok(response) = response;
            match response.extensions().get::<Dropped>() {
                Some(Dropped) => Err(io::Error::other("dropped on request")),
                None => Ok(response),
            }
        }
    });
    // The client notices when a connection ends early.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
