//! Checks a host: the engine, whether it has what the pools ask for, and the images.

use std::sync::Arc;

use bytesize::ByteSize;

use super::{
    docker_socket, product,
    report::Line,
    services, surroundings, swarm,
    wording::{counted, problem_and_hint},
};
use crate::{
    clock,
    config::{Config, EndpointSource, HostConfig},
    fleet::{HostName, Pool, PullPolicy},
    host::{Docker, Facts, Product, UNPREFIXED},
};

/// Checks the host at this index of the configuration; `from_runners` is whether it may start containers.
pub(super) async fn inspect(config: Arc<Config>, at: usize, from_runners: bool) -> Vec<Line> {
    let host = &config.hosts[at];
    let name = &host.host.name;
    let pools: Vec<&Pool> =
        config.pools.iter().map(|pool| &pool.pool).filter(|pool| pool.hosts.contains(name)).collect();
    if host.is_swarm() {
        return swarm::inspect(&config, host, &pools).await;
    }
    let docker = Docker::new(name.clone(), host.endpoint.clone(), config.instance.clone(), Arc::new(|_| {}));
    let images = config.images().into_iter().filter(|((on, _), _)| *on == name);
    let subject = format!("host {:?}", name.as_str());
    let facts = match docker.facts().await {
        Ok(facts) if !product::is_supported(&facts) => {
            let text = format!("Podman {} is not supported", facts.version);
            return vec![Line::fail(
                subject,
                text,
                "upgrade to Podman 5 or newer, or use Docker Engine 20.10 or newer",
            )];
        }
        Ok(facts) => facts,
        Err(error) => {
            let (text, fix) = problem_and_hint(&error.plain_text());
            let mut lines = vec![Line::fail(&subject, text, fix)];
            lines.extend(images.map(|((_, image), _)| {
                Line::skip(
                    format_args!("image {image}"),
                    format_args!("host {:?} cannot be reached", name.as_str()),
                )
            }));
            return lines;
        }
    };
    let mut lines = vec![Line::ok(&subject, introduce(&facts, host))];
    lines.extend(room(&subject, host, &pools, &facts));
    lines.extend(disk(&subject, host, &facts));
    lines.extend(docker_socket::sockets(&subject, host, &pools));
    lines.extend(surroundings::networks(&docker, name.as_str(), &pools).await);
    lines.extend(surroundings::proxies(name.as_str(), &pools, &facts));
    for pool in &pools {
        lines.extend(surroundings::files(pool).await);
        lines.extend(surroundings::paths(&host.endpoint, pool));
        lines.extend(services::reachable(&docker, &facts, pool, from_runners).await);
    }
    for ((_, image), source) in images {
        lines.extend(self::image(&docker, host, image, source.pull).await);
    }
    lines
}

fn introduce(facts: &Facts, host: &HostConfig) -> String {
    let Facts { product, version, api_version, os, architecture, memory, cpus, .. } = facts;
    let (cpus, memory) = (counted(*cpus as usize, "cpu"), size(*memory));
    let source = match &host.endpoint_source {
        EndpointSource::Configured => String::new(),
        found => format!(" (from {found})"),
    };
    format!(
        "{product} {version} (API {api_version}, {os}/{architecture}) at {}{source}, {cpus}, {memory}",
        host.endpoint
    )
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
fn cpus(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// Compares the configured budget with what the engine has.
fn room(subject: &str, host: &HostConfig, pools: &[&Pool], facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    let name = &host.host.name;
    let (has_memory, has_millis) = (facts.memory, u64::from(facts.cpus) * 1000);
    let budget = &host.host.budget;
    if has_memory > 0 && budget.memory > has_memory {
        lines.push(Line::warn(
            subject,
            format_args!("its memory budget of {} is more than the engine has", size(budget.memory)),
            format_args!("lower memory in [hosts.{name}] to less than {}", size(has_memory)),
        ));
    }
    if has_millis > 0 && budget.cpu_millis > has_millis {
        lines.push(Line::warn(
            subject,
            format_args!("its budget of {} cpus is more than the engine has", cpus(budget.cpu_millis)),
            format_args!("lower cpus in [hosts.{name}] to at most {}", facts.cpus),
        ));
    }
    let most = most_memory(host, pools);
    if has_memory > 0 && budget.memory == 0 && most > has_memory {
        lines.push(Line::warn(
            subject,
            format_args!("its pools together may use {} of memory, more than the engine has", size(most)),
            format_args!(
                "set memory = \"…\" in [hosts.{name}], so that no runner is launched without room for it"
            ),
        ));
    }
    if let Some(ahead) = facts.skew(clock::wall()) {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        lines.push(Line::warn(
            subject,
            format_args!("its clock is {} s {direction} this machine's", ahead.abs()),
            "enable time synchronization on both, such as chrony or systemd-timesyncd",
        ));
    }
    lines.extend(product::ignored_limits(subject, pools, facts));
    lines.extend(product::no_processes(subject, facts));
    for pool in pools {
        lines.extend(fits(&host.host.name, pool, facts));
    }
    lines
}

/// The free disk space for images and containers, when the engine runs on this machine and its directory is
/// visible here.
fn disk(subject: &str, host: &HostConfig, facts: &Facts) -> Option<Line> {
    if !host.endpoint.is_local() {
        return None;
    }
    let disk = rustix::fs::statvfs(facts.storage_root.as_str()).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let at = format!("{} free at {}", size(free), facts.storage_root);
    Some(match host.min_free_disk {
        Some(least) if free < least => Line::warn(
            subject,
            format_args!("{at}, less than min_free_disk ({})", size(least)),
            "free some space; docker system df shows what uses it",
        ),
        _ => Line::ok(subject, at),
    })
}

/// What all runners of these pools may use together; `None` when one has no limit.
fn most_memory(host: &HostConfig, pools: &[&Pool]) -> u64 {
    let of = |pool: &&Pool| pool.template.resources.memory;
    let together: u64 = pools.iter().map(|pool| of(pool).saturating_mul(pool.policy.max.into())).sum();
    let largest = pools.iter().map(of).max().unwrap_or_default();
    host.host.max_runners.map_or(together, |most| together.min(largest.saturating_mul(most.into())))
}

/// Checks that the engine can run one runner of the pool at all.
fn fits(host: &HostName, pool: &Pool, facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    let subject = format!("pool {:?}", pool.name.as_str());
    let limits = pool.template.resources;
    if facts.cpus > 0 && limits.cpu_millis > u64::from(facts.cpus) * 1000 {
        lines.push(Line::fail(
            &subject,
            format_args!(
                "asks for {} cpus a runner, and host {:?} has {}",
                cpus(limits.cpu_millis),
                host.as_str(),
                facts.cpus
            ),
            format_args!("lower cpus in [pool.container] to at most {}", facts.cpus),
        ));
    }
    if facts.memory > 0 && limits.memory > facts.memory {
        lines.push(Line::warn(
            &subject,
            format_args!(
                "allows a runner {} of memory, and host {:?} has {}",
                size(limits.memory),
                host.as_str(),
                size(facts.memory)
            ),
            "lower memory in [pool.container], or the kernel may kill the largest process",
        ));
    }
    lines.extend(product::podman(pool, facts));
    let runtime = pool.template.runtime.as_ref().filter(|_| facts.product == Product::Docker);
    if let Some(runtime) = runtime.filter(|runtime| !facts.runtimes.contains(*runtime)) {
        let known: Vec<_> = facts.runtimes.iter().map(String::as_str).collect();
        lines.push(Line::fail(
            &subject,
            format_args!("asks for the runtime {runtime:?}, which host {:?} does not have", host.as_str()),
            format_args!(
                "register it with the engine (daemon.json, runtimes), or use one of: {}",
                known.join(", ")
            ),
        ));
    }
    lines
}

async fn image(docker: &Docker, host: &HostConfig, image: &str, pull: PullPolicy) -> Vec<Line> {
    let subject = format!("image {image}");
    let on = format!("host {:?}", host.host.name.as_str());
    let line = match (docker.image_facts(image).await, pull) {
        (Ok(Some(facts)), _) => {
            let id: String = facts.id.trim_start_matches("sha256:").chars().take(12).collect();
            let mut lines = vec![Line::ok(&subject, format_args!("is present on {on} ({id})"))];
            lines.extend(environment(&subject, &facts.env));
            return lines;
        }
        (Ok(None), PullPolicy::Never) => Line::fail(
            subject,
            format_args!(
                "is not present on {on}, and pull = \"never\" forbids to pull it: no runner can start"
            ),
            "build or load it there, or set pull = \"missing\" in [pool.container]",
        ),
        (Ok(None), PullPolicy::Missing | PullPolicy::Always) => Line::warn(
            subject,
            format_args!(
                "is not present on {on} yet; the daemon pulls it in the background, and launches no runner \
                 before"
            ),
            format_args!("to check now that it can be pulled: docker pull {image}"),
        ),
        (Err(error), _) => {
            let (text, fix) = problem_and_hint(&error.plain_text());
            Line::fail(subject, text, fix)
        }
    };
    vec![line]
}

/// Reports a variable of the image that runners do not get as it is.
fn environment(subject: &str, env: &[String]) -> Option<Line> {
    let value = env.iter().find_map(|entry| entry.strip_prefix(UNPREFIXED)?.strip_prefix('='))?;
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "$true").then(|| {
        Line::warn(
            subject,
            format_args!(
                "sets {UNPREFIXED}, with which the output of a job could pass for the runner's own; Dayfly sets \
                 it to false in its containers"
            ),
            "remove it from the image",
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        cli::check::report::Verdict,
        fleet::{Host, Policy, Resources, Template},
    };

    const GIB: u64 = 1 << 30;

    pub(in crate::cli::check) fn facts() -> Facts {
        Facts {
            product: Product::Docker,
            version: "20.10.24".to_owned(),
            api_version: "1.41".to_owned(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            memory: 8 * GIB,
            cpus: 4,
            clock: None,
            storage_root: "/var/lib/docker".to_owned(),
            runtimes: BTreeSet::from(["runc".to_owned()]),
            ignored_limits: Vec::new(),
            lists_processes: true,
        }
    }

    fn host(budget: Resources, max_runners: Option<u32>) -> HostConfig {
        let name = "local".parse().unwrap();
        let host =
            Host { name, max_runners, budget, devices: std::collections::BTreeMap::default(), nodes: None };
        HostConfig {
            host,
            endpoint: crate::host::Endpoint::default(),
            endpoint_source: EndpointSource::Configured,
            min_free_disk: None,
        }
    }

    pub(in crate::cli::check) fn pool(memory: u64, cpu_millis: u64, max: u32, runtime: Option<&str>) -> Pool {
        Pool {
            name: "linux".parse().unwrap(),
            scope: "https://github.com/acme".parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: crate::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: vec!["self-hosted".to_owned()],
            demand: crate::fleet::Demand::IDLE,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy { max, ..Policy::default() },
            template: Template {
                resources: Resources { memory, cpu_millis },
                runtime: runtime.map(str::to_owned),
                ..Template::default()
            },
        }
    }

    fn verdicts(host: &HostConfig, pool: &Pool) -> Vec<(Verdict, String)> {
        room("host", host, &[pool], &facts()).into_iter().map(|line| (line.verdict, line.text)).collect()
    }

    #[test]
    fn what_fits_needs_no_line() {
        let budget = Resources { memory: 8 * GIB, cpu_millis: 4000 };
        assert_eq!(verdicts(&host(budget, None), &pool(4 * GIB, 4000, 100, Some("runc"))), []);
        let none = Resources::default();
        assert_eq!(verdicts(&host(none, None), &pool(0, 0, 100, None)), []);
        assert_eq!(verdicts(&host(none, Some(2)), &pool(4 * GIB, 0, 100, None)), []);
    }

    #[test]
    fn what_the_engine_does_not_have_is_named() {
        let found = verdicts(
            &host(Resources { memory: 9 * GIB, cpu_millis: 5500 }, None),
            &pool(16 * GIB, 4500, 1, Some("kata")),
        );
        let expected = [
            (Verdict::Warn, "its memory budget of 9.0 GiB is more than the engine has"),
            (Verdict::Warn, "its budget of 5.5 cpus is more than the engine has"),
            (Verdict::Fail, "asks for 4.5 cpus a runner, and host \"local\" has 4"),
            (Verdict::Warn, "allows a runner 16.0 GiB of memory, and host \"local\" has 8.0 GiB"),
            (Verdict::Fail, "asks for the runtime \"kata\", which host \"local\" does not have"),
        ];
        let found: Vec<_> = found.iter().map(|(verdict, text)| (*verdict, text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_image_that_breaks_the_trust_in_the_runners_lines_is_reported() {
        for (env, reported) in [
            ("ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING=1", true),
            ("ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING=True", true),
            ("ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING=false", false),
            ("PATH=/bin", false),
        ] {
            let line = environment("image a", &[env.to_owned()]);
            assert_eq!(line.map(|line| line.verdict), reported.then_some(Verdict::Warn), "{env}");
        }
    }

    #[test]
    fn pools_that_could_outgrow_a_host_without_a_budget_are_reported() {
        let found = verdicts(&host(Resources::default(), None), &pool(GIB, 0, 10, None));
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains("may use 10.0 GiB"), "{found:?}");
        assert_eq!(verdicts(&host(Resources::default(), Some(8)), &pool(GIB, 0, 10, None)), []);
    }
}
