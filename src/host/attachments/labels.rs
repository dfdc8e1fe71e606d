//! The labels by which attachments are found.

use std::collections::HashMap;

use bollard::models::ContainerSummary;

use crate::{
    fleet::RunnerName,
    host::{
        Preparation,
        container::{LABEL_INSTANCE, LABEL_POOL, LABEL_RUNNER},
    },
};

/// Label: what an attachment is to its runner.
pub const LABEL_ATTACHMENT: &str = "dev.dayfly.attachment";

/// Label: the limits of a sidecar, memory in bytes and processors in thousandths.
pub(super) const LABEL_RESOURCES: &str = "dev.dayfly.resources";

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
pub(super) fn labels(of: &Preparation<'_>, what: &str) -> HashMap<String, String> {
    labels_of(of.runner, what)
}

/// The same for a runner of which only the name is known.
pub(super) fn labels_of(runner: &RunnerName, what: &str) -> HashMap<String, String> {
    let labels = [
        (LABEL_INSTANCE, runner.instance().to_owned()),
        (LABEL_POOL, runner.pool().to_owned()),
        (LABEL_RUNNER, runner.to_string()),
        (LABEL_ATTACHMENT, what.to_owned()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}
