//! The two edges, as calls that stay pending until the world's clock answers them. A request is carried out
//! at a random moment within the call, if at all; its response may be lost.

use std::{future::poll_fn, task::Poll};

use dayfly_executor::{GithubError, HostError, Listed, Listing, Mint, MintedRunner, RunnerApi};
use dayfly_fleet::{
    ContainerId, Devices, Exit, NodeId, Occupation, Registration, RegistrationId, Resources, RunnerName, Why,
};
use secrecy::SecretString;

use crate::{
    faults::Fault,
    rules::Sight,
    setting::SECOND,
    world::{Asking, Happening, Shared, World, note},
};

/// What is asked, by index of scope, host, container.
#[derive(Debug)]
pub(crate) enum Ask {
    List(usize),
    Mint {
        scope: usize,
        runner: RunnerName,
    },
    Delete {
        scope: usize,
        id: RegistrationId,
    },
    Containers(usize),
    MakeNetwork {
        host: usize,
        runner: RunnerName,
    },
    CreateSidecar {
        host: usize,
        runner: RunnerName,
        resources: Resources,
    },
    StartSidecar {
        host: usize,
        runner: RunnerName,
    },
    /// Whether it answers.
    Sidecar {
        host: usize,
        runner: RunnerName,
    },
    Create {
        host: usize,
        runner: RunnerName,
        registration: RegistrationId,
        devices: Devices,
    },
    Start(usize, ContainerId),
    Occupation(usize, ContainerId),
    Stop {
        host: usize,
        id: ContainerId,
        grace: u64,
    },
    Exit(usize, ContainerId),
    Remove(usize, ContainerId),
    DrainNode(usize, NodeId),
    /// A runner's sidecars, or its networks.
    Detach {
        host: usize,
        runner: RunnerName,
        sidecars: bool,
    },
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Registrations(Vec<Registration>),
    Minted(RegistrationId),
    Containers(Listed),
    Created(ContainerId),
    Done,
    Occupation(Occupation),
    Exit(Option<Exit>),
    Github(GithubError),
    Engine(HostError),
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ask: Ask,
    fault: Option<Fault>,
    task: usize,
    /// The asking task, unlike any other.
    pub(crate) serial: u64,
    why: Option<Why>,
    /// No task waits for the answer any more.
    abandoned: bool,
    answer: Option<Answer>,
    answered: bool,
}

impl Ask {
    fn scope(&self) -> Option<usize> {
        match *self {
            Self::List(scope) | Self::Mint { scope, .. } | Self::Delete { scope, .. } => Some(scope),
            _ => None,
        }
    }

    fn host(&self) -> usize {
        match *self {
            Self::Containers(host)
            | Self::MakeNetwork { host, .. }
            | Self::CreateSidecar { host, .. }
            | Self::StartSidecar { host, .. }
            | Self::Sidecar { host, .. }
            | Self::Create { host, .. }
            | Self::Detach { host, .. }
            | Self::Start(host, _)
            | Self::Occupation(host, _)
            | Self::Stop { host, .. }
            | Self::Exit(host, _)
            | Self::Remove(host, _)
            | Self::DrainNode(host, _) => host,
            Self::List(_) | Self::Mint { .. } | Self::Delete { .. } => 0,
        }
    }
}

impl World {
    fn latency(&mut self) -> u64 {
        match self.random.index(40) {
            0 => self.random.within(2 * SECOND, 9 * SECOND),
            1..=4 => self.random.within(300, 2 * SECOND),
            _ => self.random.within(10, 300),
        }
    }

    /// A call begins.
    fn ask(&mut self, ask: Ask) -> u64 {
        self.check_ask(&ask);
        let id = self.next_call;
        self.next_call += 1;
        let latency = self.latency();
        let (fault, done, latency) = match ask.scope() {
            Some(scope) => self.draw_github_fault(scope, &ask, latency),
            None => self.draw_engine_fault(ask.host(), &ask, latency),
        };
        note!(self, "  call {id}: {ask:?} {fault:?}{}", if done { "" } else { ", not done" });
        if done {
            let deed = self.random.within(0, latency);
            self.after(deed, Happening::Deed(id));
        }
        // A stop is answered when the container has ended.
        if fault.is_some() || !matches!(ask, Ask::Stop { .. }) {
            self.after(latency, Happening::Reply(id));
        }
        let Asking { task, serial, why } = self.asking;
        let call = Call { ask, fault, task, serial, why, abandoned: false, answer: None, answered: false };
        self.calls.insert(id, call);
        id
    }

    /// What was asked is done.
    pub(crate) fn deed(&mut self, id: u64) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        let answer = match &call.ask {
            Ask::List(scope) => Some(Answer::Registrations(self.list_registrations(*scope))),
            Ask::Mint { scope, runner } => Some(self.mint(*scope, runner)),
            Ask::Delete { scope, id } => Some(self.delete(*scope, *id)),
            Ask::Containers(host) => {
                let attachments = self.list_attachments(*host);
                let (containers, cluster) = (self.list_containers(*host), self.show_cluster(*host));
                Some(Answer::Containers(Listed { containers, attachments, cluster }))
            }
            Ask::MakeNetwork { host, runner } => Some(self.make_network(*host, runner)),
            Ask::CreateSidecar { host, runner, resources } => {
                Some(self.create_sidecar(*host, runner, *resources))
            }
            Ask::StartSidecar { host, runner } => Some(self.start_sidecar(*host, runner)),
            Ask::Sidecar { host, runner } => Some(self.ask_sidecar(*host, runner)),
            Ask::Detach { host, runner, sidecars } => Some(self.detach(*host, runner, *sidecars)),
            Ask::Create { host, runner, registration, devices } => {
                Some(self.create(*host, runner, *registration, devices, call.abandoned))
            }
            Ask::Start(_, container) => Some(self.start(container)),
            Ask::Occupation(_, container) => Some(self.occupation(container, call.serial)),
            Ask::Stop { id: container, grace, .. } => {
                let is_cut_off = self.container(container).is_some_and(|index| self.is_cut_off(index));
                let delay = if is_cut_off { 15 * SECOND } else { self.stop(container, *grace, call.why) };
                if call.fault.is_none() {
                    self.after(delay + 20, Happening::Reply(id));
                }
                Some(if is_cut_off { Fault::Failed.answer(false) } else { Answer::Done })
            }
            Ask::Exit(_, container) => Some(self.exit(container)),
            Ask::Remove(_, container) => Some(self.remove(container, call.why)),
            Ask::DrainNode(host, node) => Some(self.drain_node(*host, node)),
        };
        call.answer = answer;
        self.calls.insert(id, call);
    }

    /// The answer is there: the task to wake, if it still waits.
    pub(crate) fn reply(&mut self, id: u64) -> Option<usize> {
        let call = self.calls.get_mut(&id)?;
        if call.abandoned {
            self.calls.remove(&id);
            return None;
        }
        call.answered = true;
        if let Some(fault) = call.fault {
            let github = call.ask.scope().is_some();
            call.answer = Some(match (fault, call.answer.take()) {
                (Fault::NoJitConfig, Some(Answer::Minted(id))) => {
                    Answer::Github(GithubError::NoJitConfig { id })
                }
                _ => fault.answer(github),
            });
        }
        let sight = if call.fault.is_some() { Sight::Trouble } else { Sight::Clear };
        match call.ask {
            Ask::List(scope) => self.scope_sight[scope] = sight,
            Ask::Containers(host) => self.host_sight[host] = sight,
            _ => {}
        }
        Some(call.task)
    }

    fn answer(&mut self, id: u64) -> Poll<Answer> {
        if !self.calls.get(&id).is_some_and(|call| call.answered) {
            return Poll::Pending;
        }
        let answer = self.calls.remove(&id).and_then(|call| call.answer);
        Poll::Ready(answer.unwrap_or_else(|| Fault::Failed.answer(true)))
    }

    /// The daemon was killed: no one waits any more, and what was not done yet may never be.
    pub(crate) fn abandon_calls(&mut self) {
        let mut calls = std::mem::take(&mut self.calls);
        calls.retain(|_, call| {
            call.abandoned = true;
            self.random.chance(500)
        });
        self.calls = calls;
    }
}

/// A scope's API, in the world.
pub(crate) struct Api {
    pub(crate) world: Shared,
    pub(crate) scope: usize,
}

pub(crate) async fn call(world: &Shared, ask: Ask) -> Answer {
    let id = world.try_lock().expect("the world is free").ask(ask);
    poll_fn(|_| world.try_lock().expect("the world is free").answer(id)).await
}

fn github<T>(answer: Answer, wanted: impl FnOnce(Answer) -> Option<T>) -> Result<T, GithubError> {
    match answer {
        Answer::Github(error) => Err(error),
        answer => Ok(wanted(answer).expect("an answer to what was asked")),
    }
}

impl RunnerApi for Api {
    async fn list(&self) -> Result<Listing, GithubError> {
        github(call(&self.world, Ask::List(self.scope)).await, |answer| match answer {
            Answer::Registrations(registrations) => Some(Listing { registrations, unreadable: Vec::new() }),
            _ => None,
        })
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        let ask = Ask::Mint { scope: self.scope, runner: mint.name.clone() };
        github(call(&self.world, ask).await, |answer| match answer {
            Answer::Minted(id) => Some(MintedRunner { id, jit: SecretString::default() }),
            _ => None,
        })
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        github(call(&self.world, Ask::Delete { scope: self.scope, id }).await, done)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "one of the shapes of `wanted`")]
fn done(answer: Answer) -> Option<()> {
    matches!(answer, Answer::Done).then_some(())
}
