//! The labels by which attachments are found.

use std::collections::HashMap;

use bollard::models::ContainerSummary;

use crate::{
    fleet::{Resources, RunnerName},
    host::container::{LABEL_INSTANCE, LABEL_POOL, LABEL_RUNNER},
};

/// Label: what an attachment is to its runner.
pub const LABEL_ATTACHMENT: &str = "dev.dayfly.attachment";

/// Label: the limits of a sidecar, memory in bytes and processors in thousandths.
const LABEL_RESOURCES: &str = "dev.dayfly.resources";

/// Label: the value of [`LABEL_ATTACHMENT`] of a container that ends before the runner starts.
pub(super) const SETUP: &str = "setup";

/// Whether a listed container is an attachment, not a runner.
pub(in crate::host) fn is_attachment(summary: &ContainerSummary) -> bool {
    summary.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_ATTACHMENT))
}

/// Whether the label of a container says that it ends before its runner starts.
pub(in crate::host) fn is_setup(attachment: Option<&str>) -> bool {
    attachment == Some(SETUP)
}

/// The labels of an attachment; `what` says what it is to its runner.
pub(in crate::host) fn labels(runner: &RunnerName, what: &str) -> HashMap<String, String> {
    let labels = [
        (LABEL_INSTANCE, runner.instance().to_owned()),
        (LABEL_POOL, runner.pool().to_owned()),
        (LABEL_RUNNER, runner.to_string()),
        (LABEL_ATTACHMENT, what.to_owned()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The labels of a sidecar with these limits.
pub(super) fn sidecar_labels(
    runner: &RunnerName,
    what: &str,
    resources: Resources,
) -> HashMap<String, String> {
    let Resources { memory, cpu_millis } = resources;
    let mut labels = labels(runner, what);
    labels.insert(LABEL_RESOURCES.to_owned(), format!("{memory}/{cpu_millis}"));
    labels
}

/// The limits in a sidecar's labels.
pub(super) fn resources(labels: &HashMap<String, String>) -> Option<Resources> {
    let (memory, cpu_millis) = labels.get(LABEL_RESOURCES)?.split_once('/')?;
    Some(Resources { memory: memory.parse().ok()?, cpu_millis: cpu_millis.parse().ok()? })
}
