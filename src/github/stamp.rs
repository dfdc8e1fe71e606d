//! What tells that a file was written or replaced, so that secrets can be changed without a restart.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// A file's place, size and times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    size: u64,
    changed: [(i64, i64); 2],
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            changed: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
        }
    }
}
