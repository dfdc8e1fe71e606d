//! The access policies of runner groups, as the core's types.

use super::{
    Client, GithubError, GroupRepository, Numbers, RunnerGroup,
    identities::{Placed, within},
};
use crate::fleet::{GroupPolicy, Scope, Target, Visibility};

impl Client {
    /// The policies of all runner groups; none for a repository, which has no groups.
    pub async fn group_policies(&self) -> Result<Vec<GroupPolicy>, GithubError> {
        let mut policies = Vec::new();
        if let Target::Repository { .. } = self.scope().target() {
            return Ok(policies);
        }
        for group in self.groups().await? {
            policies.push(self.group_policy(group).await?);
        }
        Ok(policies)
    }

    /// What a repository of the organization is called: its own name, and that of the configuration if it was
    /// renamed since. All are the organization's, under any name that it has by now.
    fn names_of(&self, row: &GroupRepository) -> Vec<Scope> {
        let Some(named) = self.scope().repository(&row.full_name) else { return Vec::new() };
        let numbers = Numbers { repository: row.id, owner: None };
        let placed = self.identities().configured(&named, numbers);
        let named = within(self.scope(), &named).unwrap_or(named);
        match placed {
            Placed::Repository(configured) if configured != named => vec![named, configured],
            _ => vec![named],
        }
    }

    /// The policy of one group. An enterprise's group serves organizations, which a job does not
    /// name, so it counts as open to all.
    pub async fn group_policy(&self, group: RunnerGroup) -> Result<GroupPolicy, GithubError> {
        let of_organization = matches!(self.scope().target(), Target::Organization { .. });
        let visibility = match group.visibility.as_deref() {
            Some("private") => Visibility::Private,
            Some("selected") if of_organization => {
                let rows = self.group_repositories(group.id).await?;
                Visibility::Selected(rows.iter().flat_map(|row| self.names_of(row)).collect())
            }
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
}
