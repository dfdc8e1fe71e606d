//! What the attachments mean for the runner's container.

use std::collections::BTreeMap;

use bollard::models::Mount as EngineMount;

/// What was made for a runner, as its container needs it.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Its network mode; that of the template when absent.
    pub(in crate::host) network: Option<String>,
    pub(in crate::host) mounts: Vec<EngineMount>,
    /// Variables of its environment.
    pub(in crate::host) env: BTreeMap<String, String>,
    /// Its name server, where it has none of its template.
    pub(in crate::host) dns: Option<String>,
    /// Groups that its user is in besides its own.
    pub(in crate::host) groups: Vec<String>,
    /// The command that starts it; that of the template when absent.
    pub(in crate::host) command: Option<Vec<String>>,
}
