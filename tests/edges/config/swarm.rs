//! What a host that is a Docker Swarm, and the pools on it, may have.

use dayfly::{config::HostConfig, fleet::Constraint};

use super::{SOUND, Written, pool};

const SWARM: &str = "host = \"s\"\n[hosts.s]\nendpoint = \"unix:///run/s.sock\"\nengine = \"swarm\"\n";

fn problems(container: &str) -> Vec<String> {
    Written::new(format!("{SOUND}{container}\n{SWARM}")).problems()
}

#[test]
fn a_pool_can_run_on_a_swarm_with_constraints_and_the_jit_config_as_a_secret() {
    let keys = "container.constraints = [\"node.labels.disk==ssd\", \"node.role != manager\"]\n";
    let config = Written::new(format!("{SOUND}{keys}{SWARM}")).load();
    assert!(config.hosts.iter().any(HostConfig::is_swarm));
    let template = &config.pools[0].pool.template;
    assert!(!template.jit_in_environment);
    let shown: Vec<String> = template.constraints.iter().map(Constraint::to_string).collect();
    assert_eq!(shown, ["node.labels.disk==ssd", "node.role!=manager"]);
    let keys = "container.jit_config = \"environment\"\n";
    let config = Written::new(format!("{SOUND}{keys}{SWARM}")).load();
    assert!(config.pools[0].pool.template.jit_in_environment);
}

#[test]
fn what_a_swarm_cannot_do_is_refused_with_the_reason() {
    for (key, written, why) in [
        ("docker", "container.docker = \"dind\"", "services cannot be privileged, and have no sidecars"),
        ("docker", "container.docker = \"socket\"", "services cannot be privileged, and have no sidecars"),
        ("devices", "container.devices = [\"/dev/kvm\"]", "services have no devices"),
        ("runtime", "container.runtime = \"sysbox-runc\"", "services cannot choose their runtime"),
        ("shm_size", "container.shm_size = \"1GiB\"", "services cannot set it"),
        (
            "security_opt",
            "container.security_opt = [\"apparmor=unconfined\"]",
            "services cannot set it, except for no-new-privileges",
        ),
        (
            "network",
            "container.network = \"isolated\"",
            "a network for each runner would be one of all nodes; use the default or a network's name",
        ),
        ("egress", "container.egress = { mode = \"audit\" }", "services have no sidecars"),
        (
            "cache",
            "container.cache = [{ target = \"/c\", source = \"c\", mode = \"rw\" }]",
            "the nodes share no volumes; use mounts",
        ),
        ("read_only", "container.read_only = true", "the folders that a runner writes to cannot be prepared"),
    ] {
        let refusal = format!(
            "container.{key}: is not possible on host \"s\", which is a Swarm: {why}; remove it, or use a host with \
             engine = \"docker\""
        );
        let found = problems(written);
        assert!(found.iter().any(|problem| problem.ends_with(&refusal)), "{written}: {found:#?}");
    }
    let gpus = format!("{SOUND}container.gpus = 1\n{SWARM}gpus = [\"0\"]\n");
    let found = Written::new(gpus).problems();
    assert!(found.iter().any(|problem| problem.contains("container.gpus: is not possible")), "{found:#?}");
    assert!(found.iter().any(|problem| problem.contains("hosts.s.gpus: cannot be handed out")), "{found:#?}");
    let found = Written::new(format!("{SOUND}{SWARM}min_free_disk = \"1GiB\"\n")).problems();
    assert!(found[0].contains("min_free_disk: cannot be measured on the nodes of a Swarm"), "{found:#?}");
    Written::new(format!("{SOUND}container.security_opt = [\"no-new-privileges\"]\n{SWARM}")).load();
}

#[test]
fn slips_in_what_only_a_swarm_has_are_reported() {
    for written in
        ["node.labels.==a", "disk==ssd", "node.labels.disk=ssd", "node.hostname==", "node.ip==10.0.0.1"]
    {
        let found = problems(&format!("container.constraints = [\"{written}\"]"));
        assert!(
            found[0].contains("constraints, item 1: is not a constraint; write"),
            "{written}: {found:#?}"
        );
    }
    let found = problems("container.command = []");
    assert!(found[0].contains("jit_config: must be \"environment\" where command is empty"), "{found:#?}");
    let longest = |length: usize| {
        format!("{SOUND}{SWARM}").replace("\"linux\"\n", &format!("{:?}\n", "p".repeat(length)))
    };
    Written::new(longest(MAX_POOL - 1)).load();
    let found = Written::new(longest(MAX_POOL)).problems();
    assert!(found[0].contains("name: is one character too long for the name of a service"), "{found:#?}");
    for key in ["constraints = [\"node.role==worker\"]", "jit_config = \"secret\""] {
        let found = pool(&format!("container.{key}"));
        assert!(found[0].contains("has no effect: none of the pool's hosts is a Swarm"), "{key}: {found:#?}");
    }
}

/// With the instance of these tests.
const MAX_POOL: usize = 64 - "dayfly-".len() - "-emw0nu-".len() - 26;
