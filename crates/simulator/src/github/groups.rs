//! Runner groups of organizations and enterprises.

use serde_json::json;

use super::exchange::{Asked, Reply};
use crate::{scope_path::is_enterprise, world::World};

impl World {
    pub(super) fn list_groups(&self, asked: &Asked, scope: &str) -> Reply {
        let at_enterprise = is_enterprise(scope);
        let above = if at_enterprise { String::new() } else { "orgs/".to_owned() };
        let url = format!("{}/{above}{scope}/actions/runner-groups", asked.base);
        let groups = self.groups().map(|(id, name)| {
            let policy = self.settings.group_policies.get(name).cloned().unwrap_or_default();
            let mut group = json!({
                "id": id,
                "name": name,
                "visibility": policy.visibility,
                "default": id == 1,
                "runners_url": format!("{url}/{id}/runners"),
                "allows_public_repositories": policy.allows_public_repositories,
                "restricted_to_workflows": !policy.workflows.is_empty(),
                "selected_workflows": policy.workflows,
                "workflow_restrictions_read_only": false,
            });
            if at_enterprise {
                group["selected_organizations_url"] = json!(format!("{url}/{id}/organizations"));
            } else {
                group["inherited"] = json!(policy.inherited);
                group["selected_repositories_url"] = json!(format!("{url}/{id}/repositories"));
            }
            group
        });
        self.page(asked, "runner_groups", groups.collect())
    }

    /// The repositories that were selected for a group.
    pub(super) fn list_group_repositories(&self, asked: &Asked, id: u64) -> Reply {
        let Some((_, name)) = self.groups().find(|&(group, _)| group == id) else {
            return Reply::not_found();
        };
        let policy = self.settings.group_policies.get(name).cloned().unwrap_or_default();
        let rows = policy.repositories.iter().map(|repository| self.repository_row(asked, repository));
        self.page(asked, "repositories", rows.collect())
    }
}
