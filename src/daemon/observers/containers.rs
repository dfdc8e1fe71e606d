//! A host's containers: listed now and again, and sooner when the engine's events say so. Ends of containers are read
//! as they happen.

use std::{pin::pin, sync::Arc};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};
use tracing::debug;

use crate::{
    clock,
    daemon::{
        engine::{Engine, RETRY},
        parts::BoundedEdges,
    },
    demand::Publisher,
    fleet::{Evidence, HostName},
    host::{Happened, Host},
    text::chain,
};

/// Ends of containers that are read at once, per engine. It returns about as many as fast as one.
const ENDS: usize = 8;

/// Lists a host's containers, one list after the other, for as long as the daemon runs.
pub(super) async fn list_containers(
    edges: Arc<BoundedEdges>,
    engine: Engine,
    host: HostName,
    publisher: Publisher,
    relist: Arc<Notify>,
) {
    loop {
        let evidence = edges.list_containers(&host, clock::now()).await;
        engine.was_listed(matches!(evidence[..], [Evidence::Containers { .. }, ..]));
        for evidence in evidence {
            publisher.publish(evidence);
        }
        // Either is a reason to list again: the time has come, or something happened.
        let _ = timeout(engine.api.relist_after(), relist.notified()).await;
    }
}

/// Follows an engine's events: ends and out-of-memory kills are evidence at once, and every
/// event is a reason to list again.
pub(super) async fn follow_events(engine: Engine, host: HostName, publisher: Publisher, relist: Arc<Notify>) {
    let (ends, mut pauses) = (Arc::new(Semaphore::new(ENDS)), engine.pauses());
    loop {
        let opened = Instant::now();
        let mut events = pin!(engine.api.events());
        while let Some(event) = events.next().await {
            if event.is_ok() {
                pauses.reset();
            }
            match event {
                Ok(Happened::Died { runner, id, code }) => {
                    // A replacement need not wait for the rest, which an engine may take long to return while
                    // it still clears up after the container.
                    if let Some(code) = code {
                        publisher.publish(Evidence::Died { runner: runner.clone(), code });
                    }
                    let (api, publisher) = (engine.api.clone(), publisher.clone());
                    let (ends, relist) = (ends.clone(), relist.clone());
                    tokio::spawn(async move {
                        // Never closed, and if it were, having no bound is the lesser evil.
                        let _slot = ends.acquire().await;
                        match api.exit(&id).await {
                            Ok(Some(exit)) => publisher.publish(Evidence::Exited { runner, exit }),
                            Ok(None) | Err(_) => relist.notify_one(),
                        }
                    });
                }
                Ok(Happened::Oom { runner, .. }) => publisher.publish(Evidence::OutOfMemory { runner }),
                Ok(Happened::Started { .. }) => {}
                Ok(Happened::Destroyed { .. } | Happened::Sidecar { .. } | Happened::Changed) => {
                    relist.notify_one();
                }
                Err(error) => debug!(%host, error = chain(&error), "the engine's event stream ended"),
            }
        }
        if opened.elapsed() >= RETRY.1 {
            pauses.reset();
        }
        // What happened in between is found by listing.
        relist.notify_one();
        pauses.wait().await;
    }
}
