//! Checks what `docker = "socket"` needs of a host on this machine.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt, path::Path};

use super::report::Line;
use crate::{
    config::HostConfig,
    fleet::{DockerMode, Pool},
    host::Endpoint,
};

/// A warning for each socket that only root's group may use.
pub(super) fn sockets(subject: &str, host: &HostConfig, pools: &[&Pool]) -> Vec<Line> {
    // The group on another machine is found when a runner is launched.
    let Endpoint::Unix(usual) = &host.endpoint else { return Vec::new() };
    let paths: BTreeSet<&Path> = pools
        .iter()
        .filter_map(|pool| match &pool.template.docker {
            DockerMode::Socket { path } => Some(path.as_deref().map_or(usual.as_path(), Path::new)),
            DockerMode::None | DockerMode::Dind(_) => None,
        })
        .collect();
    let of_root = |path: &Path| std::fs::metadata(path).is_ok_and(|socket| socket.gid() == 0);
    paths
        .into_iter()
        .filter(|path| of_root(path))
        .map(|path| {
            Line::warn(
                subject,
                format_args!(
                    "{} belongs to the group root, which runners with docker = \"socket\" are therefore in",
                    path.display()
                ),
                "give the socket a group of its own, such as docker (\"group\" in daemon.json), and restart the engine",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointSource;
    use crate::fleet::{Demand, Host, Policy, Resources, Template};

    fn lines(endpoint: &Path, docker: DockerMode) -> usize {
        let name = "local".parse().unwrap();
        let host = Host {
            name,
            max_runners: None,
            budget: Resources::default(),
            devices: std::collections::BTreeMap::default(),
            nodes: None,
        };
        let endpoint = Endpoint::Unix(endpoint.to_owned());
        let pool = Pool {
            name: "linux".parse().unwrap(),
            scope: "https://github.com/acme".parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: crate::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: Vec::new(),
            demand: Demand::IDLE,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy::default(),
            template: Template { docker, ..Template::default() },
        };
        sockets(
            "host",
            &HostConfig { host, endpoint, endpoint_source: EndpointSource::Configured, min_free_disk: None },
            &[&pool, &pool],
        )
        .len()
    }

    #[test]
    fn a_socket_of_roots_group_is_reported_once_and_only_where_runners_get_it() {
        let of_root = Path::new("/proc");
        assert_eq!(lines(of_root, DockerMode::Socket { path: None }), 1);
        assert_eq!(lines(of_root, DockerMode::None), 0);
        assert_eq!(lines(Path::new("/nowhere"), DockerMode::Socket { path: None }), 0);
        let path = Some(of_root.to_str().unwrap().to_owned());
        assert_eq!(lines(Path::new("/nowhere"), DockerMode::Socket { path }), 1);
    }
}
