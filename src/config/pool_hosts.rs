//! Where a pool's runners may run, and its share of a full host.

use super::{
    file::{self, File},
    findings::At,
    model::HostConfig,
    wording::{did_you_mean, shown},
};
use crate::fleet::Placement;

/// More than any ratio that makes a difference on a host.
const MAX_WEIGHT: u32 = 1000;

/// The hosts of a pool; `None` where one of them is not valid.
pub(super) fn hosts<'h>(
    file: &File,
    written: &file::Pool,
    hosts: &'h [HostConfig],
    at: &At<'_>,
) -> Option<Vec<&'h HostConfig>> {
    let at_host = at.key("host");
    let mut found: Vec<&HostConfig> = Vec::new();
    let mut is_complete =
        at_host.require(written.hosts().next().is_some(), "must not be empty", "leave it out for \"local\"");
    for name in written.hosts() {
        let host = hosts.iter().find(|host| host.host.name.as_str() == name);
        is_complete &= host.is_some();
        let Some(host) = host else {
            // A host with errors has been reported already.
            let at_hosts = at.root("hosts");
            let reported =
                file.hosts.contains_key(name) || at_hosts.key(name).is_broken() || at_host.is_broken();
            if !reported && name != file::LOCAL {
                let known: Vec<&str> = file.hosts.keys().map(String::as_str).collect();
                at_host
                    .error(format_args!("there is no [hosts.{}]", shown(name)), did_you_mean(name, &known));
            }
            continue;
        };
        if found.iter().any(|other| other.host.name == host.host.name) {
            at_host.error(format_args!("has {name:?} twice"), "remove one");
        } else {
            found.push(host);
        }
    }
    is_complete.then_some(found)
}

/// How a pool chooses among its hosts.
pub(super) fn placement(written: &file::Pool, at: &At<'_>) -> Placement {
    let written_placement = written.placement.unwrap_or_default();
    if written_placement != file::Placement::default() && written.hosts().count() == 1 {
        at.key("placement").warn("has no effect: the pool has one host", "remove it, or add hosts");
    }
    match written_placement {
        file::Placement::Spread => Placement::Spread,
        file::Placement::Pack => Placement::Pack,
        file::Placement::Ordered => Placement::Ordered,
    }
}

/// Its share among the pools of its priority.
pub(super) fn weight(written: &file::Pool, usual: u32, at: &At<'_>) -> u32 {
    let weight = written.weight.unwrap_or(usual);
    at.key("weight").require(
        (1..=MAX_WEIGHT).contains(&weight),
        format_args!("must be from 1 to {MAX_WEIGHT}"),
        "leave it out for equal shares",
    );
    weight
}
