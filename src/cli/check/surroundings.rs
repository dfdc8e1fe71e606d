//! Checks what the containers of a pool need besides an engine: the files that their template names, and their
//! network.

use std::{env::consts, path::Path};

use super::{report::Line, wording::problem_and_hint};
use crate::{
    fleet::{DockerMode, Hooks, Network, Pool, Proxy, Template},
    host::{Docker, Endpoint, Facts, NetworkFacts, TemplateFiles, own_image::runs_on},
    text::chain,
};

/// Where clouds answer with the credentials of a machine (AWS, Azure, Google and others; fd00:ec2::254 is AWS').
const METADATA: &str = "169.254.169.254";

/// A network with a way out.
const OPEN: NetworkFacts = NetworkFacts { is_internal: false, mtu: None };

/// Whether the files that a pool's template names on this machine can be used.
pub(super) async fn files(pool: &Pool) -> Option<Line> {
    if !pool.template.has_files() {
        return None;
    }
    let subject = format!("pool {:?}", pool.name.as_str());
    Some(match TemplateFiles::read(&pool.template).await {
        Ok(_) => Line::ok(subject, "the files that its containers need can be read"),
        Err(error) => {
            let (text, fix) = problem_and_hint(&chain(&error));
            Line::fail(subject, format_args!("no runner can be launched: {text}"), fix)
        }
    })
}

/// Whether the image of the egress proxies of these pools can be made on their host, which nothing else needs.
pub(super) fn proxies(host: &str, pools: &[&Pool], facts: &Facts) -> Option<Line> {
    let egress = pools.iter().filter_map(|pool| pool.template.egress.as_ref());
    let made = egress.filter(|egress| egress.image.is_none()).count();
    let subject = format!("egress proxies of host {host:?}");
    match made {
        0 => None,
        _ if runs_on(&facts.os, &facts.architecture) => {
            Some(Line::ok(subject, "their image is made of this program when the first one is launched"))
        }
        _ => Some(Line::fail(
            subject,
            format_args!(
                "their image cannot be made of this program, which is for {}/{}: the host is {}/{}",
                consts::OS,
                consts::ARCH,
                facts.os,
                facts.architecture
            ),
            "set image in [pool.container.egress] to an image of Dayfly for that architecture",
        )),
    }
}

/// A line for each network of these pools: whether it exists, and whether jobs reach a cloud's metadata from it.
pub(super) async fn networks(docker: &Docker, host: &str, pools: &[&Pool]) -> Vec<Line> {
    let mut networks: Vec<(&Network, Way)> = Vec::new();
    for Pool { template, .. } in pools {
        let network = (&template.network, Way::of(template));
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let mut lines = Vec::new();
    for (network, way) in networks {
        let (subject, found) = match network {
            Network::Default => (format!("default network of host {host:?}"), Ok(Some(OPEN))),
            Network::Isolated => (format!("isolated networks of host {host:?}"), Ok(Some(OPEN))),
            // That of another container, whichever it is.
            Network::Named(name) if name.starts_with("container:") => continue,
            Network::Named(name) => {
                let subject = format!("network {name:?} of host {host:?}");
                let found = match name.as_str() {
                    "default" | "bridge" | "host" => Ok(Some(OPEN)),
                    "none" => {
                        let text = "runners cannot connect to GitHub from it";
                        lines.push(Line::fail(subject, text, "remove network from [pool.container]"));
                        continue;
                    }
                    name => docker.network(name).await,
                };
                (subject, found)
            }
        };
        lines.push(match found {
            Ok(Some(NetworkFacts { is_internal, .. })) => reachable(&subject, is_internal, way),
            Ok(None) => Line::fail(
                subject,
                "does not exist: no runner can be launched",
                "create it there with docker network create, or correct network in [pool.container]",
            ),
            Err(error) => {
                let (text, fix) = problem_and_hint(&chain(&error));
                Line::fail(subject, text, fix)
            }
        });
    }
    lines
}

/// How the jobs of a pool get out of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As the network allows.
    Network,
    /// Through a proxy that is in the network or can be reached from it.
    Proxy,
    /// Through the runner's own proxy, and no other way.
    Egress,
    /// In whichever network they want, as containers of the host's engine.
    Socket,
}

impl Way {
    fn of(template: &Template) -> Self {
        match &template.docker {
            DockerMode::Socket { .. } => Self::Socket,
            _ if template.egress.is_some() => Self::Egress,
            _ if template.proxy != Proxy::default() => Self::Proxy,
            _ => Self::Network,
        }
    }
}

/// Whether jobs reach a cloud's metadata service, and GitHub.
fn reachable(subject: &str, is_internal: bool, way: Way) -> Line {
    let of_cloud = format!("a cloud's metadata service ({METADATA})");
    match (way, is_internal) {
        (Way::Egress, _) => Line::ok(
            format_args!("{subject}, with egress"),
            format_args!("jobs cannot reach {of_cloud} from it"),
        ),
        (Way::Socket, _) => Line::ok(
            subject,
            format_args!("jobs can reach {of_cloud} through the host's engine, where there is one"),
        ),
        (Way::Proxy, true) => Line::ok(subject, format_args!("jobs cannot reach {of_cloud} from it")),
        (Way::Network, true) => Line::warn(
            subject,
            "has no way out (internal), so that runners cannot connect to GitHub",
            "use another network, or proxy in [pool.container] with a proxy that can be reached from it",
        ),
        (Way::Network | Way::Proxy, false) => {
            Line::ok(subject, format_args!("jobs can reach {of_cloud} from it, where there is one"))
        }
    }
}

/// A warning for each path of the engine's machine that a pool's containers need and that does not exist here.
pub(super) fn paths(endpoint: &Endpoint, pool: &Pool) -> Vec<Line> {
    if !endpoint.is_local() {
        return Vec::new();
    }
    let template = &pool.template;
    let socket = match &template.docker {
        DockerMode::Socket { path } => path.as_deref(),
        DockerMode::None | DockerMode::Dind(_) => None,
    };
    let Hooks { job_started, job_completed } = &template.hooks;
    let mounts = template.mounts.iter().map(|mount| ("the source of a mount", mount.source.as_str()));
    let named = [
        ("docker_socket", socket),
        ("hooks.job_started", job_started.as_deref()),
        ("hooks.job_completed", job_completed.as_deref()),
        ("ca_file", template.ca_file.as_deref()),
    ];
    let named = named.into_iter().filter_map(|(key, path)| Some((key, path?)));
    named
        .chain(mounts)
        .filter(|(_, path)| path.starts_with('/') && !Path::new(path).exists())
        .map(|(key, path)| {
            Line::warn(
                format_args!("pool {:?}", pool.name.as_str()),
                format_args!("{path} ({key}) does not exist on this machine: no runner can be launched"),
                "create it, or correct the path; ignore this if the engine sees another file system",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::report::Verdict;

    #[test]
    fn a_network_is_judged_by_how_jobs_get_out_of_it() {
        let judged = |is_internal, way| {
            let line = reachable("network", is_internal, way);
            (line.verdict, line.text.contains("jobs can reach"))
        };
        for (is_internal, way, verdict, can) in [
            (false, Way::Network, Verdict::Ok, true),
            (true, Way::Network, Verdict::Warn, false),
            (true, Way::Proxy, Verdict::Ok, false),
            (false, Way::Proxy, Verdict::Ok, true),
            (false, Way::Egress, Verdict::Ok, false),
            (true, Way::Socket, Verdict::Ok, true),
        ] {
            assert_eq!(judged(is_internal, way), (verdict, can), "{is_internal} {way:?}");
        }
    }
}
