//! What is made for a runner beside its container, step by step, and how it ends.

use dayfly_executor::HostError;
use dayfly_fleet::{Attachment, AttachmentKind, Resources, RunnerName, SidecarState};

use crate::{
    calls::Answer,
    faults::Fault,
    setting::MINUTE,
    world::{Happening, World, note},
};

/// A network or a sidecar on a host.
pub(crate) struct Attached {
    pub(crate) runner: RunnerName,
    pub(crate) host: usize,
    /// `None` for a network, and on a Swarm for a secret.
    pub(crate) sidecar: Option<Sidecar>,
    pub(crate) removed: bool,
}

/// A container that a runner needs.
#[derive(Clone, Copy)]
pub(crate) struct Sidecar {
    pub(crate) resources: Resources,
    pub(crate) state: SidecarState,
}

impl Attached {
    pub(crate) fn is_up(&self) -> bool {
        self.sidecar.is_some_and(|sidecar| sidecar.state == SidecarState::Up)
    }

    /// Our sidecar, while it runs.
    pub(crate) fn running(&self, world: &World) -> Option<Sidecar> {
        self.sidecar.filter(|_| self.is_up() && self.runner.instance() == world.setting.instance.as_str())
    }
}

impl World {
    /// Other people's networks and sidecars, made for runners with names as like ours as can be.
    pub(crate) fn settle_strangers_beside(&mut self) {
        let ulid = "01jd0000000000000000000000";
        for host in 0..self.present.len() {
            for name in [format!("dayfly-linux-ci1x-{ulid}"), format!("dayfly-gpu-ci-{ulid}")] {
                let Some(runner) = RunnerName::parse(&name) else { continue };
                self.attach(host, runner.clone(), None);
                let resources = Resources { memory: 1 << 30, cpu_millis: 1000 };
                self.attach(host, runner, Some(Sidecar { resources, state: SidecarState::Down }));
            }
        }
    }

    fn attach(&mut self, host: usize, runner: RunnerName, sidecar: Option<Sidecar>) {
        self.beside[host].push(self.attached.len());
        self.attached.push(Attached { runner, host, sidecar, removed: false });
    }

    pub(crate) fn list_attachments(&self, host: usize) -> Vec<Attachment> {
        let listed = |&index: &usize| {
            let attached = &self.attached[index];
            Attachment {
                runner: attached.runner.clone(),
                kind: match attached.sidecar {
                    None if self.setting.is_swarm(host) => AttachmentKind::Secret,
                    None => AttachmentKind::Network,
                    Some(Sidecar { resources, state }) => AttachmentKind::Sidecar { resources, state },
                },
                id: index.to_string(),
            }
        };
        self.beside[host].iter().map(listed).collect()
    }

    /// What a host has of a runner's, as indexes.
    pub(crate) fn beside<'a>(
        &'a self,
        host: usize,
        runner: &'a RunnerName,
    ) -> impl Iterator<Item = usize> + 'a {
        self.beside[host].iter().copied().filter(move |&index| &self.attached[index].runner == runner)
    }

    fn sidecar(&self, host: usize, runner: &RunnerName) -> Option<usize> {
        self.beside(host, runner).find(|&index| self.attached[index].sidecar.is_some())
    }

    pub(crate) fn make_network(&mut self, host: usize, runner: &RunnerName) -> Answer {
        if self.beside(host, runner).next().is_none() {
            self.attach(host, runner.clone(), None);
        }
        Answer::Done
    }

    pub(crate) fn create_sidecar(
        &mut self,
        host: usize,
        runner: &RunnerName,
        resources: Resources,
    ) -> Answer {
        if self.sidecar(host, runner).is_none() {
            let sidecar = Sidecar { resources, state: SidecarState::Created };
            self.attach(host, runner.clone(), Some(sidecar));
        }
        Answer::Done
    }

    pub(crate) fn start_sidecar(&mut self, host: usize, runner: &RunnerName) -> Answer {
        let Some(index) = self.sidecar(host, runner) else { return Fault::Failed.answer(false) };
        if let Some(sidecar) = &mut self.attached[index].sidecar
            && sidecar.state == SidecarState::Created
        {
            sidecar.state = SidecarState::Up;
            if self.fails(self.setting.faults.runners / 2) {
                let (delay, gone) = (self.random.within(0, 3 * MINUTE), self.random.chance(400));
                self.after(delay, Happening::SidecarEnds(index, gone));
            }
        }
        Answer::Done
    }

    /// Whether a runner's own engine answers.
    pub(crate) fn ask_sidecar(&mut self, host: usize, runner: &RunnerName) -> Answer {
        match self.sidecar(host, runner) {
            Some(index) if self.attached[index].is_up() => Answer::Done,
            _ => Answer::Engine(HostError::DindNotReady("it does not run".to_owned())),
        }
    }

    /// A sidecar dies, or somebody removes it.
    pub(crate) fn sidecar_ends(&mut self, index: usize, gone: bool) {
        let Attached { runner, host, sidecar: Some(sidecar), .. } = &mut self.attached[index] else { return };
        if self.calm || sidecar.state != SidecarState::Up {
            return;
        }
        sidecar.state = SidecarState::Down;
        let (runner, host) = (runner.clone(), *host);
        note!(self, "world: the sidecar of {runner} ends, gone: {gone}");
        if gone {
            self.detached(host, index);
        }
        self.lost_sidecars.insert(runner);
    }

    fn detached(&mut self, host: usize, index: usize) {
        self.attached[index].removed = true;
        if let Some(sidecar) = &mut self.attached[index].sidecar {
            sidecar.state = SidecarState::Down;
        }
        self.beside[host].retain(|&other| other != index);
    }

    /// Removes the sidecars or the networks of a runner.
    pub(crate) fn detach(&mut self, host: usize, runner: &RunnerName, sidecars: bool) -> Answer {
        self.check_detach(runner);
        let found: Vec<usize> = self
            .beside(host, runner)
            .filter(|&index| self.attached[index].sidecar.is_some() == sidecars)
            .collect();
        for index in found {
            self.detached(host, index);
        }
        Answer::Done
    }

    /// Rules 1 and 8, when a runner's attachments are to be removed and when they are.
    pub(crate) fn check_detach(&mut self, runner: &RunnerName) {
        if runner.instance() != self.setting.instance.as_str() {
            self.breach(8, &format!("what belongs to {runner} is somebody else's and is removed"));
        }
        if self.container_of(runner).is_some_and(crate::world::Container::is_up) {
            self.breach(1, &format!("{runner} runs, and what it needs is removed"));
        }
    }

    /// What runs for a runner beside its container on its host.
    pub(crate) fn sidecars_of(&self, host: usize, runner: &RunnerName) -> Resources {
        let mut sum = Resources::default();
        for index in self.beside(host, runner) {
            if let Some(sidecar) = self.attached[index].sidecar.filter(|s| s.state == SidecarState::Up) {
                sum.memory += sidecar.resources.memory;
                sum.cpu_millis += sidecar.resources.cpu_millis;
            }
        }
        sum
    }

    /// What is wrong with a host's attachments once all is in order, if anything is (rule 4).
    pub(crate) fn left_beside(&self) -> Option<String> {
        let instance = self.setting.instance.as_str();
        let ours = |&&index: &&usize| self.attached[index].runner.instance() == instance;
        self.beside.iter().flatten().filter(ours).find_map(|&index| {
            let runner = &self.attached[index].runner;
            let up = self.container_of(runner).is_some_and(crate::world::Container::is_up);
            (!up).then(|| format!("attachment {index} of {runner} is left"))
        })
    }
}
