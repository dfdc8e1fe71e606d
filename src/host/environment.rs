//! The variables of a runner's container.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::{HostError, Launch, hooks, network_access::NetworkAccess};

/// The variable through which the runner gets its JIT config, without showing it to its job or in the process
/// list.
pub(super) const JIT: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG";

/// Makes the runner exit with 7 when GitHub refuses its version. Its wrapper script knows only `1`.
const DEPRECATED: &str = "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE";

/// Lets lines of a job's output begin where only the runner's own lines do (runner 2.335), so that a job could
/// write what the runner reports. Switched off whatever the image says.
pub const UNPREFIXED: &str = "ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING";

/// Whether Dayfly itself sets a variable of a runner.
pub fn is_of_dayfly(variable: &str) -> bool {
    [JIT, DEPRECATED, UNPREFIXED].contains(&variable)
}

/// The variables. The template's own are stronger than those of its file, and both than what is passed on from the
/// host; what was made for the runner is stronger than all.
pub(super) fn of(launch: &Launch<'_>, access: &NetworkAccess) -> Result<Vec<String>, HostError> {
    let mut all = without_jit(launch, access)?;
    all.push(format!("{JIT}={}", launch.jit.expose_secret()));
    Ok(all)
}

/// The same without the JIT config.
pub(super) fn without_jit(launch: &Launch<'_>, access: &NetworkAccess) -> Result<Vec<String>, HostError> {
    fn plain(env: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
        env.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
    let template = &launch.pool.template;
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    variables.extend(plain(&access.env));
    let hooks: Vec<_> = hooks::variables(&template.hooks).collect();
    variables.extend(hooks);
    variables.extend(launch.files.env.iter().map(|(name, value)| (name.as_str(), value.expose_secret())));
    variables.extend(plain(&template.env));
    variables.extend(plain(&launch.prepared.env));
    let mut all = Vec::new();
    for (name, value) in variables {
        // The engine would repeat the whole entry, value and all, in its error.
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(HostError::Refused(format!(
                "{name:?} is not a valid name for an environment variable"
            )));
        }
        if !is_of_dayfly(name) {
            all.push(format!("{name}={value}"));
        }
    }
    all.push(format!("{DEPRECATED}=1"));
    all.push(format!("{UNPREFIXED}=false"));
    Ok(all)
}
