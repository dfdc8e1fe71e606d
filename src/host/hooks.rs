//! The scripts that a runner runs before and after its job, mounted from the engine's machine.

use crate::fleet::{Hooks, Mount};

/// The variables, and where the scripts are in a container.
const STARTED: (&str, &str) = ("ACTIONS_RUNNER_HOOK_JOB_STARTED", "/opt/dayfly/hooks/job-started.sh");
const COMPLETED: (&str, &str) = ("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", "/opt/dayfly/hooks/job-completed.sh");

/// The variables of these hooks.
pub(super) fn variables(hooks: &Hooks) -> impl Iterator<Item = (&'static str, &'static str)> {
    all(hooks).map(|(_, variable)| variable)
}

/// The mounts of these hooks.
pub(super) fn mounts(hooks: &Hooks) -> impl Iterator<Item = Mount> {
    all(hooks).map(|(source, (_, target))| Mount {
        source: source.clone(),
        target: target.to_owned(),
        read_only: true,
    })
}

fn all(hooks: &Hooks) -> impl Iterator<Item = (&String, (&'static str, &'static str))> {
    let all = [(&hooks.job_started, STARTED), (&hooks.job_completed, COMPLETED)];
    all.into_iter().filter_map(|(source, place)| Some((source.as_ref()?, place)))
}
