//! `docker = "dind"`: the engine in a sidecar.

use std::time::Duration;

use super::{
    file,
    findings::At,
    hosts::{bytes, cpu_millis},
    units::Time,
};
use crate::fleet::{Dind, Resources, Template};

/// The official image.
const IMAGE: &str = "docker:dind";

/// An engine on a busy machine takes up to twenty seconds.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// IPv4's smallest MTU, and the largest packet.
const MTU: std::ops::RangeInclusive<u32> = 576..=65_535;

/// Reads the engine's settings, recording their problems. Its limits are by default those of the runner's container.
pub(super) fn dind(written: Option<&file::Dind>, runner: Resources, at: &At<'_>) -> Dind {
    let usual = file::Dind::default();
    let written = written.unwrap_or(&usual);
    for (i, mirror) in written.registry_mirrors.iter().enumerate() {
        at.key("registry_mirrors").key(i).require(
            mirror.starts_with("https://") || mirror.starts_with("http://"),
            "must be a URL",
            "for example \"http://mirror.example:5000\"",
        );
    }
    if let Some(mtu) = written.mtu {
        at.key("mtu").require(
            MTU.contains(&mtu),
            "must be from 576 to 65535",
            "remove it for that of the host's network",
        );
    }
    let start_timeout = written.start_timeout.map_or(START_TIMEOUT, |Time(timeout)| timeout);
    at.key("start_timeout").require(
        !start_timeout.is_zero(),
        "must not be 0",
        "an engine needs some seconds",
    );
    Dind {
        image: written.image.clone().unwrap_or_else(|| IMAGE.to_owned()),
        resources: Resources {
            memory: bytes(written.memory, &at.key("memory")).unwrap_or(runner.memory),
            cpu_millis: cpu_millis(written.cpus, &at.key("cpus")).unwrap_or(runner.cpu_millis),
        },
        registry_mirrors: written.registry_mirrors.clone(),
        mtu: written.mtu,
        start_timeout,
    }
}

/// Records what cannot be combined with an engine of the runner's own.
pub(super) fn combines(template: &Template, at: &At<'_>) {
    if let Some(name) = template.network.not_shared() {
        at.key("network").error(
            format_args!(
                "is {name:?}, and the runner shares the network of its own engine (docker = \"dind\")"
            ),
            "remove it, or name a network that the engine's container can be in",
        );
    }
    if let Some(runtime) =
        template.runtime.as_deref().filter(|runtime| !["runc", "sysbox-runc"].contains(runtime))
    {
        at.key("runtime").error(
            format_args!(
                "is {runtime:?}: Dayfly runs the engine of docker = \"dind\" in \"runc\" or \"sysbox-runc\" only"
            ),
            "remove it, or use \"sysbox-runc\"",
        );
    }
    for (key, values) in [("dns", &template.dns), ("extra_hosts", &template.extra_hosts)] {
        at.key(key).require(
            values.is_empty(),
            "cannot be set where the runner shares the network of its own engine (docker = \"dind\")",
            "remove it",
        );
    }
}
