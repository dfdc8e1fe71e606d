//! `docker = "socket"`: the socket of the host's engine in the runner.

use super::{
    file::{self, Docker},
    findings::At,
};
use crate::fleet::{Network, Template};

/// Records what cannot be combined with the socket, and what using it means.
pub(super) fn combines(written: &file::Container, template: &Template, at: &At<'_>) {
    let path = at.key("docker_socket");
    if written.docker != Docker::Socket {
        path.require(
            written.docker_socket.is_none(),
            "has no effect without docker = \"socket\"",
            "add that, or remove it",
        );
        return;
    }
    at.key("docker").warn(
        "makes every job root on the engine's machine, and lets it read the environment and JIT config of every \
         other runner there",
        "use it for code that you trust as much as that machine; docker = \"dind\" keeps jobs apart",
    );
    path.require(
        written.docker_socket.as_ref().is_none_or(|path| path.starts_with('/')),
        "must be an absolute path on the engine's machine",
        "for example \"/var/run/docker.sock\"",
    );
    at.key("command").require(
        template.command.iter().any(|word| word.starts_with('/') && word.ends_with("/run.sh")),
        "has no absolute path of the runner's run.sh, so the runner cannot be moved to a path that exists on the host \
         (docker = \"socket\")",
        "for example [\"/home/runner/run.sh\"]",
    );
    for (i, mount) in template.mounts.iter().enumerate() {
        at.key("mounts").key(i).require(
            !matches!(mount.target.as_str(), "/var/run/docker.sock" | "/run/docker.sock"),
            "is already mounted by docker = \"socket\"",
            "remove it",
        );
    }
    if template.network == Network::Isolated {
        at.key("network").warn(
            "isolates nothing: with docker = \"socket\", a job can start containers in any network",
            "use docker = \"dind\"",
        );
    }
    if let Some(runtime) = &template.runtime {
        at.key("runtime").warn(
            format_args!(
                "isolates nothing: with docker = \"socket\", a job can start containers with another runtime than \
                 {runtime:?}"
            ),
            "use docker = \"dind\"",
        );
    }
}
