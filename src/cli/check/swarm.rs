//! Checks a host that is a Docker Swarm: its manager, its nodes, and whether they have what the pools ask for.

use std::sync::Arc;

use bytesize::ByteSize;

use super::{
    report::Line,
    wording::{counted, problem_and_hint},
};
use crate::{
    config::{Config, HostConfig},
    fleet::{Availability, Node, Pool, Resources},
    host::Swarm,
};

/// Checks the host.
pub(super) async fn inspect(config: &Config, host: &HostConfig, pools: &[&Pool]) -> Vec<Line> {
    let name = &host.host.name;
    let subject = format!("host {:?}", name.as_str());
    let swarm = Swarm::new(name.clone(), host.endpoint.clone(), config.instance.clone(), Arc::new(|_| {}));
    let facts = match swarm.manager().facts().await {
        Ok(facts) => facts,
        Err(error) => {
            let (text, hint) = problem_and_hint(&error.plain_text());
            return vec![Line::fail(subject, text, hint)];
        }
    };
    let engine = format!("{} {} at {}", facts.product, facts.version, host.endpoint);
    let nodes = match swarm.nodes().await {
        Ok(nodes) => nodes,
        Err(error) => {
            return vec![Line::fail(
                subject,
                format_args!("{engine} does not list the nodes of a Swarm: {}", error.plain_text()),
                "use the endpoint of a manager (docker node ls works there), or engine = \"docker\"",
            )];
        }
    };
    let mut lines = vec![Line::ok(&subject, introduce(&engine, &nodes))];
    lines.extend(nodes.iter().filter_map(|node| unavailable(&subject, node)));
    for pool in pools {
        lines.extend(pool_on(&subject, pool, &nodes));
    }
    for ((on, image), source) in config.images() {
        if on == name {
            let pinned = match swarm.image(image, source.pull).await {
                Ok(Some(pinned)) => Ok(pinned),
                Ok(None) => swarm.resolve(image, source.login.as_ref()).await,
                Err(error) => Err(error),
            };
            let subject = format!("image {image}");
            lines.push(match pinned {
                Ok(pinned) if pinned.contains('@') => {
                    Line::ok(subject, format_args!("the nodes of host {:?} run {pinned}", name.as_str()))
                }
                Ok(_) => Line::warn(
                    subject,
                    "has no digest, so each node must have it or pull it by its tag, and nodes may run different images",
                    "push it to a registry that the manager reaches",
                ),
                Err(error) => {
                    let (text, hint) = problem_and_hint(&error.plain_text());
                    Line::fail(subject, text, hint)
                }
            });
        }
    }
    lines
}

fn introduce(engine: &str, nodes: &[Node]) -> String {
    let mut all = Resources::default();
    for node in nodes.iter().filter(|node| node.is_available()) {
        all.memory += node.size.memory;
        all.cpu_millis += node.size.cpu_millis;
    }
    format!(
        "Swarm of {}, with {} and {} on those that are active; its manager is {engine}",
        counted(nodes.len(), "node"),
        counted(usize::try_from(all.cpu_millis / 1000).unwrap_or_default(), "cpu"),
        ByteSize(all.memory).display().iec()
    )
}

fn unavailable(subject: &str, node: &Node) -> Option<Line> {
    let name = &node.name;
    if !node.reachable {
        Some(Line::warn(
            subject,
            format_args!("node {name} cannot be reached"),
            format_args!("start its engine, or remove it: docker node rm --force {name}"),
        ))
    } else if node.availability == Availability::Active {
        None
    } else {
        Some(Line::warn(
            subject,
            format_args!("node {name} gets no runners: its availability is {}", node.availability.as_str()),
            format_args!("dayfly nodes resume {name}"),
        ))
    }
}

/// Whether the nodes have what a pool asks for.
fn pool_on(host: &str, pool: &Pool, nodes: &[Node]) -> Vec<Line> {
    let subject = format!("pool {:?}", pool.name.as_str());
    let mut lines = Vec::new();
    if !nodes.iter().any(|node| node.suits(&pool.template)) {
        let constraints: Vec<String> = pool.template.constraints.iter().map(ToString::to_string).collect();
        let asked =
            if constraints.is_empty() { String::new() } else { format!(" and {}", constraints.join(", ")) };
        lines.push(Line::fail(
            &subject,
            format_args!("no node of {host} has its memory and cpus{asked}: no runner could start"),
            "lower memory and cpus in [pool.container], or change its constraints or the labels of a node",
        ));
    }
    if pool.template.jit_in_environment {
        lines.push(Line::warn(
            &subject,
            "passes the JIT config in the environment of its services, which docker service inspect shows",
            "remove jit_config if the image has a /bin/sh that can read a secret",
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::check::{engine::tests as engine, report::Verdict},
        fleet::{Constraint, NodeId},
    };

    fn node(gib: u64) -> Node {
        Node {
            id: NodeId("n".into()),
            name: "ci1".to_owned(),
            availability: Availability::Active,
            reachable: true,
            size: Resources { memory: gib << 30, cpu_millis: 4000 },
            reserved: Resources::default(),
            other_runners: 0,
            drain_requested: false,
            attributes: [("node.labels.disk".to_owned(), "ssd".to_owned())].into(),
        }
    }

    #[test]
    fn a_pool_that_fits_on_no_node_fails() {
        let mut pool = engine::pool(0, 0, 1, None);
        pool.template.resources.memory = 4 << 30;
        assert!(pool_on("host \"swarm\"", &pool, &[node(2), node(4)]).is_empty());
        let lines = pool_on("host \"swarm\"", &pool, &[node(2), node(3)]);
        assert_eq!(lines[0].verdict, Verdict::Fail, "not the sum");
        let constraint =
            Constraint { attribute: "node.labels.disk".to_owned(), equal: true, value: "hdd".to_owned() };
        pool.template.constraints.push(constraint);
        let lines = pool_on("host \"swarm\"", &pool, &[node(8)]);
        assert!(lines[0].text.contains("node.labels.disk==hdd"), "{}", lines[0].text);
    }

    #[test]
    fn nodes_that_get_no_runners_are_reported() {
        assert!(unavailable("host", &node(1)).is_none());
        let paused = Node { availability: Availability::Paused, ..node(1) };
        assert!(unavailable("host", &paused).unwrap().text.contains("its availability is pause"));
        let lost = Node { reachable: false, ..node(1) };
        assert!(unavailable("host", &lost).unwrap().text.contains("cannot be reached"));
    }
}
