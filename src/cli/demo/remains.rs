//! Removes the containers that this demo or a killed one has left.

use std::{sync::Arc, time::Duration};

use super::folder::Folder;
use crate::{
    fleet::InstanceId,
    host::{Docker, Endpoint, Host, Listed},
};

/// How often removal is repeated, since an engine may still be creating a container.
const REMOVALS: usize = 3;

/// The engine; only containers of this instance are listed.
pub(super) fn engine_of(endpoint: &Endpoint, instance: InstanceId) -> anyhow::Result<Docker> {
    Ok(Docker::new("local".parse()?, endpoint.clone(), instance, Arc::new(|_| {})))
}

/// Removes what killed demos have left, and returns the number of containers.
pub(super) async fn remove_remains(endpoint: &Endpoint, address: &str) -> usize {
    let mut removed = 0;
    for (instance, dead) in Folder::of_the_dead(address) {
        let Ok(engine) = engine_of(endpoint, instance) else { continue };
        let count = engine.list().await.map_or(0, |listed| listed.containers.len());
        match remove_all(&engine).await {
            Ok(0) => removed += count,
            // The next demo tries again.
            Ok(_) | Err(_) => drop(dead.keep()),
        }
    }
    removed
}

/// Stops and removes all containers of an instance, and returns how many could not be removed.
pub(super) async fn remove_all(engine: &Docker) -> anyhow::Result<usize> {
    for _ in 0..REMOVALS {
        let Listed { containers, attachments, .. } = engine.list().await?;
        // Those that cannot be removed are counted below.
        for container in containers {
            let _ = engine.stop(&container.id, Duration::ZERO).await;
            let _ = engine.remove(&container.id).await;
        }
        for attachment in attachments {
            let _ = engine.detach(&attachment.runner).await;
        }
    }
    let Listed { containers, attachments, .. } = engine.list().await?;
    Ok(containers.len() + attachments.len())
}
