//! A value that is read from a file, and read again when the file is written or replaced, so that secrets can be
//! changed without a restart.

use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

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

    /// As it is now, for the start: this blocks.
    pub(super) fn of(path: &Path) -> Self {
        Self::seen(std::fs::metadata(path).ok())
    }

    /// As it is now; that of no file does not change.
    pub(super) async fn now(path: Option<&Path>) -> Self {
        match path {
            Some(path) => Self::seen(tokio::fs::metadata(path).await.ok()),
            None => Self::NONE,
        }
    }

    fn seen(file: Option<Metadata>) -> Self {
        Self(file.map(|file| Seen {
            place: (file.dev(), file.ino()),
            size: file.size(),
            changed: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
        }))
    }
}

/// What became of a value with [`Reloaded::refresh`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refresh<E> {
    /// The file has not changed.
    Current,
    Reloaded,
    /// The file has changed and cannot be read; the previous value stays in use.
    Failed(E),
    /// It failed before, and the file has not changed since: there is nothing new to report.
    StillFailing,
}

/// A value, and the state that its file had before it was read.
pub(super) struct Reloaded<T> {
    value: T,
    state: FileState,
    failed: Option<FileState>,
}

impl<T> Reloaded<T> {
    pub(super) const fn new(value: T, state: FileState) -> Self {
        Self { value, state, failed: None }
    }

    pub(super) const fn value(&self) -> &T {
        &self.value
    }

    /// Reads the value again if its file has changed. While the file is being replaced, or is invalid, the old
    /// value stays, and each call tries again.
    pub(super) async fn refresh<E>(
        &mut self,
        path: Option<&Path>,
        read: impl AsyncFnOnce(&T) -> Result<T, E>,
    ) -> Refresh<E> {
        let state = FileState::now(path).await;
        if state == self.state {
            self.failed = None;
            return Refresh::Current;
        }
        match read(&self.value).await {
            Ok(value) => {
                *self = Self::new(value, state);
                Refresh::Reloaded
            }
            Err(_) if self.failed.replace(state) == Some(state) => Refresh::StillFailing,
            Err(error) => Refresh::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_failure_is_reported_once_for_each_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = async |_: &String| match fs::read_to_string(&path).unwrap_or_default() {
            text if text.contains("broken") => Err(text),
            text => Ok(text),
        };
        fs::write(&path, "one").unwrap();
        let mut reloaded = Reloaded::new("one".to_owned(), FileState::of(&path));
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::Current);
        fs::write(&path, "broken").unwrap();
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::Failed("broken".to_owned()));
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::StillFailing);
        fs::write(&path, "broken again").unwrap();
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::Failed("broken again".to_owned()));
        assert_eq!(reloaded.value(), "one");
        fs::write(&path, "another").unwrap();
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::Reloaded);
        assert_eq!(reloaded.refresh(Some(&path), read).await, Refresh::Current);
        assert_eq!(reloaded.value(), "another");
    }

    #[tokio::test]
    async fn what_failed_for_another_reason_than_the_files_content_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut reloaded = Reloaded::new(1, FileState::of(&path));
        fs::write(&path, "2").unwrap();
        assert_eq!(
            reloaded.refresh(Some(&path), async |_| Err("no memory")).await,
            Refresh::Failed("no memory")
        );
        assert_eq!(reloaded.refresh(Some(&path), async |_| Ok::<_, &str>(2)).await, Refresh::Reloaded);
    }
}
