//! GitHub's ids of the configured scopes and repositories, so that renamed or transferred ones are still
//! recognized.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    backoff::Backoff,
    fleet::{Pool, Scope},
    github::{Client, GithubError},
    text::chain,
};

/// How often they are read, unless something comes under an address that is not the one known; each is a conditional
/// request.
pub const ADDRESSES_INTERVAL: Duration = Duration::from_hours(1);

/// How soon after a failure, and how soon at all.
const RETRY: Duration = Duration::from_mins(1);

/// Reads the numbers of the client's scope and of the repositories that its pools name, now and again; `known` is
/// notified after the first time. Never ends.
pub(super) async fn watch_addresses(client: Client, pools: Vec<Pool>, known: oneshot::Sender<()>) {
    let named = pools.iter().flat_map(|pool| &pool.repositories);
    let configured: BTreeSet<&Scope> = named.chain([client.scope()]).collect();
    let (mut backoff, mut known) = (Backoff::new(RETRY, ADDRESSES_INTERVAL), Some(known));
    loop {
        let mut failed = false;
        for configured in &configured {
            if let Err(error) = client.identify(configured).await {
                // What cannot be read at all is logged by its user.
                debug!(%configured, error = chain(&error), "failed to read the id of a scope");
                failed = true;
                if let GithubError::RateLimited { .. } | GithubError::Unreachable(_) = error {
                    break;
                }
            }
        }
        if let Some(known) = known.take() {
            // There may be no receiver.
            let _ = known.send(());
        }
        if failed {
            sleep(backoff.fail()).await;
        } else {
            backoff.reset();
            sleep(RETRY).await;
            // Whether anything came makes no difference: they are read either way.
            let _ = timeout(ADDRESSES_INTERVAL.saturating_sub(RETRY), client.identities().doubted()).await;
        }
    }
}
