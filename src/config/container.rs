//! The container template of a pool.

use std::net::IpAddr;

use super::{
    caches, container_files, devices, dind, docker_socket, egress,
    file::{self, Docker, JitConfig, Pull},
    findings::At,
    hosts::{bytes, cpu_millis},
    proxy,
    reading::Reading,
    swarm,
    wording::quoted,
};
use crate::{
    fleet::{DockerMode, Host, Mount, Network, PullPolicy, Resources, Template},
    host::{UNPREFIXED, is_of_dayfly},
};

/// Docker refuses a smaller memory limit.
const LEAST_MEMORY: u64 = 6 << 20;

impl Reading<'_> {
    /// Reads the template, recording its problems.
    pub(super) fn template(&self, written: &file::Container, at: &At<'_>) -> Template {
        let usual = Template::default();
        let image = written.image.clone().unwrap_or(usual.image);
        at.key("image").require(
            !image.is_empty() && !image.contains(char::is_whitespace),
            "must be an image reference",
            "for example \"ghcr.io/actions/actions-runner:latest\"",
        );
        let memory = bytes(written.memory, &at.key("memory")).unwrap_or_default();
        at.key("memory").require(
            memory == 0 || memory >= LEAST_MEMORY,
            "is less than Docker accepts",
            "set at least 6MiB; a runner needs some hundred",
        );
        at.key("pids").require(written.pids != Some(0), "must not be 0", "a runner needs some hundred");
        environment(written, &at.key("env"));
        lists(written, at);
        let command = written.command.clone().unwrap_or(usual.command);
        let resources =
            Resources { memory, cpu_millis: cpu_millis(written.cpus, &at.key("cpus")).unwrap_or_default() };
        let mut template = Template {
            image,
            writable: container_files::writable(written, &command, at),
            command,
            pull: match written.pull {
                Pull::Always => PullPolicy::Always,
                Pull::Missing => PullPolicy::Missing,
                Pull::Never => PullPolicy::Never,
            },
            resources,
            pids: written.pids.or(usual.pids),
            shm_size: bytes(written.shm_size, &at.key("shm_size")),
            env: written.env.clone(),
            mounts: written
                .mounts
                .iter()
                .enumerate()
                .filter_map(|(i, text)| mount(text, &at.key("mounts").key(i)))
                .collect(),
            caches: Vec::new(),
            network: match named(written.network.as_ref(), &at.key("network")) {
                None => Network::Default,
                Some(name) if name == "isolated" => Network::Isolated,
                Some(name) => Network::Named(name),
            },
            docker: match written.docker {
                Docker::None => DockerMode::None,
                Docker::Socket => DockerMode::Socket { path: written.docker_socket.clone() },
                Docker::Dind => {
                    DockerMode::Dind(dind::dind(written.dind.as_ref(), resources, &at.key("dind")))
                }
            },
            devices: devices::of_pool(written),
            egress: egress::egress(written.egress.as_ref(), &at.key("egress")),
            runtime: named(written.runtime.as_ref(), &at.key("runtime")),
            user: named(written.user.as_ref(), &at.key("user")),
            extra_hosts: written.extra_hosts.clone(),
            dns: written.dns.clone(),
            ulimits: written.ulimits.iter().map(|(name, limit)| (name.clone(), (limit.0, limit.1))).collect(),
            cap_add: written.cap_add.clone(),
            cap_drop: written.cap_drop.clone(),
            env_file: written
                .env_file
                .as_ref()
                .and_then(|path| self.read_at_launch(path, &at.key("env_file"))),
            hooks: container_files::hooks(written, &at.key("hooks")),
            proxy: proxy::proxy(written, &at.key("proxy")),
            ca_file: container_files::ca_file(written, &at.key("ca_file")),
            shared_devices: container_files::devices(written, &at.key("devices")),
            read_only: written.read_only,
            // Read below: a profile is a file.
            security_opt: Vec::new(),
            seccomp_profile: None,
            constraints: swarm::constraints(&written.constraints, &at.key("constraints")),
            jit_in_environment: written.jit_config == Some(JitConfig::Environment),
        };
        self.security_options(written, &mut template, &at.key("security_opt"));
        caches::add(&written.cache, &mut template, &at.key("cache"));
        if template.egress.is_some() {
            egress::combines(written, &template, at);
        }
        docker_socket::combines(written, &template, at);
        if written.docker == Docker::Dind {
            dind::combines(&template, at);
        } else {
            at.key("dind").require(
                written.dind.is_none(),
                "has no effect without docker = \"dind\"",
                "add that, or remove the table",
            );
        }
        template
    }
}

/// Records where a container and the budget of its host do not fit together.
pub(super) fn fits(written: &file::Container, needed: &Resources, host: &Host, at: &At<'_>) {
    let pairs = [
        ("memory", needed.memory, host.budget.memory, written.memory.is_some()),
        ("cpus", needed.cpu_millis, host.budget.cpu_millis, written.cpus.is_some()),
    ];
    for (key, needed, budget, is_written) in pairs {
        let at = at.key(key);
        if budget == 0 || at.is_broken() {
            continue;
        }
        if !is_written {
            at.warn(
                format_args!(
                    "is not set, so these runners do not count toward the budget of host {:?}",
                    host.name.as_str()
                ),
                format_args!("write {key} = …"),
            );
        } else if needed > budget {
            at.error(
                format_args!(
                    "is more than the whole budget of host {:?}, so no runner could ever start",
                    host.name.as_str()
                ),
                format_args!("lower it, or raise {key} of the host"),
            );
        }
    }
}

fn environment(written: &file::Container, at: &At<'_>) {
    for (name, value) in &written.env {
        let at = at.key(name);
        at.require(
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'),
            "cannot be an environment variable",
            "use no \"=\" in the name, and no NUL",
        );
        at.require(
            name != UNPREFIXED,
            "must not be set: with it, the output of a job could pass for the runner's own lines, which Dayfly \
             relies on",
            "remove it",
        );
        at.require(name == UNPREFIXED || !is_of_dayfly(name), "is set by Dayfly itself", "remove it");
    }
}

/// Reads `SOURCE:TARGET` or `SOURCE:TARGET:ro`, the syntax of the docker command.
fn mount(text: &str, at: &At<'_>) -> Option<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => ("", "", false),
    };
    // A path, or a volume's name; a relative path would silently become a volume.
    let volume = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if source.starts_with(['~', '$']) {
        let what = if source.starts_with('~') { "~" } else { "a variable" };
        at.error(format_args!("contains {what}, which only a shell expands"), "write the full path");
        return None;
    }
    let sound = target.starts_with('/')
        && (source.starts_with('/')
            || (source.starts_with(|c: char| c.is_ascii_alphanumeric()) && source.chars().all(volume)));
    if !at.require(
        sound,
        format_args!("{} is not a mount", quoted(text)),
        "write \"SOURCE:TARGET\" or \"SOURCE:TARGET:ro\", SOURCE an absolute path or a volume's name",
    ) {
        return None;
    }
    if source.ends_with("docker.sock") {
        at.warn("gives every job the engine's socket, and thereby root on the engine's machine", "");
    }
    Some(Mount { source: source.to_owned(), target: target.to_owned(), read_only })
}

fn named(text: Option<&String>, at: &At<'_>) -> Option<String> {
    let text = text?;
    at.require(!text.trim().is_empty(), "must not be empty", "leave it out").then(|| text.clone())
}

fn lists(written: &file::Container, at: &At<'_>) {
    for (i, entry) in written.extra_hosts.iter().enumerate() {
        let sound =
            entry.split_once(':').is_some_and(|(name, address)| !name.is_empty() && !address.is_empty());
        at.key("extra_hosts").key(i).require(sound, "must be NAME:ADDRESS", "for example \"cache:10.0.0.7\"");
    }
    for (i, server) in written.dns.iter().enumerate() {
        at.key("dns").key(i).require(server.parse::<IpAddr>().is_ok(), "must be an IP address", "");
    }
    let capability = |text: &String| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    for (key, capabilities) in [("cap_add", &written.cap_add), ("cap_drop", &written.cap_drop)] {
        for (i, name) in capabilities.iter().enumerate() {
            let hint = "for example \"SYS_PTRACE\"";
            at.key(key).key(i).require(capability(name), "must be a capability in capital letters", hint);
        }
    }
}
