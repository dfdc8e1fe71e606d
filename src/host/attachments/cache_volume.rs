//! The volumes of caches: their labels and mounts, and what is remembered of them.

use std::collections::BTreeSet;

use bollard::models::Mount as EngineMount;

use super::mounts::{bare_volume, read_only};

/// Label: the source of the cache that a volume is of.
pub(super) const LABEL_CACHE: &str = "dev.dayfly.cache";
/// Label: what the volume is of the cache: `shared`, `slot`, or one of the following.
pub(super) const LABEL_CACHE_KIND: &str = "dev.dayfly.cache.kind";

/// The kinds of volumes of a promoted cache: a runner's copy, a base, and a pointer to the current base.
pub(super) const COPY: &str = "copy";
pub(super) const BASE: &str = "base";
pub(super) const CURRENT: &str = "current";

/// Copies a base, with everything that `cp` can keep; without copying blocks where the file system can share them.
pub(super) const COPY_BASE: &str = "cp -a --reflink=auto /from/. /to/ || cp -a /from/. /to/";

/// What is remembered of an engine's caches.
#[derive(Default)]
pub(in crate::host) struct Caches {
    /// The volumes whose folders belong to their users, with the user as configured.
    pub(super) owned: parking_lot::Mutex<BTreeSet<(String, Option<String>)>>,
    /// One promotion at a time, so that none removes what another is making.
    pub(super) promotion: tokio::sync::Mutex<()>,
    /// Written while pointers and bases are replaced, read while a base is being copied.
    pub(super) bases: tokio::sync::RwLock<()>,
}

/// The mounts of a script that copies one volume into another.
pub(super) fn from_to(from: &str, to: &str) -> Vec<EngineMount> {
    vec![read_only(bare_volume(from, "/from")), bare_volume(to, "/to")]
}
