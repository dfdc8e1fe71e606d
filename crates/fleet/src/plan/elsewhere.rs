//! Runners of this instance that run on none of its hosts: probably another installation has the same
//! instance id, such as a cloned machine, and each would take the other's runners for its own.

use std::time::Duration;

use super::{Fleet, Pass};
use crate::event::Event;

/// How long a runner must have been online without a container here: a list of a host may be late.
const CONFIRMATION: Duration = Duration::from_mins(1);

impl Fleet {
    /// Reports, once while it lasts, that there are such runners.
    pub(super) fn report_elsewhere(&mut self, pass: &mut Pass) {
        let mut elsewhere = Vec::new();
        for runner in self.runners.values() {
            if runner.runs_elsewhere()
                && self.no_host_has(runner)
                && pass.due(runner.known_since + CONFIRMATION)
            {
                elsewhere.push(runner.name.clone());
            }
        }
        let runners = u32::try_from(elsewhere.len()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.elsewhere, runners);
        if let (0, Some(example)) = (before, elsewhere.into_iter().next()) {
            self.events.push(Event::Elsewhere { runners, example });
        }
    }
}
