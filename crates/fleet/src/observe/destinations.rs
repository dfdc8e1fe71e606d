//! Records what jobs connect to.

use std::sync::Arc;

use super::Fleet;
use crate::{destination::Destination, event::Event, name::RunnerName};

impl Fleet {
    /// Records the requests that a runner's proxy has had to a destination.
    pub(super) fn requested(&mut self, name: &RunnerName, destination: Destination, requests: u64) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        if Arc::make_mut(&mut runner.destinations).record(&destination, requests) {
            let latch = runner.latch.as_ref();
            self.events.push(Event::Destination {
                pool: name.pool().to_owned(),
                runner: name.clone(),
                destination,
                job: latch.and_then(|latch| latch.job.clone()),
                facts: latch.and_then(|latch| latch.facts.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Container, ContainerId, ContainerState, Devices, EgressVerdict, Evidence, Host, Instant, Names,
        Resources, TemplateDigest, Timestamp,
    };

    #[test]
    fn a_destination_is_an_event_once_and_stays_in_the_status() {
        let now = Instant::from_millis(1_800_000_000_000);
        let host = Host {
            name: "local".parse().unwrap(),
            max_runners: None,
            budget: Resources::default(),
            devices: [].into(),
            nodes: None,
        };
        let mut fleet = Fleet::new("ci1".parse().unwrap(), 1, Vec::new(), vec![host.clone()]);
        let runner =
            Names::new("ci1".parse().unwrap(), 1).next(&"linux".parse().unwrap(), Timestamp::from_millis(0));
        let requested = |requests| Evidence::Destination {
            runner: runner.clone(),
            destination: Destination { host: "a.example".into(), port: 443, verdict: EgressVerdict::Refused },
            requests,
        };
        fleet.observe(requested(1), now);
        assert_eq!(fleet.status().runners.len(), 0, "of a runner that is not known");
        let container = Container {
            id: ContainerId("c1".into()),
            runner: runner.clone(),
            registration: None,
            scope: None,
            template: TemplateDigest(String::new()),
            image: None,
            resources: Resources::default(),
            devices: Devices::default(),
            state: ContainerState::Up,
        };
        let (containers, attachments) = (vec![container], Vec::new());
        fleet.observe(Evidence::Containers { host: host.name, began: now, containers, attachments }, now);
        let is_one = |event: &&Event| matches!(event, Event::Destination { .. });
        for (requests, events) in [(1, 1), (2, 0), (1, 0)] {
            fleet.observe(requested(requests), now);
            assert_eq!(fleet.plan(now).events.iter().filter(is_one).count(), events, "{requests}");
        }
        let status = fleet.status();
        let shown: Vec<_> = status.runners[0].destinations.iter().map(|(_, requests)| requests).collect();
        assert_eq!(shown, [2]);
    }
}
