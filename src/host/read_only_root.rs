//! A root file system that cannot be written to, with the folders that a runner has to write to.

use std::collections::HashMap;

use bollard::models::{Mount, MountType};

use crate::fleet::Template;

/// Folders for temporary files, in memory: they count toward the container's memory limit. Jobs run programs
/// there, so they are not `noexec`, as the engine would make them.
const TEMPORARY: [(&str, &str); 3] = [
    ("/tmp", "rw,exec,nosuid,nodev,mode=1777"),
    ("/var/tmp", "rw,exec,nosuid,nodev,mode=1777"),
    ("/run", "rw,nosuid,nodev,mode=755"),
];

/// The folders in memory, if the root cannot be written to.
pub(super) fn temporary(template: &Template) -> Option<HashMap<String, String>> {
    let is_mounted = |folder: &str| template.mounts.iter().any(|mount| mount.target == folder);
    let folders = TEMPORARY.iter().filter(|(folder, _)| !is_mounted(folder));
    template
        .read_only
        .then(|| folders.map(|&(folder, options)| (folder.to_owned(), options.to_owned())).collect())
}

/// A volume without a name for each folder that stays writable. The engine copies what the image has there, with
/// owners and modes, and removes it with the container.
pub(super) fn writable(template: &Template) -> impl Iterator<Item = Mount> {
    template.writable.iter().filter(|_| template.read_only).map(|folder| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(folder.clone()),
        ..Mount::default()
    })
}
