//! Evidence and actions in one line each, for the trace.

use dayfly_fleet::{Action, Evidence, RunnerName};

pub(super) fn brief(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Registrations { scope, began, registrations, .. } => {
            let ours = registrations.iter().filter(|r| RunnerName::parse(&r.name).is_some()).map(|r| {
                let busy = if r.busy { " busy" } else { "" };
                format!("{}:{}{} {:?}{busy}", r.id, "…", &r.name[r.name.len() - 4..], r.status)
            });
            format!(
                "list of {scope} begun {}: {}",
                began.as_millis() % 100_000_000,
                ours.collect::<Vec<_>>().join(", ")
            )
        }
        Evidence::Containers { host, began, containers, .. } => {
            let all = containers.iter().map(|c| {
                let (state, name) = (format!("{:?}", c.state), c.runner.as_str());
                format!("{} …{} {:.7}", c.id, &name[name.len() - 4..], state)
            });
            format!(
                "list of {host} begun {}: {}",
                began.as_millis() % 100_000_000,
                all.collect::<Vec<_>>().join(", ")
            )
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn brief_action(action: &Action) -> String {
    match action {
        Action::Launch { runner, why, .. } => format!("launch {runner} for {}", why.as_str()),
        Action::Deregister { runner, registration, ask, why, .. } => {
            format!("deregister {runner} ({registration}) for {}, asking {}", why.as_str(), ask.is_some())
        }
        Action::Stop { runner, why, ask, .. } => format!("stop {runner} for {}, asking {ask}", why.as_str()),
        Action::Remove { runner, why, .. } => format!("remove {runner} for {}", why.as_str()),
        Action::DrainNode { host, node } => format!("drain node {} of {host}", node.0),
    }
}
