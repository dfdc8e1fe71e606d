//! Records a host's list: its containers, and what was made beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::Fleet;
use crate::{
    attachment::Attachment,
    event::Event,
    evidence::Container,
    name::{HostName, RunnerName},
    reasons::{ExitReason, Why},
    runner::{Contained, Life, TakeDown},
    template::Resources,
    time::Instant,
};

impl Fleet {
    /// Records a host's complete list.
    pub(super) fn containers(
        &mut self,
        host: &HostName,
        began: Instant,
        containers: Vec<Container>,
        attachments: Vec<Attachment>,
        now: Instant,
    ) {
        let Some(state) = self.hosts.get_mut(host) else { return };
        if !state.sight.listed(began) {
            return;
        }
        if state.sight.trouble.take().is_some() {
            self.events.push(Event::Host { host: host.clone(), trouble: None });
        }
        let mut shown = BTreeSet::new();
        for container in containers {
            if container.runner.instance() != self.names.instance().as_str() {
                continue;
            }
            let name = container.runner.clone();
            // A list that began before the container was removed proves nothing.
            if let Some(Contained::Gone { at }) = self.runners.get(&name).map(|runner| &runner.contained)
                && began <= *at
            {
                continue;
            }
            shown.insert(name.clone());
            let pool = self.pools.get(name.pool());
            let scope = pool.map(|pool| pool.pool.scope.clone());
            let needs_sidecars = pool.is_some_and(|pool| {
                pool.pool.template.sidecars().is_some() && pool.digest.as_ref() == Some(&container.template)
            });
            let runner = self.known(&name, now);
            if runner.scope.is_none() && container.scope.is_none() {
                runner.scope = scope;
            }
            let before = runner.contained.clone();
            // Removed but still listed: the engine is still removing it.
            let was_told = matches!(before, Contained::Gone { .. }) && runner.ending.is_some();
            runner.found(host, &container, began, now);
            match (&before, &runner.contained) {
                (_, Contained::Present { life: Life::Down(exit), .. }) => {
                    let exit = exit.clone();
                    // Restore what was known, so that the end is reported once.
                    let before = match before {
                        Contained::Present { life, .. } => Some(life).filter(Life::has_ended),
                        _ => None,
                    };
                    if let Contained::Present { life, .. } = &mut runner.contained
                        && !was_told
                    {
                        *life = before.unwrap_or(Life::Up);
                        self.exited(&name, exit, now);
                    }
                }
                // Something else started it again. Nothing is done about it until it exits.
                (Contained::Present { life, .. }, Contained::Present { life: Life::Up, .. })
                    if life.has_ended() =>
                {
                    self.latch(&name, None, now);
                }
                (Contained::Never, _) if runner.in_flight.is_none() && !runner.launched => {
                    // The same list shows its sidecars.
                    if needs_sidecars {
                        runner.attached.expect(Some(Resources::default()));
                    }
                    let pool = name.pool().to_owned();
                    self.events.push(Event::Adopted { pool, runner: name });
                }
                _ => {}
            }
        }
        let mut vanished = Vec::new();
        for runner in self.runners.values_mut() {
            // A launch may replace the container that it made first.
            let is_elsewhere = runner.host.as_ref() != Some(host) || runner.is_launching();
            if is_elsewhere || shown.contains(&runner.name) {
                continue;
            }
            if let Contained::Present { at, missed, life, .. } = &mut runner.contained
                && began > *at
            {
                if *missed {
                    match life {
                        Life::Down(_) => {}
                        Life::Ended { exit, reason, .. } => {
                            vanished.push((runner.name.clone(), Some((exit.clone(), *reason))));
                        }
                        Life::Created { .. } | Life::Up => vanished.push((runner.name.clone(), None)),
                    }
                    runner.contained = Contained::Gone { at: began };
                } else {
                    (*missed, *at) = (true, began);
                }
            }
        }
        for (name, exit) in vanished {
            let take_down = self.runners.get(&name).and_then(|runner| runner.take_down);
            let unseen = match take_down {
                // The response to its removal was lost.
                Some(TakeDown { why: Why::NodeLost, .. }) => ExitReason::NodeLost,
                _ => ExitReason::Vanished,
            };
            self.vanished(&name, exit, unseen, now);
        }
        self.attachments(host, began, attachments, now);
        self.forget();
    }

    /// Records a host's complete list of attachments.
    fn attachments(&mut self, host: &HostName, began: Instant, attachments: Vec<Attachment>, now: Instant) {
        let mut by_runner: BTreeMap<RunnerName, Vec<Attachment>> = BTreeMap::new();
        for attachment in attachments {
            if attachment.runner.instance() == self.names.instance().as_str() {
                by_runner.entry(attachment.runner.clone()).or_default().push(attachment);
            }
        }
        for name in by_runner.keys() {
            self.known(name, now).host.get_or_insert_with(|| host.clone());
        }
        for runner in self.runners.values_mut().filter(|runner| runner.host.as_ref() == Some(host)) {
            let attachments = by_runner.remove(&runner.name).unwrap_or_default();
            let is_launching = runner.is_launching();
            runner.attached.list(attachments, began, is_launching);
        }
    }
}
