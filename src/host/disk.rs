//! The free space on an engine's disk, where this process can access that disk.

use std::{io, path::Path};

/// The share of a disk's inodes that must be free: jobs unpack many small files.
const MIN_FREE_INODES_PERCENT: u64 = 5;

/// Whether the disk under `storage_root` has fewer than `min_free` bytes or too few inodes for more runners.
/// Fails where the directory cannot be accessed: the engine is on another machine, or this process runs in a
/// container.
pub fn disk_is_low(storage_root: &Path, min_free: u64) -> io::Result<bool> {
    let disk = rustix::fs::statvfs(storage_root)?;
    let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems create inodes on demand, and report none.
    let few_inodes = disk.f_files > 0 && disk.f_favail < disk.f_files / 100 * MIN_FREE_INODES_PERCENT;
    Ok(bytes < min_free || few_inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_when_it_has_less_than_it_should_keep() {
        let root = Path::new("/");
        assert!(disk_is_low(root, u64::MAX).unwrap());
        assert!(disk_is_low(Path::new("/no/such/directory"), 1).is_err());
    }
}
