//! What GitHub and the engines do when they are asked.

use dayfly_fleet::{
    Container as Found, ContainerId, ContainerState, Devices, DockerMode, Occupation, RegistrationId,
    RunnerName, RunnerStatus, Why,
};

use crate::{
    calls::Answer,
    faults::Fault,
    lives::Nature,
    setting::SECOND,
    world::{Container, Happening, Registration, State, World, note},
};

impl World {
    /// A list as GitHub shows it now: it lags, and sometimes it lacks a runner.
    pub(crate) fn list_registrations(&mut self, scope: usize) -> Vec<dayfly_fleet::Registration> {
        let (now, mut lists) = (self.now, std::mem::take(&mut self.listed[scope]));
        lists.retain(|&r| {
            let r = &self.registrations[r];
            r.gone_at.is_none() || now < r.shown_until
        });
        let mut shown: Vec<_> = lists
            .iter()
            .map(|&index| (index, &self.registrations[index]))
            .filter(|(_, r)| r.shown_from <= now)
            .map(|(index, r)| dayfly_fleet::Registration {
                id: RegistrationId(index as u64),
                name: r.name.clone(),
                status: if r.online { RunnerStatus::Online } else { RunnerStatus::Offline },
                busy: r.busy,
            })
            .collect();
        self.listed[scope] = lists;
        if !shown.is_empty() && self.fails(self.setting.faults.short_lists) {
            if self.random.chance(200) {
                note!(self, "world: an empty list");
                shown.clear();
            } else {
                let missing = self.random.index(shown.len());
                note!(self, "world: a list without {}", shown[missing].name);
                shown.remove(missing);
            }
        }
        if self.random.chance(20)
            && let Some(odd) = shown.last_mut()
            && odd.status == RunnerStatus::Offline
        {
            odd.status = RunnerStatus::Other("hibernating".to_owned());
        }
        shown
    }

    pub(crate) fn mint(&mut self, scope: usize, runner: &RunnerName) -> Answer {
        let taken = self.listed[scope].iter().any(|&r| {
            let r = &self.registrations[r];
            r.gone_at.is_none() && r.name == runner.as_str()
        });
        if taken {
            return Answer::Github(dayfly_executor::GithubError::NameTaken);
        }
        let lag = match self.random.index(20) {
            0 => self.random.within(0, 20 * SECOND),
            1..=5 => self.random.within(0, 3 * SECOND),
            _ => 0,
        };
        let pool = self.setting.pools.iter().position(|p| p.pool.name.as_str() == runner.pool());
        let id = self.registrations.len();
        self.registrations.push(Registration {
            name: runner.as_str().to_owned(),
            pool,
            scope,
            shown_from: self.now + lag,
            gone_at: None,
            shown_until: 0,
            online: false,
            deaf: false,
            busy: false,
            container: None,
        });
        self.listed[scope].push(id);
        self.runners.insert(runner.clone(), None);
        Answer::Minted(RegistrationId(id as u64))
    }

    /// 204 also when a job was given just now, or when `busy` reads false in the middle of one.
    pub(crate) fn delete(&mut self, scope: usize, id: RegistrationId) -> Answer {
        use dayfly_executor::GithubError;
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        let Some(r) = self.registrations.get(index) else { return Answer::Github(GithubError::NotFound) };
        if r.gone_at.is_some() || r.scope != scope {
            return Answer::Github(GithubError::NotFound);
        }
        let assigned = r.container.is_some_and(|c| self.containers[c].job.is_some());
        if r.busy || (assigned && self.random.chance(300)) {
            return Answer::Github(GithubError::Busy);
        }
        note!(self, "world: {} is deregistered", self.registrations[index].name);
        self.deregisters(index);
        Answer::Done
    }

    pub(crate) fn list_containers(&self, host: usize) -> Vec<Found> {
        let found = |&index: &usize| {
            let c = &self.containers[index];
            Found {
                id: c.id.clone(),
                runner: c.runner.clone(),
                registration: Some(RegistrationId(c.registration as u64)),
                scope: Some(self.setting.scopes[self.registrations[c.registration].scope].clone()),
                template: c.template.clone(),
                image: None,
                resources: c.resources,
                devices: c.devices.clone(),
                state: match &c.state {
                    State::Created if c.task.is_none() => ContainerState::Created,
                    State::Down(exit) if self.shows_end(index) => ContainerState::Down(exit.clone()),
                    _ => ContainerState::Up,
                },
            }
        };
        self.present[host].iter().map(found).collect()
    }

    pub(crate) fn create(
        &mut self,
        host: usize,
        runner: &RunnerName,
        registration: RegistrationId,
        devices: &Devices,
        belated: bool,
    ) -> Answer {
        let registration = usize::try_from(registration.0).expect("ours");
        let Some(pool) = self.registrations[registration].pool else {
            self.breach(8, "a container for somebody else's registration");
            return Answer::Engine(dayfly_executor::HostError::Refused("not ours".to_owned()));
        };
        if self.registrations[registration].name != runner.as_str() {
            self.breach(4, "a container with another runner's registration");
        }
        self.check_devices(host, runner, devices, belated);
        let index = self.containers.len();
        let id = ContainerId(format!("{index:x}").into());
        let template = &self.setting.pools[pool].pool.template;
        self.containers.push(Container {
            id: id.clone(),
            host,
            pool,
            runner: runner.clone(),
            registration,
            template: template.digest(),
            resources: template.resources,
            devices: devices.clone(),
            belated,
            state: State::Created,
            removed: false,
            nature: Nature::Good,
            connected_at: None,
            job: None,
            assigned_at: None,
            job_at: None,
            job_done: false,
            stop_sent: false,
            said_idle: None,
            out_of_memory: false,
            task: None,
        });
        self.present[host].push(index);
        self.runners.insert(runner.clone(), Some(index));
        self.registrations[registration].container = Some(index);
        if self.setting.is_swarm(host) {
            self.is_a_task(index);
        }
        Answer::Created(id)
    }

    /// The container with this id, if it is there.
    pub(crate) fn container(&self, id: &ContainerId) -> Option<usize> {
        let index = usize::from_str_radix(&id.0, 16).ok()?;
        self.containers.get(index).filter(|c| !c.removed).map(|_| index)
    }

    pub(crate) fn start(&mut self, id: &ContainerId) -> Answer {
        let Some(index) = self.container(id) else {
            return Answer::Engine(dayfly_executor::HostError::Failed {
                detail: "no such container".to_owned(),
                source: None,
            });
        };
        if self.containers[index].state == State::Created
            && !self.setting.is_swarm(self.containers[index].host)
        {
            let c = &self.containers[index];
            let needs = matches!(self.setting.pools[c.pool].pool.template.docker, DockerMode::Dind(_));
            if needs && self.lost_sidecars.contains(&c.runner) {
                // It is to join the sidecar's network.
                return Fault::EngineRefused.answer(false);
            }
            self.starts(index);
        }
        Answer::Done
    }

    /// What the log and the processes show: a job that is on its way shows nowhere yet.
    pub(crate) fn occupation(&mut self, id: &ContainerId, serial: u64) -> Answer {
        let Some(index) = self.container(id) else { return Answer::Occupation(Occupation::Down) };
        if self.is_cut_off(index) {
            return Fault::Failed.answer(false);
        }
        let now = self.now;
        let c = &mut self.containers[index];
        Answer::Occupation(if !c.takes_room() {
            Occupation::Down
        } else if c.job_at.is_some() {
            Occupation::Busy(Some("build".to_owned()))
        } else {
            c.said_idle = Some((serial, now));
            Occupation::Idle
        })
    }

    /// Sends the signal; returns how long it takes until the container has ended.
    pub(crate) fn stop(&mut self, id: &ContainerId, grace: u64, why: Option<Why>) -> u64 {
        let Some(index) = self.container(id) else { return 0 };
        if self.containers[index].task.is_some() && self.containers[index].state == State::Created {
            self.containers[index].state = State::Up(self.now);
            self.exits(index, 143, false);
        }
        if !self.containers[index].is_up() {
            return 0;
        }
        self.check_stopping(index, why);
        self.containers[index].stop_sent = true;
        let (delay, code) = match self.containers[index].nature {
            Nature::HangsOnStop | Nature::NeverBoots | Nature::NeverExits => (grace, 137),
            _ => (self.random.within(100, 3 * SECOND), 143),
        };
        note!(self, "world: {} is told to stop", self.containers[index].runner);
        self.after(delay, Happening::Exit(index, code, false));
        delay
    }

    pub(crate) fn exit(&mut self, id: &ContainerId) -> Answer {
        Answer::Exit(self.container(id).and_then(|index| match &self.containers[index].state {
            State::Down(exit) if self.shows_end(index) => Some(exit.clone()),
            _ => None,
        }))
    }

    pub(crate) fn remove(&mut self, id: &ContainerId, why: Option<Why>) -> Answer {
        let Some(index) = self.container(id) else { return Answer::Done };
        if self.containers[index].task.is_some() {
            return self.remove_service(index, why);
        }
        if self.containers[index].is_up() {
            return Fault::EngineRefused.answer(false);
        }
        self.removed(index);
        Answer::Done
    }

    /// A container is not there any more.
    pub(crate) fn removed(&mut self, index: usize) {
        self.containers[index].removed = true;
        self.present[self.containers[index].host].retain(|&other| other != index);
    }
}
