//! Mounts of the containers that belong to a runner.

use bollard::models::{Mount as EngineMount, MountType, MountVolumeOptions};

/// A folder or file of the host, which must exist.
pub(super) fn bind(source: &str, target: &str) -> EngineMount {
    mount(MountType::BIND, source, target)
}

/// A volume that exists. The engine fills an empty one with what the image has at the target.
pub(super) fn volume(name: &str, target: &str) -> EngineMount {
    mount(MountType::VOLUME, name, target)
}

/// A volume that exists, with what is in it and nothing of the image.
pub(super) fn bare_volume(name: &str, target: &str) -> EngineMount {
    let options = MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() };
    EngineMount { volume_options: Some(options), ..volume(name, target) }
}

/// The same mount, which cannot be written to.
pub(super) fn read_only(mount: EngineMount) -> EngineMount {
    EngineMount { read_only: Some(true), ..mount }
}

fn mount(typ: MountType, source: &str, target: &str) -> EngineMount {
    EngineMount {
        typ: Some(typ),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        ..EngineMount::default()
    }
}
