//! The service's list of runners as it was last given, and whether it can be given once more: at rest that saves
//! nearly every request for it.

use std::time::{Duration, Instant};

use crate::github::Listing;

/// How long a list is given again.
const FRESH: Duration = Duration::from_mins(10);

/// How long lists may lag behind what was minted or removed: one that began sooner is not given again.
const LAG: Duration = Duration::from_mins(2);

/// The newest list.
#[derive(Debug, Default)]
pub(super) struct ListCache {
    /// The revision of the scope's own list and the time, before it was asked for.
    newest: Option<(u64, Instant, Listing)>,
    /// When a runner was last minted or removed here.
    changed_at: Option<Instant>,
}

impl ListCache {
    /// Something is about to be minted or removed.
    pub(super) fn changes(&mut self, now: Instant) {
        (self.newest, self.changed_at) = (None, Some(now));
    }

    /// Keeps a list that was begun then.
    pub(super) fn keep(&mut self, revision: u64, began: Instant, listing: &Listing) {
        let settled = self.changed_at.is_none_or(|at| began.saturating_duration_since(at) >= LAG);
        self.newest = settled.then(|| (revision, began, listing.clone()));
    }

    /// The list, if nothing can have changed since.
    pub(super) fn again(&self, revision: u64, now: Instant) -> Option<Listing> {
        let (of, began, listing) = self.newest.as_ref()?;
        let is_good =
            *of == revision && now.saturating_duration_since(*began) < FRESH && listing.unreadable.is_empty();
        is_good.then(|| listing.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_given_again_while_nothing_can_have_changed() {
        let (mut listed, start, list) = (ListCache::default(), Instant::now(), Listing::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(listed.again(1, at(0)), None);
        listed.keep(1, at(0), &list);
        assert!(listed.again(1, at(599)).is_some());
        assert_eq!(listed.again(2, at(1)), None, "the scope's own list has changed");
        assert_eq!(listed.again(1, at(600)), None, "it is too old");

        listed.changes(at(700));
        assert_eq!(listed.again(1, at(700)), None);
        listed.keep(1, at(819), &list);
        assert_eq!(listed.again(1, at(819)), None, "it may not show what was minted");
        listed.keep(1, at(820), &list);
        assert!(listed.again(1, at(821)).is_some());

        let unreadable = Listing { unreadable: vec![None], ..list };
        listed.keep(1, at(830), &unreadable);
        assert_eq!(listed.again(1, at(831)), None);
    }
}
