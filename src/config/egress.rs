//! `[pool.container.egress]`: what runners may reach.

use super::{
    file::{self, EgressMode as Written},
    findings::At,
};
use crate::{
    egress::Pattern,
    fleet::{Egress, EgressMode, Template},
};

/// Reads the settings, recording their problems; `None` where everything may be reached.
pub(super) fn egress(written: Option<&file::Egress>, at: &At<'_>) -> Option<Egress> {
    let written = written?;
    for (i, pattern) in written.allow.iter().enumerate() {
        if let Err(error) = pattern.parse::<Pattern>() {
            at.key("allow")
                .key(i)
                .error(error, "for example \"github.com\", \"*.githubusercontent.com\" or \"host:8080\"");
        }
    }
    let mode = match written.mode.unwrap_or_default() {
        Written::Off => {
            at.key("allow").require(
                written.mode.is_some() || written.allow.is_empty() && written.image.is_none(),
                "has no effect without mode",
                "set mode = \"enforce\" to refuse all other hosts, or \"audit\" to only report them",
            );
            return None;
        }
        Written::Audit => EgressMode::Audit,
        Written::Enforce => EgressMode::Enforce,
    };
    if mode == EgressMode::Enforce && written.allow.is_empty() {
        at.key("allow").error(
            "is empty, so a runner could not even reach GitHub",
            "list what it needs; docs/how-to/egress.md has the list for GitHub",
        );
    }
    Some(Egress { mode, allow: written.allow.clone(), image: written.image.clone() })
}

/// Capabilities with which a job could change its network, or write packets of its own.
const NETWORK_CAPABILITIES: [&str; 5] = ["ALL", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_MODULE"];

/// Records what cannot be combined with a proxy as the only way out.
pub(super) fn combines(written: &file::Container, template: &Template, at: &At<'_>) {
    at.key("docker").require(
        written.docker != file::Docker::Socket,
        "is \"socket\", with which a job starts containers in any network, so egress would restrict nothing",
        "use docker = \"none\" or \"dind\"",
    );
    for (i, capability) in template.cap_add.iter().enumerate() {
        let name = capability.strip_prefix("CAP_").unwrap_or(capability);
        at.key("cap_add").key(i).require(
            !NETWORK_CAPABILITIES.contains(&name),
            format_args!("is {capability:?}, with which a job could get around egress"),
            "remove it",
        );
    }
    if let Some(name) = template.network.not_shared() {
        at.key("network").error(
            format_args!("is {name:?}, and egress needs a network for its proxy"),
            "remove it, or name the network through which the proxy reaches the world",
        );
    }
    for (i, mount) in template.mounts.iter().enumerate() {
        at.key("mounts").key(i).require(
            !["docker.sock", "podman.sock"].iter().any(|socket| mount.source.ends_with(socket)),
            "gives jobs the engine's socket, with which they start containers in any network, so egress would \
             restrict nothing",
            "remove it",
        );
    }
    let proxy = &template.proxy;
    at.key("proxy").require(
        proxy.http.is_none() && proxy.https.is_none() && proxy.no_proxy.is_none(),
        "cannot be set together with egress, whose proxy is the only one that runners reach",
        "remove one of both",
    );
    at.key("dns").require(
        template.dns.is_empty(),
        "cannot be set together with egress: runners reach no name server",
        "remove it",
    );
}
