//! The two halves of a runner: its registration and its container, each as far as it is known.

use std::time::Duration;

use crate::{
    evidence::{ContainerId, Exit, RegistrationId},
    reasons::ExitReason,
    time::Instant,
};

/// How long GitHub's list may lag behind a mint or a removal.
pub(crate) const LIST_LAG: Duration = Duration::from_mins(1);

/// How long a runner must be listed offline, in at least two lists, before its connection counts as lost:
/// short interruptions are common and end by themselves.
pub(crate) const OFFLINE_CONFIRMATION: Duration = Duration::from_mins(1);

/// What is known of a runner's registration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Registered {
    /// There is no sign of one.
    Never,
    /// It was minted, or may have been; no list has shown it yet.
    Expected { id: Option<RegistrationId>, since: Instant },
    /// A list that began at `at` showed it.
    Listed { id: RegistrationId, at: Instant, offline_since: Option<Instant> },
    /// It was missing in a list that began at `since`. One list proves nothing: pages are not a snapshot.
    Missed { id: Option<RegistrationId>, since: Instant },
    /// Missing in two lists. If it is listed again, it was never gone.
    Missing { id: Option<RegistrationId>, since: Instant },
    /// Removed, as confirmed by GitHub. Lists may still show it for a while.
    Gone { id: Option<RegistrationId>, at: Instant },
}

impl Registered {
    /// GitHub's id, also of one that is gone: a removal by id makes sure.
    pub(crate) fn id(&self) -> Option<RegistrationId> {
        match *self {
            Self::Never => None,
            Self::Listed { id, .. } => Some(id),
            Self::Expected { id, .. }
            | Self::Missed { id, .. }
            | Self::Missing { id, .. }
            | Self::Gone { id, .. } => id,
        }
    }

    /// Whether there may be a registration.
    pub(crate) fn may_exist(&self) -> bool {
        !matches!(self, Self::Never) && self.gone_since().is_none()
    }

    /// Since when lists have shown it offline, if they have for this long.
    pub(crate) fn offline_for(&self, length: Duration) -> Option<Instant> {
        match *self {
            Self::Listed { at, offline_since: Some(since), .. } => {
                (at.since(since) >= length).then_some(since)
            }
            _ => None,
        }
    }

    /// Since when it is gone, by a removal or by GitHub's lists.
    pub(crate) fn gone_since(&self) -> Option<Instant> {
        match *self {
            Self::Missing { since: at, .. } | Self::Gone { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Records that a complete list which began at `began` did not show it. Once the container has exited,
    /// the registration has had enough time to show in lists.
    pub(crate) fn absent(&mut self, began: Instant, ended_at: Option<Instant>) {
        *self = match *self {
            Self::Expected { id, since } if began > ended_at.unwrap_or(since + LIST_LAG) => {
                Self::Missed { id, since: began }
            }
            Self::Listed { id, at, .. } if began > at => Self::Missed { id: Some(id), since: began },
            Self::Missed { id, since } if began > since => Self::Missing { id, since: began },
            _ => return,
        };
    }
}

/// What is known of a runner's container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contained {
    /// None was observed.
    Never,
    /// It exists.
    Present {
        id: ContainerId,
        /// When the last list that showed it began.
        at: Instant,
        /// A list that began then should have shown it, but did not.
        missed: bool,
        life: Life,
    },
    /// It existed.
    Gone { at: Instant },
}

/// The state of an existing container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Life {
    /// Created, and not known to have been started.
    Created { since: Instant },
    /// Running.
    Up,
    /// Exited, and how is still being read.
    Ended {
        /// What is known so far, and how it was counted.
        exit: Exit,
        reason: ExitReason,
        /// When it was counted as a failure of the pool; `None` when it was not.
        counted_at: Option<Instant>,
    },
    /// Ended.
    Down(Exit),
}

impl Life {
    /// Whether it is no longer running.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Down(_))
    }
}
