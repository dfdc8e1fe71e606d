//! What an edge remembers of its engine's containers, so that it requests nothing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::container::Condition;
use crate::fleet::{ContainerId, ContainerState, Exit, Resources};

/// The memory of all containers.
#[derive(Default)]
pub(super) struct Memory {
    known: BTreeMap<ContainerId, Known>,
    warned: BTreeSet<ContainerId>,
    unread: BTreeSet<ContainerId>,
    /// Containers that a list showed as exited but no event did.
    unreported: BTreeSet<ContainerId>,
}

/// What does not change while a container exists, so that each is inspected at most once while running and
/// once after its exit.
struct Known {
    resources: Resources,
    exit: Option<Exit>,
    /// Created here, and its start has not been requested yet.
    fresh: bool,
    died: bool,
    since: Instant,
}

impl Known {
    fn new(resources: Resources) -> Self {
        let since = Instant::now();
        Self { resources, exit: None, fresh: false, died: false, since }
    }
}

impl Memory {
    /// Records that a container was created with these limits.
    pub(super) fn created(&mut self, id: ContainerId, resources: Resources) {
        self.known.insert(id, Known { fresh: true, ..Known::new(resources) });
    }

    /// Records that its start is about to be requested. Returns whether it is certain that it was not started
    /// before.
    pub(super) fn starts(&mut self, id: &ContainerId) -> bool {
        self.known.get_mut(id).is_some_and(|known| std::mem::take(&mut known.fresh))
    }

    /// Records that an event reported its exit.
    pub(super) fn died(&mut self, id: &ContainerId) {
        self.unreported.remove(id);
        if let Some(known) = self.known.get_mut(id) {
            known.died = true;
        }
    }

    /// Whether an event reported its exit.
    pub(super) fn has_died(&self, id: &ContainerId) -> bool {
        self.known.get(id).is_some_and(|known| known.died)
    }

    /// Records an inspection; `died` is whether its exit had been reported when the inspection began.
    pub(super) fn inspected(
        &mut self,
        id: &ContainerId,
        resources: Resources,
        exit: Option<Exit>,
        died: bool,
    ) {
        let known = self.known.entry(id.clone()).or_insert_with(|| Known::new(resources));
        // Something started it again.
        known.died &= exit.is_some() || !died;
        (known.resources, known.exit, known.fresh) = (resources, exit, false);
    }

    /// The state of a listed container, as far as it is known without an inspection.
    pub(super) fn recall(
        &self,
        id: &ContainerId,
        condition: Option<Condition>,
    ) -> Option<(Resources, ContainerState)> {
        let known = self.known.get(id)?;
        let state = match condition? {
            Condition::Created => ContainerState::Created,
            // A list lags behind an exit; and a container that is running after its exit was started by
            // something else.
            Condition::Up if known.exit.is_some() || known.died => return None,
            Condition::Up => ContainerState::Up,
            Condition::Down => ContainerState::Down(known.exit.clone()?),
        };
        Some((known.resources, state))
    }

    /// Records that a list shows a container as exited. Returns whether an event should have reported that.
    pub(super) fn listed_down(&mut self, id: &ContainerId) -> bool {
        let news = self.known.get(id).is_some_and(|known| known.exit.is_none() && !known.died);
        news && self.unreported.insert(id.clone())
    }

    /// Whether exits were missed since the last call.
    pub(super) fn missed_ends(&mut self) -> bool {
        !std::mem::take(&mut self.unreported).is_empty()
    }

    /// Records that a container is not a runner of this instance; returns whether that is the first time.
    pub(super) fn first_warning(&mut self, id: &ContainerId) -> bool {
        self.warned.insert(id.clone())
    }

    /// Records that a container's log could not be read; returns whether that is the first time.
    pub(super) fn first_unread(&mut self, id: &ContainerId) -> bool {
        self.unread.insert(id.clone())
    }

    /// Drops what is missing from a list that began at this time.
    pub(super) fn retain(&mut self, present: &BTreeSet<ContainerId>, began: Instant) {
        self.known.retain(|id, known| present.contains(id) || known.since >= began);
        self.warned.retain(|id| present.contains(id));
        self.unread.retain(|id| present.contains(id));
        self.unreported.retain(|id| present.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Resources = Resources { memory: 0, cpu_millis: 0 };

    fn id() -> ContainerId {
        ContainerId("c".into())
    }

    fn is_up(memory: &Memory) -> bool {
        matches!(memory.recall(&id(), Some(Condition::Up)), Some((_, ContainerState::Up)))
    }

    #[test]
    fn a_container_made_here_needs_no_inspection_to_start_and_to_be_listed() {
        let mut memory = Memory::default();
        assert!(!memory.starts(&id()) && !is_up(&memory));
        memory.created(id(), NOTHING);
        assert!(memory.starts(&id()) && is_up(&memory));
        assert!(!memory.starts(&id()), "the first start may have come through");
    }

    #[test]
    fn a_list_that_lags_behind_a_reported_end_is_not_believed() {
        let mut memory = Memory::default();
        memory.created(id(), NOTHING);
        memory.died(&id());
        assert!(!is_up(&memory));
        // An inspection in progress shows nothing of the exit.
        memory.inspected(&id(), NOTHING, None, false);
        assert!(!is_up(&memory));
        memory.inspected(&id(), NOTHING, None, true);
        assert!(is_up(&memory), "it was started again");
    }

    #[test]
    fn an_end_that_no_event_reports_is_noticed_once() {
        let mut memory = Memory::default();
        assert!(!memory.listed_down(&id()), "it ended before anybody listened");
        memory.created(id(), NOTHING);
        assert!(memory.listed_down(&id()) && !memory.listed_down(&id()));
        assert!(memory.missed_ends() && !memory.missed_ends());
        assert!(memory.listed_down(&id()));
        memory.died(&id());
        assert!(!memory.missed_ends(), "the event was only late");
        assert!(!memory.listed_down(&id()));
    }

    #[test]
    fn a_list_does_not_forget_what_was_made_after_it_began() {
        let mut memory = Memory::default();
        let before = Instant::now();
        memory.created(id(), NOTHING);
        memory.retain(&BTreeSet::new(), before);
        assert!(is_up(&memory));
        memory.retain(&BTreeSet::new(), Instant::now() + std::time::Duration::from_secs(1));
        assert!(!is_up(&memory));
    }
}
