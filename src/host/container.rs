//! The request that creates a runner's container, and what a list or an inspection shows of one. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum,
    ContainerSummary, ContainerSummaryStateEnum, DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount as EngineMount, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::{
    HostError, Launch, devices, environment, hooks,
    network_access::{self, NetworkAccess},
    read_only_root,
};
use crate::fleet::{
    ContainerId, Device, Devices, DockerMode, InstanceId, Mount, Network, RegistrationId, Resources,
    RunnerName, Scope, Template, TemplateDigest,
};

/// Label: the instance that created the container.
pub const LABEL_INSTANCE: &str = "dev.dayfly.instance";
/// Label: the instance whose `check` created the container.
pub(super) const LABEL_CHECK: &str = "dev.dayfly.check";
/// Label: the pool that it was created for.
pub const LABEL_POOL: &str = "dev.dayfly.pool";
/// Label: the runner that it was created for.
pub const LABEL_RUNNER: &str = "dev.dayfly.runner";
/// Label: GitHub's id of the runner's registration.
pub const LABEL_REGISTRATION: &str = "dev.dayfly.registration";
/// Label: the scope that the runner is registered in.
pub const LABEL_SCOPE: &str = "dev.dayfly.scope";
/// Label: the digest of the template that it was created from.
pub const LABEL_TEMPLATE: &str = "dev.dayfly.template";
/// Label: what the runner has for itself, as JSON.
pub const LABEL_DEVICES: &str = "dev.dayfly.devices";
/// Label: the reference of the image, which the container itself names by its id.
pub const LABEL_IMAGE: &str = "dev.dayfly.image";

/// The limit of open files where the pool sets none: soft as on GitHub's own runners, hard as systemd's default.
/// The engine's own differs from version to version: 1048576 up to Docker 28, 1024 since 29 (moby 51485).
pub(super) const NOFILE: (&str, (i64, i64)) = ("nofile", (65_536, 524_288));

/// Seconds that a manual stop of the container should wait: the runner has to report its job.
pub(super) const STOP_TIMEOUT: i64 = 60;

/// Whether a text is safe in the path of a request: bollard does not escape it, and a slash or two dots would
/// turn it into another request.
pub(super) fn is_plain_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The id as text that is safe in a request's path.
pub(super) fn plain(id: &ContainerId) -> Result<String, HostError> {
    if is_plain_name(&id.0) {
        Ok(id.0.to_string())
    } else {
        Err(HostError::Refused(format!("{:?} is not a container id", id.0)))
    }
}

/// The request that creates a runner's container; `usual_limits` are those of processes where the pool sets none.
pub(super) fn create_body(launch: &Launch<'_>, usual_limits: bool) -> Result<ContainerCreateBody, HostError> {
    let template = &launch.pool.template;
    let access = NetworkAccess::of(template);
    Ok(ContainerCreateBody {
        image: Some(launch.image.to_owned()),
        cmd: Some(launch.prepared.command.as_ref().unwrap_or(&template.command).clone())
            .filter(|command| !command.is_empty()),
        env: Some(environment::of(launch, &access)?),
        labels: Some(labels(launch)),
        user: template.user.clone(),
        stop_timeout: Some(STOP_TIMEOUT),
        host_config: Some(host_config(launch, access, usual_limits)?),
        ..ContainerCreateBody::default()
    })
}

pub(super) fn labels(launch: &Launch<'_>) -> HashMap<String, String> {
    let devices =
        (!launch.devices.is_empty()).then(|| serde_json::to_string(launch.devices).unwrap_or_default());
    let devices = devices.map(|devices| (LABEL_DEVICES.to_owned(), devices));
    [
        (LABEL_INSTANCE, launch.instance.to_string()),
        (LABEL_POOL, launch.pool.name.to_string()),
        (LABEL_RUNNER, launch.runner.to_string()),
        (LABEL_REGISTRATION, launch.registration.to_string()),
        (LABEL_SCOPE, launch.pool.scope.to_string()),
        (LABEL_TEMPLATE, launch.pool.template.digest_with(launch.files.digest()).0),
        (LABEL_IMAGE, launch.pool.template.image.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .chain(devices)
    .collect()
}

fn host_config(
    launch: &Launch<'_>,
    access: NetworkAccess,
    usual_limits: bool,
) -> Result<HostConfig, HostError> {
    let (template, prepared) = (&launch.pool.template, launch.prepared);
    let Resources { memory, cpu_millis } = template.resources;
    let memory = (memory > 0).then(|| signed(memory, "memory")).transpose()?;
    let nano_cpus = cpu_millis.saturating_mul(1_000_000);
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    let passed_on: Vec<Mount> = access.mounts.into_iter().chain(hooks::mounts(&template.hooks)).collect();
    let mut mounts: Vec<EngineMount> = read_only_root::writable(template).collect();
    mounts.extend(template.mounts.iter().chain(&passed_on).map(mount).collect::<Result<Vec<_>, _>>()?);
    mounts.extend(prepared.mounts.iter().cloned());
    Ok(HostConfig {
        memory,
        // Equal to memory means no swap: a job that swaps slows down all others.
        memory_swap: memory,
        nano_cpus: (cpu_millis > 0).then(|| signed(nano_cpus, "cpus")).transpose()?,
        pids_limit: template.pids.map(i64::from),
        shm_size: template.shm_size.map(|size| signed(size, "shm_size")).transpose()?,
        mounts: Some(mounts),
        tmpfs: read_only_root::temporary(template),
        readonly_rootfs: template.read_only.then_some(true),
        devices: Some(
            template.shared_devices.iter().map(device).chain(devices::exclusive(launch.devices)).collect(),
        ),
        device_requests: Some(devices::gpus(launch.devices)).filter(|gpus| !gpus.is_empty()),
        network_mode: prepared.network.clone().or_else(|| match &template.network {
            Network::Named(name) => Some(name.clone()),
            Network::Default | Network::Isolated => None,
        }),
        group_add: list(&prepared.groups),
        // The runner refuses container jobs where the control group of process 1 shows that it is in a container
        // (actions/runner, `AssertCompatibleOS`), as it is without a namespace of its own on cgroup v1.
        cgroupns_mode: (template.docker != DockerMode::None).then_some(HostConfigCgroupnsModeEnum::PRIVATE),
        // That of its engine, whose network it shares.
        runtime: template.runtime.clone().filter(|_| !matches!(template.docker, DockerMode::Dind(_))),
        extra_hosts: list(&template.extra_hosts),
        dns: prepared.dns.clone().map(|server| vec![server]).or_else(|| list(&template.dns)),
        ulimits: Some(ulimits(template, usual_limits)),
        cap_add: list(&template.cap_add),
        cap_drop: list(&network_access::dropped_capabilities(template)),
        security_opt: list(&security_options(launch)),
        // Reaps processes that jobs leave behind, and forwards the stop signal.
        init: Some(true),
        // A JIT config can be used once; a restarted container could only fail.
        restart_policy: Some(never_restarted()),
        // With it, the log and the exit code would be gone before they are read.
        auto_remove: Some(false),
        log_config: Some(log_config()),
        ..HostConfig::default()
    })
}

pub(super) fn never_restarted() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..RestartPolicy::default() }
}

/// The log driver that the edge can read, with a limit on its size.
pub(super) fn log_config() -> HostConfigLogConfig {
    let config =
        [("max-size", "10m"), ("max-file", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config.into()) }
}

/// The options, with the profile's content: only the docker command could read it by its path.
fn security_options(launch: &Launch<'_>) -> Vec<String> {
    let profile = launch.files.seccomp.iter().map(|profile| format!("seccomp={profile}"));
    launch.pool.template.security_opt.iter().cloned().chain(profile).collect()
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: Some(device.target.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    }
}

/// A mount in the strict form: a missing directory is an error. The short form would make an empty
/// one that belongs to root.
pub(super) fn mount(mount: &Mount) -> Result<EngineMount, HostError> {
    let typ = if mount.source.starts_with('/') {
        MountType::BIND
    } else if is_plain_name(&mount.source) {
        MountType::VOLUME
    } else {
        let wrong = &mount.source;
        return Err(refused(format!(
            "the mount source {wrong:?} is neither an absolute path nor a volume's name"
        )));
    };
    Ok(EngineMount {
        typ: Some(typ),
        source: Some(mount.source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..EngineMount::default()
    })
}

/// Whether a pool sets the limit of open files itself.
pub(super) fn sets_nofile(template: &Template) -> bool {
    template.ulimits.contains_key(NOFILE.0)
}

pub(super) fn ulimits(template: &Template, usual: bool) -> Vec<ResourcesUlimits> {
    let usual = (usual && !sets_nofile(template)).then_some(NOFILE);
    let own = template.ulimits.iter().map(|(name, limit)| (name.as_str(), *limit));
    let ulimit = |(name, (soft, hard)): (&str, (i64, i64))| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(soft),
        hard: Some(hard),
    };
    own.chain(usual).map(ulimit).collect()
}

pub(super) fn signed(value: u64, what: &str) -> Result<i64, HostError> {
    i64::try_from(value).map_err(|_| refused(format!("{what} of {value} is too large")))
}

fn refused(text: String) -> HostError {
    HostError::Refused(text)
}

/// The state of a container, in the three values that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Created and never started.
    Created,
    /// Running, or able to continue.
    Up,
    /// No longer running.
    Down,
}

/// A container of this instance, as far as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ours {
    pub(super) id: ContainerId,
    pub(super) runner: RunnerName,
    pub(super) registration: Option<RegistrationId>,
    pub(super) scope: Option<Scope>,
    pub(super) template: TemplateDigest,
    pub(super) image: Option<String>,
    pub(super) devices: Devices,
    /// `None` for a state that this version does not know.
    pub(super) condition: Option<Condition>,
}

impl Ours {
    /// Parses a listed container; `Err` has the reason why it cannot be of this instance although it has its
    /// label.
    pub(super) fn read(
        summary: &ContainerSummary,
        id: ContainerId,
        instance: &InstanceId,
    ) -> Result<Self, String> {
        let none = HashMap::new();
        let labels = summary.labels.as_ref().unwrap_or(&none);
        let label = |key| labels.get(key).map(String::as_str);
        if label(LABEL_INSTANCE) != Some(instance.as_str()) {
            return Err(format!("its label {LABEL_INSTANCE} is not {instance}"));
        }
        let runner = runner_of(label(LABEL_RUNNER), instance)?;
        // A container that is being removed has lost its name already.
        let names = summary.names.as_deref().unwrap_or_default();
        let bears = |name: &String| name.strip_prefix('/').unwrap_or(name) == runner.as_str();
        if !names.is_empty() && !names.iter().any(bears) {
            return Err(format!("its name differs from that of its runner {runner}"));
        }
        Ok(Self {
            id,
            registration: label(LABEL_REGISTRATION).and_then(|id| id.parse().ok()).map(RegistrationId),
            scope: label(LABEL_SCOPE).and_then(|url| url.parse().ok()),
            template: TemplateDigest(label(LABEL_TEMPLATE).unwrap_or_default().to_owned()),
            image: summary.image_id.clone(),
            devices: label(LABEL_DEVICES)
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
            condition: summary.state.and_then(listed_condition),
            runner,
        })
    }
}

/// The state of a container in a list; `None` for one that this version does not know.
pub(super) fn listed_condition(state: ContainerSummaryStateEnum) -> Option<Condition> {
    match state {
        ContainerSummaryStateEnum::CREATED => Some(Condition::Created),
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => Some(Condition::Up),
        ContainerSummaryStateEnum::EXITED
        | ContainerSummaryStateEnum::DEAD
        | ContainerSummaryStateEnum::REMOVING => Some(Condition::Down),
        ContainerSummaryStateEnum::EMPTY => None,
    }
}

/// The runner in a label, if it is of this instance.
pub(super) fn runner_of(label: Option<&str>, instance: &InstanceId) -> Result<RunnerName, String> {
    let text = label.ok_or_else(|| format!("it has no label {LABEL_RUNNER}"))?;
    RunnerName::parse(text).filter(|runner| runner.instance() == instance.as_str()).ok_or_else(|| {
        format!("its label {LABEL_RUNNER} is not the name of a runner of {instance}: {text:?}")
    })
}

/// The state of a container in an inspection.
pub(super) fn condition(state: &EngineState) -> Condition {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => Condition::Created,
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::STOPPING,
        ) => Condition::Up,
        Some(ContainerStateStatusEnum::EMPTY) | None if state.running == Some(true) => Condition::Up,
        // While one that could not be started is being removed, it is shown as dead, with exit code 128 (Engine 20.10).
        _ if state.started_at.as_deref().is_some_and(|at| at.starts_with(NEVER)) => Condition::Created,
        _ => Condition::Down,
    }
}

/// How engines write that something has not happened.
const NEVER: &str = "0001-01-01T00:00:00";

/// The actual limits of a container.
pub(super) fn resources(inspected: &ContainerInspectResponse) -> Resources {
    let limits = inspected.host_config.as_ref();
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    Resources {
        memory: positive(limits.and_then(|l| l.memory)),
        cpu_millis: positive(limits.and_then(|l| l.nano_cpus)) / 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_go_into_a_request() {
        for good in ["a", "0", "dayfly-linux-ci1-01jd", "a_b.c-d"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in
            ["", ".", "..", "-a", "_a", "a/b", "a/../../images/json", "a?x=1", "a#f", "a b", "ä", "a\n"]
        {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_container_that_was_never_started_has_not_ended_whatever_its_state_is_called() {
        let state = |status, started: Option<&str>| EngineState {
            status: Some(status),
            started_at: started.map(str::to_owned),
            exit_code: Some(128),
            ..EngineState::default()
        };
        for status in [
            ContainerStateStatusEnum::CREATED,
            ContainerStateStatusEnum::DEAD,
            ContainerStateStatusEnum::EXITED,
            ContainerStateStatusEnum::REMOVING,
        ] {
            let never = Some("0001-01-01T00:00:00Z");
            assert_eq!(condition(&state(status, never)), Condition::Created, "{status}");
            if status != ContainerStateStatusEnum::CREATED {
                let started = Some("2026-11-29T16:19:34.412Z");
                assert_eq!(condition(&state(status, started)), Condition::Down, "{status}");
                assert_eq!(condition(&state(status, None)), Condition::Down, "{status}");
            }
        }
    }

    fn summary(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        ContainerSummary {
            names: Some(vec![format!("/{name}")]),
            labels: Some(labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()),
            state: Some(ContainerSummaryStateEnum::PAUSED),
            ..ContainerSummary::default()
        }
    }

    fn read(summary: &ContainerSummary) -> Result<Ours, String> {
        Ours::read(summary, ContainerId("c".into()), &"ci1".parse().unwrap())
    }

    #[test]
    fn a_listed_container_is_read_from_its_labels() {
        let name = "dayfly-linux-ci1-01jd0000000000000000000000";
        let full = summary(
            name,
            &[
                (LABEL_INSTANCE, "ci1"),
                (LABEL_RUNNER, name),
                (LABEL_REGISTRATION, "23"),
                (LABEL_SCOPE, "https://github.com/acme"),
                (LABEL_TEMPLATE, "abc"),
            ],
        );
        let ours = read(&full).unwrap();
        assert_eq!((ours.runner.as_str(), ours.registration), (name, Some(RegistrationId(23))));
        assert_eq!((ours.scope.unwrap().path(), ours.template.0.as_str()), ("acme", "abc"));
        assert_eq!(ours.condition, Some(Condition::Up));

        let least = summary(name, &[(LABEL_INSTANCE, "ci1"), (LABEL_RUNNER, name), (LABEL_SCOPE, "?")]);
        let ours = read(&least).unwrap();
        assert_eq!((ours.registration, ours.scope, ours.template.0.as_str()), (None, None, ""));

        let nameless = ContainerSummary { names: Some(Vec::new()), ..least };
        assert!(read(&nameless).is_ok());
    }

    #[test]
    fn what_bears_our_instance_and_cannot_be_ours_is_left_out_with_a_reason() {
        let name = "dayfly-linux-ci1-01jd0000000000000000000000";
        let other = "dayfly-linux-ci2-01jd0000000000000000000000";
        for (listed, why) in [
            (summary(name, &[(LABEL_INSTANCE, "ci2"), (LABEL_RUNNER, name)]), "is not ci1"),
            (summary(name, &[(LABEL_INSTANCE, "ci1")]), "no label"),
            (
                summary("web", &[(LABEL_INSTANCE, "ci1"), (LABEL_RUNNER, "web")]),
                "is not the name of a runner",
            ),
            (
                summary(other, &[(LABEL_INSTANCE, "ci1"), (LABEL_RUNNER, other)]),
                "is not the name of a runner",
            ),
            (summary("web", &[(LABEL_INSTANCE, "ci1"), (LABEL_RUNNER, name)]), "its name differs"),
        ] {
            assert!(read(&listed).unwrap_err().contains(why), "{listed:?}");
        }
    }
}
