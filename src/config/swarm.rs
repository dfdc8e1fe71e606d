//! What a pool and a host may not ask for where the host is a Docker Swarm.

use super::{
    file::{self, Docker},
    findings::At,
};
use crate::fleet::{Constraint, HostName, MAX_RUNNER_NAME, Network, PREFIX, PoolName, Template};

/// The longest name of a service (swarmkit, `validateAnnotations`).
const MAX_SERVICE_NAME: usize = 63;

/// Length of the last part of a runner's name, and of the separators in it.
const REST_OF_NAME: usize = 26 + 3;

/// Reports what is configured for a Swarm and has no effect on one.
pub(super) fn host(written: &file::Host, at: &At<'_>) {
    let hint = "remove it, or use engine = \"docker\"";
    at.key("gpus").require(written.gpus.is_none(), "cannot be handed out on a Swarm", hint);
    at.key("exclusive").require(written.exclusive.is_empty(), "cannot be handed out on a Swarm", hint);
    at.key("min_free_disk").require(
        written.min_free_disk.is_none(),
        "cannot be measured on the nodes of a Swarm",
        "remove it",
    );
}

/// Reports what a Swarm cannot do for the containers of a pool.
pub(super) fn refuse(written: &file::Container, template: &Template, host: &HostName, at: &At<'_>) {
    let only_no_new_privileges =
        written.security_opt.iter().all(|option| option.starts_with("no-new-privileges"));
    let refusals = [
        ("docker", written.docker != Docker::None, "services cannot be privileged, and have no sidecars"),
        ("gpus", written.gpus > 0, "services have no GPUs of their own"),
        ("exclusive", !written.exclusive.is_empty(), "services have no devices"),
        ("devices", !written.devices.is_empty(), "services have no devices"),
        ("runtime", written.runtime.is_some(), "services cannot choose their runtime"),
        ("shm_size", written.shm_size.is_some(), "services cannot set it"),
        ("security_opt", !only_no_new_privileges, "services cannot set it, except for no-new-privileges"),
        (
            "network",
            template.network == Network::Isolated,
            "a network for each runner would be one of all nodes; use the default or a network's name",
        ),
        ("egress", written.egress.is_some(), "services have no sidecars"),
        ("cache", !written.cache.is_empty(), "the nodes share no volumes; use mounts"),
        ("read_only", written.read_only, "the folders that a runner writes to cannot be prepared"),
    ];
    for (key, is_wanted, why) in refusals {
        let at = at.key(key);
        if is_wanted && !at.is_broken() {
            let text = format!("is not possible on host {:?}, which is a Swarm: {why}", host.as_str());
            at.error(text, "remove it, or use a host with engine = \"docker\"");
        }
    }
    at.key("jit_config").require(
        template.jit_in_environment || !template.command.is_empty(),
        "must be \"environment\" where command is empty: the image's own entrypoint cannot be made to read a secret",
        "set jit_config = \"environment\", or a command",
    );
}

/// Reports what only a Swarm can do, for a pool that has none among its hosts.
pub(super) fn without_effect(written: &file::Container, at: &At<'_>) {
    for (key, is_written) in
        [("constraints", !written.constraints.is_empty()), ("jit_config", written.jit_config.is_some())]
    {
        at.key(key).require(!is_written, "has no effect: none of the pool's hosts is a Swarm", "remove it");
    }
}

/// Reports a name that is too long for a service.
pub(super) fn name(name: &PoolName, instance: &str, at: &At<'_>) {
    let length = PREFIX.len() + REST_OF_NAME + instance.len() + name.as_str().len();
    at.require(
        length <= MAX_SERVICE_NAME.min(MAX_RUNNER_NAME),
        "is one character too long for the name of a service",
        "shorten it",
    );
}

/// Reads constraints as the docker command writes them: `node.labels.disk==ssd`.
pub(super) fn constraints(written: &[String], at: &At<'_>) -> Vec<Constraint> {
    written.iter().enumerate().filter_map(|(i, text)| constraint(text, &at.key(i))).collect()
}

fn constraint(text: &str, at: &At<'_>) -> Option<Constraint> {
    let parts = text.split_once("==").map(|parts| (parts, true));
    let parts = parts.or_else(|| text.split_once("!=").map(|parts| (parts, false)));
    let read = parts.map(|((attribute, value), equal)| Constraint {
        attribute: attribute.trim().to_owned(),
        equal,
        value: value.trim().to_owned(),
    });
    let known = |attribute: &str| {
        matches!(
            attribute,
            "node.id" | "node.hostname" | "node.role" | "node.platform.os" | "node.platform.arch"
        ) || ["node.labels.", "engine.labels."].iter().any(|prefix| {
            attribute.strip_prefix(prefix).is_some_and(|label| !label.is_empty() && !label.contains(' '))
        })
    };
    let read = read.filter(|read| known(&read.attribute) && !read.value.is_empty());
    if read.is_none() {
        at.error(
            "is not a constraint",
            "write \"node.labels.NAME==VALUE\" (or !=), or node.hostname, node.id, node.role, node.platform.os, \
             node.platform.arch or engine.labels.NAME",
        );
    }
    read
}
