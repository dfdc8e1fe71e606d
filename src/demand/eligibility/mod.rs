//! Which jobs the runners of a scope may have: the numbers by which GitHub knows its repositories, and the policies of
//! its runner groups.

mod addresses;
mod groups;

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};

use self::addresses::watch_addresses;
pub use self::{
    addresses::ADDRESSES_INTERVAL,
    groups::{GROUPS_INTERVAL, watch_groups},
};
use super::{ScopeContext, Tasks};

/// How long the runner groups wait for the numbers of the configured repositories at most.
const NUMBERS: Duration = Duration::from_mins(1);

/// Reads both now and again, the groups only where jobs are counted individually.
pub fn start(context: ScopeContext<'_>, tasks: &mut Tasks) {
    let (client, pools, publisher) = (context.client, context.pools, context.publisher);
    let (known, numbers) = oneshot::channel();
    tasks.observers.spawn(watch_addresses(client.clone(), pools.to_vec(), known));
    if pools.iter().any(|pool| pool.demand.counts_jobs()) {
        let groups = watch_groups(client.clone(), pools.to_vec(), publisher.clone());
        tasks.observers.spawn(async move {
            // A group names a repository that was renamed by its new name.
            let _ = timeout(NUMBERS, numbers).await;
            groups.await;
        });
    }
}
