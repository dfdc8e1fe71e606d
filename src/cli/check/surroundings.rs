//! Checks what the containers of a pool need besides an engine: the files that their template names, and their
//! network.

use std::env::consts;

use super::{report::Line, wording::problem_and_hint};
use crate::{
    fleet::{Network, Pool},
    host::{Docker, Facts, NetworkFacts, TemplateFiles, own_image::runs_on},
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
    let mut networks: Vec<(&Network, bool)> = Vec::new();
    for Pool { template, .. } in pools {
        let network = (&template.network, template.egress.is_some());
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let mut lines = Vec::new();
    for (network, has_egress) in networks {
        let (subject, found) = match network {
            Network::Default => (format!("default network of host {host:?}"), Ok(Some(OPEN))),
            Network::Isolated => (format!("isolated networks of host {host:?}"), Ok(Some(OPEN))),
            // That of another container, whichever it is.
            Network::Named(name) if name.starts_with("container:") => continue,
            Network::Named(name) => {
                let found = match name.as_str() {
                    "default" | "bridge" | "host" => Ok(Some(OPEN)),
                    "none" => Ok(Some(NetworkFacts { is_internal: true, mtu: None })),
                    name => docker.network(name).await,
                };
                (format!("network {name:?} of host {host:?}"), found)
            }
        };
        lines.push(match found {
            Ok(Some(_)) if has_egress => Line::ok(
                format_args!("{subject}, with egress"),
                format_args!("jobs cannot reach a cloud's metadata service ({METADATA}) from it"),
            ),
            Ok(Some(NetworkFacts { is_internal: true, .. })) => Line::ok(
                subject,
                format_args!("jobs cannot reach a cloud's metadata service ({METADATA}) from it"),
            ),
            Ok(Some(NetworkFacts { is_internal: false, .. })) => Line::ok(
                subject,
                format_args!(
                    "jobs can reach a cloud's metadata service ({METADATA}) from it, where there is one"
                ),
            ),
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
