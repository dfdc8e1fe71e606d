//! What was made for a runner beside its container, as far as lists and outcomes show it.

use crate::{
    attachment::{Attachment, AttachmentKind, SidecarState},
    template::Resources,
    time::Instant,
};

/// The attachments of one runner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached {
    /// As last listed.
    listed: Vec<Attachment>,
    /// The limits of the sidecars that it has by its template, until a list must have shown them.
    expected: Option<Resources>,
    /// When its launch ended: lists that began before may lack what was made for it.
    made_at: Option<Instant>,
    /// When they were removed: lists that began before prove nothing.
    removed_at: Option<Instant>,
    /// When a launch failed that may have left something on the host which no list has shown yet.
    left_since: Option<Instant>,
    /// Whether a sidecar that the runner needs stopped or disappeared.
    lost: bool,
}

impl Attached {
    /// Records the limits of the sidecars that it must have, if it must have any.
    pub(crate) fn expect(&mut self, sidecars: Option<Resources>) {
        self.expected = sidecars;
    }

    /// Records the end of the launch.
    pub(crate) fn made(&mut self, now: Instant) {
        self.made_at = Some(now);
    }

    /// Records a launch that failed and may have left something.
    pub(crate) fn may_be_left(&mut self, now: Instant) {
        self.left_since = Some(now);
    }

    /// Records that all of them were removed.
    pub(crate) fn removed(&mut self, now: Instant) {
        (self.listed, self.expected, self.removed_at) = (Vec::new(), None, Some(now));
    }

    /// Records a list that began at `began`.
    pub(crate) fn list(&mut self, listed: Vec<Attachment>, began: Instant, is_launching: bool) {
        if self.left_since.is_some_and(|at| began > at) {
            self.left_since = None;
        }
        if self.removed_at.is_some_and(|at| began <= at) {
            return;
        }
        let is_sidecar = |attachment: &&Attachment| matches!(attachment.kind, AttachmentKind::Sidecar { .. });
        if !is_launching && self.made_at.is_none_or(|at| began > at) && self.expected.take().is_some() {
            self.lost |= !listed.iter().any(|attachment| is_sidecar(&attachment));
        }
        let has = |id: &str| listed.iter().any(|attachment| attachment.id == id);
        let is_down = |attachment: &Attachment| {
            matches!(attachment.kind, AttachmentKind::Sidecar { state: SidecarState::Down, .. })
        };
        self.lost |= listed.iter().any(is_down)
            || self.listed.iter().filter(is_sidecar).any(|before| !has(&before.id));
        self.listed = listed;
    }

    /// Whether a list has shown any.
    pub(crate) fn is_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Whether it is not known yet what a failed launch has left.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.left_since.is_some()
    }

    /// Whether nothing is left, and nothing can still appear.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_listed() && !self.is_uncertain()
    }

    /// Whether they may use anything of the host.
    pub(crate) fn may_exist(&self) -> bool {
        self.expected.is_some() || !self.is_over()
    }

    /// Whether a sidecar that the runner needs stopped or disappeared.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// When they were removed.
    pub(crate) fn removed_at(&self) -> Option<Instant> {
        self.removed_at
    }

    /// The limits of the sidecars.
    pub(crate) fn resources(&self) -> Resources {
        let mut listed = Resources::default();
        for attachment in &self.listed {
            listed.add(attachment.resources());
        }
        listed.max(self.expected.unwrap_or_default())
    }
}
