//! The access policy of a scope's runner groups, which decides which jobs its runners may have.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    backoff::Backoff,
    demand::Publisher,
    fleet::{Evidence, GroupPolicy, Pool, Target},
    github::{Client, GithubError, RunnerGroup},
    text::chain,
};

/// How often they are read.
pub const GROUPS_INTERVAL: Duration = Duration::from_mins(10);

/// How soon after a failure they are read again: after the first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// Lists the runner groups that the pools of a scope use, periodically, and publishes their policy. A
/// repository has none.
pub async fn watch_groups(client: Client, pools: Vec<Pool>, publisher: Publisher) {
    if let Target::Repository { .. } = client.scope().target() {
        return;
    }
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let wait = match read(&client, &pools).await {
            Ok(groups) => {
                backoff.reset();
                publisher.publish(Evidence::Groups { scope: client.scope().clone(), groups });
                GROUPS_INTERVAL
            }
            Err(error) => {
                let (scope, error) = (client.scope(), chain(&error));
                let wait = backoff.fail();
                if backoff.failures() == 1 {
                    warn!(
                        %scope, error,
                        "failed to list the runner groups, so jobs that they do not allow may be counted as \
                         queued; retrying with increasing delays"
                    );
                } else {
                    debug!(%scope, error, ?wait, "failed to list the runner groups");
                }
                wait
            }
        };
        sleep(wait).await;
    }
}

async fn read(client: &Client, pools: &[Pool]) -> Result<Vec<GroupPolicy>, GithubError> {
    let used = |group: &RunnerGroup| {
        group.default || pools.iter().any(|pool| pool.group.eq_ignore_ascii_case(&group.name))
    };
    let mut policies = Vec::new();
    for group in client.groups().await?.into_iter().filter(used) {
        policies.push(client.group_policy(group).await?);
    }
    Ok(policies)
}
