//! Checks what an engine does not do as Docker Engine does on a machine of its own: Podman, and engines without
//! privileges.

use super::report::Line;
use crate::{
    fleet::Pool,
    host::{Facts, Product},
};

/// Podman before 5 reports ends late or not at all.
pub(super) fn is_supported(facts: &Facts) -> bool {
    let major = facts.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    facts.product != Product::Podman || major.is_none_or(|major| major >= 5)
}

/// The limits that pools set and the engine ignores.
pub(super) fn ignored_limits(subject: &str, pools: &[&Pool], facts: &Facts) -> Option<Line> {
    let asked = |limit: &&&str| {
        pools.iter().any(|Pool { template, .. }| match **limit {
            "memory" => template.resources.memory > 0,
            "cpus" => template.resources.cpu_millis > 0,
            _ => template.pids.is_some(),
        })
    };
    let ignored: Vec<&str> = facts.ignored_limits.iter().filter(asked).copied().collect();
    (!ignored.is_empty()).then(|| {
        Line::warn(
            subject,
            format_args!(
                "the engine ignores these limits of runners: {}; one job can take all of its machine",
                ignored.join(", ")
            ),
            "a rootless engine needs cgroup v2 with the controllers delegated to its user (docs.docker.com/engine/\
             security/rootless)",
        )
    })
}

/// An engine that cannot show whether a runner has a job.
pub(super) fn no_processes(subject: &str, facts: &Facts) -> Option<Line> {
    (!facts.lists_processes).then(|| {
        Line::fail(
            subject,
            "the engine has no control groups and lists no processes, so that no idle runner could be removed: it may have \
             a job",
            "use cgroup v2 on that machine, or an engine that runs as root",
        )
    })
}

/// What Podman does not do as Docker does.
pub(super) fn podman(pool: &Pool, facts: &Facts) -> Vec<Line> {
    if facts.product != Product::Podman {
        return Vec::new();
    }
    let subject = format!("pool {:?}", pool.name.as_str());
    let mut lines = Vec::new();
    if pool.template.egress.is_some() {
        lines.push(Line::fail(
            &subject,
            "has egress, and Podman cannot make its networks: no runner can be launched",
            "use Docker on that host, or remove [pool.container.egress]",
        ));
    }
    if let Some(runtime) = &pool.template.runtime {
        lines.push(Line::warn(
            &subject,
            format_args!("asks for the runtime {runtime:?}, and Podman runs all containers with its own"),
            "set runtime in [engine] of that host's containers.conf, and remove it from [pool.container]",
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_lists_no_processes_fails() {
        assert!(no_processes("host", &engine::facts()).is_none());
        let facts = Facts { lists_processes: false, ..engine::facts() };
        assert_eq!(no_processes("host", &facts).unwrap().verdict, Verdict::Fail);
    }

    use crate::{
        cli::check::{engine::tests as engine, report::Verdict},
        fleet::{Egress, EgressMode},
    };

    fn podman_of(version: &str) -> Facts {
        Facts { product: Product::Podman, version: version.to_owned(), ..engine::facts() }
    }

    #[test]
    fn podman_is_supported_from_5_on() {
        for (version, supported) in
            [("4.3.1", false), ("4.9", false), ("5.4.2", true), ("10.0", true), ("", true)]
        {
            assert_eq!(is_supported(&podman_of(version)), supported, "{version}");
        }
        assert!(is_supported(&engine::facts()));
    }

    #[test]
    fn what_podman_ignores_or_cannot_do_is_reported_there_alone() {
        let mut pool = engine::pool(0, 0, 1, Some("kata"));
        pool.template.egress = Some(Egress { mode: EgressMode::Audit, allow: Vec::new(), image: None });
        let verdicts = |facts: &Facts| -> Vec<Verdict> {
            podman(&pool, facts).into_iter().map(|line| line.verdict).collect()
        };
        assert_eq!(verdicts(&podman_of("5.4.2")), [Verdict::Fail, Verdict::Warn]);
        assert_eq!(verdicts(&engine::facts()), []);
    }

    #[test]
    fn limits_that_an_engine_ignores_are_reported_where_a_pool_sets_them() {
        let rootless = Facts { ignored_limits: vec!["memory", "cpus", "pids"], ..engine::facts() };
        let text = |memory, facts: &Facts| {
            let mut pool = engine::pool(memory, 0, 1, None);
            pool.template.pids = None;
            ignored_limits("host", &[&pool], facts).map(|line| line.text)
        };
        assert!(text(1 << 30, &rootless).unwrap().contains("of runners: memory;"));
        assert_eq!(text(0, &rootless), None);
        assert_eq!(text(1 << 30, &engine::facts()), None);
    }
}
