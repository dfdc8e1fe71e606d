//! `dayfly nodes`: lists the nodes of Docker Swarms, drains one without stopping a job, and resumes it.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{
    Global, Nodes, NodesDrain, NodesList, NodesResume,
    run::{runtime, start_logs},
    terminal,
};
use crate::{
    config::{self, Config, HostConfig, Machine, Tokens},
    fleet::{Availability, Node},
    host::Swarm,
};

const HEADER: [&str; 6] = ["NODE", "HOST", "STATE", "AVAILABILITY", "RUNNERS", "RESERVED MEMORY"];

/// How often it is checked whether a node has been drained.
const CHECK: Duration = Duration::from_secs(2);

pub(super) fn run(global: &Global, nodes: &Nodes) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let path = config::find(global.config.as_deref(), config::environment())?;
    let config = config::load_for(&path, config::environment(), &Machine::here(), Tokens::Unneeded)?;
    runtime()?.block_on(async {
        match nodes {
            Nodes::List(list) => print(&config, list).await,
            Nodes::Drain(drain) => self::drain(&config, drain).await,
            Nodes::Resume(resume) => self::resume(&config, resume).await,
        }
    })
}

/// The Swarms of the configuration, or the one that is named.
fn swarms(config: &Config, name: Option<&str>) -> anyhow::Result<Vec<(Swarm, String)>> {
    let is_wanted =
        |host: &&HostConfig| host.is_swarm() && name.is_none_or(|name| name == host.host.name.as_str());
    let swarm = |host: &HostConfig| {
        let (name, endpoint) = (host.host.name.clone(), host.endpoint.clone());
        let swarm = Swarm::new(name.clone(), endpoint, config.instance.clone(), Arc::new(|_| {}));
        (swarm, name.to_string())
    };
    let found: Vec<_> = config.hosts.iter().filter(is_wanted).map(swarm).collect();
    match name {
        Some(name) if found.is_empty() => bail!("there is no host {name:?} with engine = \"swarm\""),
        None if found.is_empty() => bail!("no host in the configuration has engine = \"swarm\""),
        _ => Ok(found),
    }
}

async fn print(config: &Config, list: &NodesList) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for (swarm, host) in swarms(config, list.host.as_deref())? {
        let nodes = swarm.nodes().await.with_context(|| format!("host {host:?}"))?;
        all.extend(nodes.into_iter().map(|node| (host.clone(), node)));
    }
    let mut out = stdout().lock();
    if list.json {
        let entries = all.iter().map(|(host, node)| {
            serde_json::json!({
                "name": node.name, "id": &*node.id.0, "host": host, "reachable": node.reachable,
                "availability": node.availability.as_str(), "drain_requested": node.drain_requested,
                "runners": node.other_runners,
            })
        });
        let whole = serde_json::json!({ "nodes": entries.collect::<Vec<_>>() });
        writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
    } else {
        writeln!(out, "{}", terminal::table(HEADER, all.iter().map(cells)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells((host, node): &(String, Node)) -> [String; 6] {
    [
        terminal::cell(&node.name, 100),
        host.clone(),
        if node.reachable { "ready" } else { "not reachable" }.to_owned(),
        availability(node),
        node.other_runners.to_string(),
        bytesize::ByteSize(node.reserved.memory).display().iec().to_string(),
    ]
}

fn availability(node: &Node) -> String {
    let word = node.availability.as_str();
    if node.drain_requested { format!("{word}, to be drained") } else { word.to_owned() }
}

/// The node with this name or id, and its Swarm.
async fn find(config: &Config, host: Option<&str>, name: &str) -> anyhow::Result<(Swarm, String, Node)> {
    let mut found = Vec::new();
    let mut known = Vec::new();
    for (swarm, host) in swarms(config, host)? {
        let nodes = swarm.nodes().await.with_context(|| format!("host {host:?}"))?;
        for node in nodes {
            if node.name == name || &*node.id.0 == name {
                found.push((swarm.clone(), host.clone(), node));
            } else {
                known.push(node.name);
            }
        }
    }
    ensure!(found.len() < 2, "there are {} nodes {name:?}; give the id of one, or --host", found.len());
    found.pop().with_context(|| format!("there is no node {name:?}; the nodes are: {}", known.join(", ")))
}

async fn drain(config: &Config, drain: &NodesDrain) -> anyhow::Result<ExitCode> {
    let (swarm, host, node) = find(config, drain.host.as_deref(), &drain.node).await?;
    if node.availability == Availability::Drained {
        writeln!(stdout(), "node {} is drained already", node.name)?;
        return Ok(ExitCode::SUCCESS);
    }
    swarm.request_drain(&node.id).await?;
    writeln!(
        stdout(),
        "node {} of host {host:?} gets no new runners; the daemon removes its idle runners, waits for its jobs, and then \
         drains it",
        node.name
    )?;
    if !drain.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = None;
    loop {
        let nodes = swarm.nodes().await?;
        let now =
            nodes.into_iter().find(|listed| listed.id == node.id).context("the node has left the Swarm")?;
        match now.availability {
            Availability::Drained => {
                writeln!(stdout(), "node {} is drained", node.name)?;
                return Ok(ExitCode::SUCCESS);
            }
            Availability::Active => bail!("the drain was taken back: node {} is active", node.name),
            Availability::Paused => {}
        }
        if shown.replace(now.other_runners) != Some(now.other_runners) {
            writeln!(stderr(), "{} runners are left on it", now.other_runners)?;
        }
        tokio::time::sleep(CHECK).await;
    }
}

async fn resume(config: &Config, resume: &NodesResume) -> anyhow::Result<ExitCode> {
    let (swarm, host, node) = find(config, resume.host.as_deref(), &resume.node).await?;
    swarm.resume(&node.id).await?;
    writeln!(stdout(), "node {} of host {host:?} is active", node.name)?;
    Ok(ExitCode::SUCCESS)
}
