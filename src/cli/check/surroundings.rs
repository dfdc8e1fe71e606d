//! Checks what the containers of a pool need besides an engine: the files that their template names, and their
//! network.

use super::{report::Line, wording::problem_and_hint};
use crate::{
    fleet::{Network, Pool},
    host::{Docker, NetworkFacts, TemplateFiles},
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

/// A line for each network of these pools: whether it exists, and whether jobs reach a cloud's metadata from it.
pub(super) async fn networks(docker: &Docker, host: &str, pools: &[&Pool]) -> Vec<Line> {
    let mut networks: Vec<&Network> = Vec::new();
    for pool in pools {
        if !networks.contains(&&pool.template.network) {
            networks.push(&pool.template.network);
        }
    }
    let mut lines = Vec::new();
    for network in networks {
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
