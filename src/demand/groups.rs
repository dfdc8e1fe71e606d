//! The policy of a scope's runner groups, which decides whose jobs its runners may have.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    fleet::{Evidence, GroupPolicy, Pool, Target, Visibility},
    github::{Client, GithubError, RunnerGroup},
    host::chain,
};

/// How often they are read.
const READ: Duration = Duration::from_mins(10);

/// How soon after a failure they are read again.
const RETRY: Duration = Duration::from_mins(1);

/// Reads the groups that the pools of a scope use, now and again, and publishes their policy. A
/// repository has none, so that there is nothing to do.
pub async fn watch_groups(client: Client, pools: Vec<Pool>, publish: impl Fn(Evidence) + Send + Sync) {
    if let Target::Repository { .. } = client.scope().target() {
        return;
    }
    let mut told = false;
    loop {
        let wait = match read(&client, &pools).await {
            Ok(groups) => {
                told = false;
                publish(Evidence::Groups { scope: client.scope().clone(), groups });
                READ
            }
            Err(error) => {
                let (scope, error) = (client.scope(), chain(&error));
                if told {
                    debug!(%scope, error, "the runner groups cannot be read");
                } else {
                    warn!(
                        %scope, error,
                        "the runner groups cannot be read, so jobs that they do not admit may be counted as \
                         waiting; tried again each minute"
                    );
                }
                told = true;
                RETRY
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
        policies.push(policy(client, group).await?);
    }
    Ok(policies)
}

async fn policy(client: &Client, group: RunnerGroup) -> Result<GroupPolicy, GithubError> {
    let scope = client.scope();
    let visibility = match (group.visibility.as_deref(), scope.target()) {
        (Some("private"), _) => Visibility::Private,
        (Some("selected"), Target::Organization { .. }) => {
            let names = client.group_repositories(group.id).await?;
            Visibility::Selected(names.iter().filter_map(|name| scope.repository(name)).collect())
        }
        // What an enterprise selects are organizations.
        _ => Visibility::All,
    };
    Ok(GroupPolicy {
        name: group.name,
        default: group.default,
        visibility,
        // Unsaid is GitHub's default, which is no.
        allows_public: group.allows_public_repositories.unwrap_or(false),
        workflows: group.restricted_to_workflows.then_some(group.selected_workflows),
    })
}
