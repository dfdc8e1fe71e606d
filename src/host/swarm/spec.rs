//! The request that creates a runner's service. Pure.
//!
//! A runner is a service with one task that is never restarted: a job, or where a node is too old for those a replicated
//! service (docs/decisions).

use std::collections::HashMap;

use bollard::models::{
    Limit, NetworkAttachmentConfig, ResourceObject, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
    ServiceSpecModeReplicatedJob, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecDnsConfig,
    TaskSpecContainerSpecFile, TaskSpecContainerSpecPrivileges, TaskSpecContainerSpecSecrets,
    TaskSpecLogDriver, TaskSpecPlacement, TaskSpecResources, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum,
};

use crate::{
    fleet::{Network, Resources, Template},
    host::{
        HostError, Launch,
        container::{self, LABEL_RUNNER, STOP_TIMEOUT, log_config, signed},
        environment::{self, JIT},
        hooks,
        network_access::NetworkAccess,
    },
};

/// What services need and can be, by the versions of all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) mode: Mode,
    /// Whether the limit of open files is set, since the engine's own is too low.
    pub(super) limit_files: bool,
}

impl Form {
    /// The oldest engine decides the mode, and the newest about the limit.
    pub(super) fn of<'v>(versions: impl IntoIterator<Item = &'v str>) -> Self {
        let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let all: Vec<u32> = versions.into_iter().map(|version| major(version).unwrap_or_default()).collect();
        let has_jobs = all.iter().min().is_some_and(|oldest| *oldest >= FIRST_WITH_JOBS);
        Self {
            mode: if has_jobs { Mode::Job } else { Mode::Replicated },
            limit_files: all.iter().any(|major| *major >= FIRST_WITH_FEW_FILES),
        }
    }
}

/// The mode of a runner's service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The Swarm stops its task when its node is drained, and when the node is reached again after it was lost.
    #[default]
    Replicated,
    /// The Swarm leaves its task alone until it has ended. Before 24 it is not stopped when the service is removed.
    Job,
}

impl Mode {
    fn spec(self) -> ServiceSpecMode {
        match self {
            Self::Replicated => ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
                ..ServiceSpecMode::default()
            },
            Self::Job => ServiceSpecMode {
                replicated_job: Some(ServiceSpecModeReplicatedJob {
                    max_concurrent: Some(1),
                    total_completions: Some(1),
                }),
                ..ServiceSpecMode::default()
            },
        }
    }
}

/// The first version whose containers may have 1024 open files (moby 51485).
const FIRST_WITH_FEW_FILES: u32 = 29;

/// The first version that stops the task of a job whose service is removed (moby 42789, 44312).
const FIRST_WITH_JOBS: u32 = 24;

/// Where the secret is in the container.
const SECRET_FILE: &str = "dayfly-jit-config";

/// Sets the variable from the secret and becomes the pool's command.
fn wrapped(command: &[String]) -> (Vec<String>, Vec<String>) {
    let script = format!(r#"{JIT}="$(cat /run/secrets/{SECRET_FILE})" && export {JIT} && exec "$@""#);
    (["/bin/sh", "-c", &script, "sh"].map(str::to_owned).into(), command.to_vec())
}

/// The service of a runner; `secret` is the id of the secret with its JIT config, which is in the environment without it.
pub(super) fn service(
    launch: &Launch<'_>,
    secret: Option<&str>,
    form: Form,
) -> Result<ServiceSpec, HostError> {
    let template = &launch.pool.template;
    Ok(ServiceSpec {
        name: Some(launch.runner.to_string()),
        labels: Some(container::labels(launch)),
        mode: Some(form.mode.spec()),
        task_template: Some(TaskSpec {
            container_spec: Some(container_spec(launch, secret, form.limit_files)?),
            resources: Some(resources(template)?),
            restart_policy: Some(TaskSpecRestartPolicy {
                // A JIT config can be used once; a restarted container could only fail.
                condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
                ..TaskSpecRestartPolicy::default()
            }),
            placement: Some(TaskSpecPlacement {
                constraints: Some(template.constraints.iter().map(ToString::to_string).collect()),
                ..TaskSpecPlacement::default()
            }),
            networks: match &template.network {
                Network::Named(name) => Some(vec![NetworkAttachmentConfig {
                    target: Some(name.clone()),
                    ..NetworkAttachmentConfig::default()
                }]),
                Network::Default | Network::Isolated => None,
            },
            log_driver: Some(log_driver()),
            ..TaskSpec::default()
        }),
        ..ServiceSpec::default()
    })
}

fn container_spec(
    launch: &Launch<'_>,
    secret: Option<&str>,
    usual_limits: bool,
) -> Result<TaskSpecContainerSpec, HostError> {
    let template = &launch.pool.template;
    let access = NetworkAccess::of(template);
    let (command, args, env) = if secret.is_some() {
        let (command, args) = wrapped(&template.command);
        (Some(command), Some(args), environment::without_jit(launch, &access)?)
    } else {
        let args = Some(template.command.clone()).filter(|command| !command.is_empty());
        (None, args, environment::of(launch, &access)?)
    };
    let passed_on = access.mounts.into_iter().chain(hooks::mounts(&template.hooks));
    let all: Vec<_> = template.mounts.iter().cloned().chain(passed_on).collect();
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    Ok(TaskSpecContainerSpec {
        image: Some(launch.image.to_owned()),
        // Not the instance: an engine that is also a host of its own would list the container as one of its runners.
        labels: Some(HashMap::from([(LABEL_RUNNER.to_owned(), launch.runner.to_string())])),
        command,
        args,
        env: Some(env),
        user: template.user.clone(),
        mounts: Some(all.iter().map(container::mount).collect::<Result<_, _>>()?),
        secrets: secret.map(|id| vec![file_of(id, launch.runner.as_str())]),
        hosts: list(&template.extra_hosts.iter().map(|line| host_line(line)).collect::<Vec<_>>()),
        dns_config: list(&template.dns).map(|servers| TaskSpecContainerSpecDnsConfig {
            nameservers: Some(servers),
            ..TaskSpecContainerSpecDnsConfig::default()
        }),
        capability_add: list(&template.cap_add),
        capability_drop: list(&template.cap_drop),
        ulimits: Some(container::ulimits(template, usual_limits)),
        privileges: template.forbids_new_privileges().then(|| TaskSpecContainerSpecPrivileges {
            no_new_privileges: Some(true),
            ..TaskSpecContainerSpecPrivileges::default()
        }),
        // Reaps processes that jobs leave behind, and forwards the stop signal.
        init: Some(true),
        stop_grace_period: Some(STOP_TIMEOUT * 1_000_000_000),
        ..TaskSpecContainerSpec::default()
    })
}

/// The secret as a file that the user of the image can read. The runner has used it up before its job starts.
fn file_of(id: &str, name: &str) -> TaskSpecContainerSpecSecrets {
    TaskSpecContainerSpecSecrets {
        secret_id: Some(id.to_owned()),
        secret_name: Some(name.to_owned()),
        file: Some(TaskSpecContainerSpecFile {
            name: Some(SECRET_FILE.to_owned()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(0o444),
        }),
    }
}

/// `name:address` as a line of `/etc/hosts`, which is the form of services.
fn host_line(entry: &str) -> String {
    match entry.split_once(':') {
        Some((name, address)) => format!("{address} {name}"),
        None => entry.to_owned(),
    }
}

/// What the runner may use is reserved for it, so that a node is not given more than it has.
fn resources(template: &Template) -> Result<TaskSpecResources, HostError> {
    let Resources { memory, cpu_millis } = template.resources;
    let memory = (memory > 0).then(|| signed(memory, "memory")).transpose()?;
    let nano_cpus = cpu_millis.saturating_mul(1_000_000);
    let nano_cpus = (cpu_millis > 0).then(|| signed(nano_cpus, "cpus")).transpose()?;
    Ok(TaskSpecResources {
        limits: Some(Limit { nano_cpus, memory_bytes: memory, pids: template.pids.map(i64::from) }),
        reservations: Some(ResourceObject { nano_cpus, memory_bytes: memory, generic_resources: None }),
        ..TaskSpecResources::default()
    })
}

fn log_driver() -> TaskSpecLogDriver {
    let config = log_config();
    TaskSpecLogDriver { name: config.typ, options: config.config }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_extra_hosts_becomes_a_line_of_the_file() {
        assert_eq!(host_line("registry:10.0.0.5"), "10.0.0.5 registry");
        assert_eq!(host_line("registry:fe80::1"), "fe80::1 registry");
    }

    #[test]
    fn the_command_becomes_that_of_a_shell_which_reads_the_secret() {
        let (command, args) = wrapped(&["/home/runner/run.sh".to_owned()]);
        assert_eq!(command[..2], ["/bin/sh", "-c"]);
        assert!(
            command[2].contains("cat /run/secrets/dayfly-jit-config") && command[2].ends_with(r#"exec "$@""#)
        );
        assert_eq!(args, ["/home/runner/run.sh"]);
    }

    #[test]
    fn the_oldest_engine_decides_the_mode_and_the_newest_about_limits() {
        for (versions, mode, limit_files) in [
            (&["26.1.5+dfsg1", "29.7.2"][..], Mode::Job, true),
            (&["26.1.5+dfsg1", "28.5.2"], Mode::Job, false),
            (&["20.10.24+dfsg1", "29.7.2"], Mode::Replicated, true),
            (&["", "28.5.2"], Mode::Replicated, false),
            (&[], Mode::Replicated, false),
        ] {
            assert_eq!(Form::of(versions.iter().copied()), Form { mode, limit_files }, "{versions:?}");
        }
    }

    #[test]
    fn limits_are_reserved() {
        let limits = Resources { memory: 1 << 30, cpu_millis: 1500 };
        let resources = resources(&Template { resources: limits, ..Template::default() }).unwrap();
        let (limits, reserved) = (resources.limits.unwrap(), resources.reservations.unwrap());
        assert_eq!((limits.memory_bytes, limits.nano_cpus), (Some(1 << 30), Some(1_500_000_000)));
        assert_eq!((reserved.memory_bytes, reserved.nano_cpus), (limits.memory_bytes, limits.nano_cpus));
    }
}
