//! A demo's folder: its configuration, its secrets and its daemon's log. It also shows which demos are still
//! running, so that the next one can remove what a killed one left.

use std::{
    env::temp_dir,
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::process::geteuid;

use crate::fleet::InstanceId;

/// The prefix of the folders' names. The instance follows.
const PREFIX: &str = "dayfly-";

/// The prefix of the instances of demos. Some digits follow.
const INSTANCE: &str = "demo";
const DIGITS: usize = 6;

/// The file that a running demo holds a lock on. It names the demo's engine.
const OWNER: &str = "owner";

/// Long enough for any endpoint of an engine.
const MAX_OWNER: u64 = 4096;

/// The folder of this demo, or of a killed one. It is removed when it is dropped.
pub(super) struct Folder {
    path: PathBuf,
    /// The kernel releases the lock on it when the process exits, however that happens.
    _owner: File,
}

/// An instance for a demo, different from any other.
pub(super) fn instance() -> anyhow::Result<InstanceId> {
    Ok(format!("{INSTANCE}{:0DIGITS$x}", fastrand::u32(..1 << 24)).parse()?)
}

impl Folder {
    /// Creates it for this user alone, for a demo on an engine.
    pub(super) fn create(instance: &InstanceId, endpoint: &str) -> anyhow::Result<Self> {
        let path = temp_dir().join(format!("{PREFIX}{instance}"));
        let created = || -> io::Result<File> {
            DirBuilder::new().mode(0o700).create(&path)?;
            // Locked before it has its name: a demo that starts now must not take this one for a killed one.
            let unlocked = path.join("owner.new");
            let owner = write(&unlocked, endpoint)?;
            owner.lock()?;
            fs::rename(unlocked, path.join(OWNER))?;
            Ok(owner)
        };
        let owner = created().with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self { path, _owner: owner })
    }

    /// The folders of this user's demos on this machine and on an engine whose processes are gone, with the
    /// demos' instances.
    pub(super) fn of_the_dead(endpoint: &str) -> Vec<(InstanceId, Self)> {
        let Ok(entries) = fs::read_dir(temp_dir()) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter_map(|path| dead(path, endpoint)).collect()
    }

    /// The path of a file in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only this user can read, and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.join(name);
        write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Keeps the folder for someone to read, and returns its path.
    pub(super) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // What cannot be removed stays in the system's directory for temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<File> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn dead(path: PathBuf, endpoint: &str) -> Option<(InstanceId, Folder)> {
    let instance = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let digits = instance.strip_prefix(INSTANCE)?;
    let is_ours = |found: &fs::Metadata| found.uid() == geteuid().as_raw();
    if digits.len() != DIGITS
        || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        || !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && is_ours(&found))
    {
        return None;
    }
    let instance: InstanceId = instance.parse().ok()?;
    let mut owner = File::open(path.join(OWNER)).ok()?;
    // Only this user's folders may name an instance of a demo.
    owner.metadata().ok().filter(|found| found.is_file() && is_ours(found))?;
    let mut named = String::new();
    std::io::Read::by_ref(&mut owner).take(MAX_OWNER).read_to_string(&mut named).ok()?;
    // Locked only here: a lock of this process must not hide it from a demo on its own engine. And turned
    // into a `Folder` only here: dropping one removes it.
    if named != endpoint || owner.try_lock().is_err() {
        return None;
    }
    Some((instance, Folder { path, _owner: owner }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(folder: &Folder) -> bool {
        folder.path.join(OWNER).exists()
    }

    #[test]
    fn only_a_dead_demo_on_the_same_engine_counts_as_dead() {
        let endpoint = format!("unix:///test/{}", std::process::id());
        let instance = instance().unwrap();
        let alive = Folder::create(&instance, &endpoint).unwrap();
        assert!(exists(&alive));
        assert!(Folder::of_the_dead(&endpoint).is_empty(), "its process is alive");

        // A killed process leaves the folder, and the kernel releases the lock.
        let left = alive.keep();
        assert!(Folder::of_the_dead("unix:///another").is_empty());
        let mut dead = Folder::of_the_dead(&endpoint);
        let (of, folder) = dead.remove(0);
        assert_eq!((of, &folder.path), (instance, &left));
        drop(folder);
        assert!(!left.exists());
    }
}
