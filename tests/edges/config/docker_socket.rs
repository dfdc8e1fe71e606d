//! `docker = "socket"`: what it is combined with, and the warning that it comes with.

use dayfly::fleet::DockerMode;

use super::{SOUND, Written};

fn container(keys: &str) -> Written {
    Written::new(format!("{SOUND}[pool.container]\n{keys}"))
}

/// What is reported of a key, without the place and the pool's name.
fn about(key: &str, reported: &[String]) -> Vec<String> {
    let of = format!(": container.{key}");
    reported.iter().filter_map(|line| Some(line.split_once(&of)?.1.to_owned())).collect()
}

#[test]
fn the_socket_is_read_and_its_risk_is_a_warning() {
    for (keys, path) in [
        ("docker = \"socket\"", None),
        ("docker = \"socket\"\ndocker_socket = \"/run/x.sock\"", Some("/run/x.sock")),
    ] {
        let loaded = container(keys).load();
        let path = path.map(str::to_owned);
        assert_eq!(loaded.pools[0].pool.template.docker, DockerMode::Socket { path });
    }
    let warnings = about("docker", &container("docker = \"socket\"").warnings());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(": makes every job root on the engine's machine"), "{warnings:?}");
}

#[test]
fn what_the_socket_makes_pointless_is_a_warning() {
    for key in ["network = \"isolated\"", "runtime = \"runsc\""] {
        let written = container(&format!("docker = \"socket\"\n{key}"));
        let warnings = about(key.split_once(' ').unwrap().0, &written.warnings());
        assert!(
            warnings[0].starts_with(": isolates nothing: with docker = \"socket\""),
            "{key}: {warnings:?}"
        );
    }
}

#[test]
fn what_cannot_work_with_the_socket_is_an_error() {
    for (keys, key, reported) in [
        (
            "docker = \"socket\"\ncommand = [\"/bin/runner\"]",
            "command",
            ": has no absolute path of the runner's run.sh, so the runner cannot be moved to a path that exists on \
             the host (docker = \"socket\"); for example [\"/home/runner/run.sh\"]",
        ),
        (
            "docker = \"socket\"\ndocker_socket = \"run/x.sock\"",
            "docker_socket",
            ": must be an absolute path on the engine's machine; for example \"/var/run/docker.sock\"",
        ),
        (
            "docker = \"socket\"\nmounts = [\"/run/x.sock:/var/run/docker.sock\"]",
            "mounts",
            ", item 1: is already mounted by docker = \"socket\"; remove it",
        ),
        (
            "docker_socket = \"/run/x.sock\"",
            "docker_socket",
            ": has no effect without docker = \"socket\"; add that, or remove it",
        ),
    ] {
        assert_eq!(about(key, &container(keys).problems()), [reported], "{keys}");
    }
    let wrapped = "docker = \"socket\"\ncommand = [\"/usr/bin/tini\", \"--\", \"/opt/runner/run.sh\"]";
    container(wrapped).load();
}
