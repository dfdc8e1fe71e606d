//! Detects that a file was written or replaced, so that secrets can be changed without a restart.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

/// A file's place, size and times; or that there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileState(Option<Seen>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    place: (u64, u64),
    size: u64,
    changed: [(i64, i64); 2],
}

impl FileState {
    /// That of nothing that is watched.
    pub(super) const NONE: Self = Self(None);

    /// As it is now. For local files: microseconds, less than a switch to another thread.
    pub(super) fn of(path: &Path) -> Self {
        Self::seen(std::fs::metadata(path))
    }

    /// The same without blocking the other tasks of this thread.
    pub(super) async fn looked_up(path: &Path) -> Self {
        Self::seen(tokio::fs::metadata(path).await)
    }

    fn seen(file: io::Result<Metadata>) -> Self {
        Self(file.ok().map(|file| Seen {
            place: (file.dev(), file.ino()),
            size: file.size(),
            changed: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
        }))
    }
}
