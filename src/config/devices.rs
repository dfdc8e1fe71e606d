//! What a host hands out to one runner at a time, and how much of it a pool's runners need.

use std::collections::{BTreeMap, BTreeSet};

use super::{file, findings::At};
use crate::fleet::{DeviceClass, DeviceCounts, Host};

/// Reads the host's devices, recording their problems.
pub(super) fn of_host(written: &file::Host, at: &At<'_>) -> BTreeMap<DeviceClass, Vec<String>> {
    let mut all = BTreeMap::new();
    if let Some(ids) = &written.gpus {
        let at = at.key("gpus");
        distinct(ids, &at);
        for (i, id) in ids.iter().enumerate() {
            let hint = "write an index, a UUID, or the name of a CDI device";
            at.key(i).require(!id.is_empty() && !id.contains([',', ' ']), "cannot be a GPU", hint);
        }
        all.insert(DeviceClass::Gpu, ids.clone());
    }
    for (name, paths) in &written.exclusive {
        let at = at.key("exclusive").key(name);
        at.require(!name.is_empty(), "needs a name", "for example serial = [\"/dev/ttyUSB0\"]");
        distinct(paths, &at);
        for (i, path) in paths.iter().enumerate() {
            at.key(i).require(
                path.starts_with("/dev/"),
                "must be below /dev",
                "for example \"/dev/ttyUSB0\"",
            );
        }
        all.insert(DeviceClass::Exclusive(name.clone()), paths.clone());
    }
    let everything: Vec<_> = written.exclusive.values().flatten().cloned().collect();
    if written.exclusive.len() > 1 {
        distinct(&everything, &at.key("exclusive"));
    }
    all
}

fn distinct(ids: &[String], at: &At<'_>) {
    let mut seen = BTreeSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
        at.error(format_args!("has {twice:?} twice"), "two runners would get it; write it once");
    }
}

/// How many devices of each kind a runner needs.
pub(super) fn of_pool(written: &file::Container) -> DeviceCounts {
    let gpus = (written.gpus > 0).then_some((DeviceClass::Gpu, written.gpus));
    let exclusive = written.exclusive.iter().filter(|(_, count)| **count > 0);
    let exclusive = exclusive.map(|(name, &count)| (DeviceClass::Exclusive(name.clone()), count));
    gpus.into_iter().chain(exclusive).collect()
}

/// Records what a pool needs that its host has too little of for even one runner.
pub(super) fn fit(needed: &DeviceCounts, host: &Host, at: &At<'_>) {
    for (class, &count) in needed {
        let (at, key) = match class {
            DeviceClass::Gpu => (at.key("gpus"), "gpus".to_owned()),
            DeviceClass::Exclusive(name) => (at.key("exclusive").key(name), format!("exclusive.{name}")),
            // As many as are needed.
            DeviceClass::Slot(_) => continue,
        };
        let has = host.devices.get(class).map_or(0, Vec::len);
        let host = host.name.as_str();
        at.require(
            usize::try_from(count).is_ok_and(|count| count <= has),
            format_args!("is {count}, and host {host:?} has {has}, so no runner could ever start"),
            format_args!("list them in {key} of the host, or lower it"),
        );
    }
}
