//! Runner groups: which repositories and workflows may use them.

use super::{Repository, Run, World};
use crate::simulator::{GroupAccess, GroupVisibility};

impl World {
    pub(in crate::simulator) fn set_group(&mut self, name: &str, access: GroupAccess) -> bool {
        let Some(id) = self.groups().find(|(_, known)| *known == name).map(|(id, _)| id) else {
            return false;
        };
        self.access.insert(id, access);
        true
    }

    /// Who may use a group.
    pub(in crate::simulator) fn group_access(&self, group: u64) -> GroupAccess {
        self.access.get(&group).cloned().unwrap_or_default()
    }

    /// Whether a group's runners may serve a run's jobs.
    pub(super) fn admits(&self, group: u64, repository: &Repository, run: &Run) -> bool {
        let default = GroupAccess::default();
        let access = self.access.get(&group).unwrap_or(&default);
        let visible = match &access.visibility {
            GroupVisibility::All => true,
            GroupVisibility::Private => !repository.public,
            GroupVisibility::Selected(names) => {
                names.iter().any(|name| name.eq_ignore_ascii_case(&run.repository))
            }
        };
        let allowed = |workflow: &String| run.workflows().any(|known| known == *workflow);
        visible
            && (access.allows_public || !repository.public)
            && access.workflows.as_ref().is_none_or(|workflows| workflows.iter().any(allowed))
    }
}
