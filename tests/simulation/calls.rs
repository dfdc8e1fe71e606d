//! The two edges, as calls that stay pending until the world's clock answers them. A request is carried out
//! at a random moment within the call, if at all; its response may be lost.

use std::{future::poll_fn, task::Poll, time::Duration};

use dayfly::{
    fleet::{
        ContainerId, Devices, Exit, Occupation, Registration, RegistrationId, Resources, RunnerName, Why,
    },
    github::{GithubError, Listing, Mint, MintedRunner, RunnerApi},
    host::{HostError, Listed},
};
use secrecy::SecretString;

use crate::{
    rules::Sight,
    setting::SECOND,
    world::{Asking, Happening, Shared, World, note},
};

/// The deadline of a call.
const DEADLINE: u64 = 15 * SECOND;

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

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Failed,
    Unreachable,
    Limited(u64),
    Refused,
    NameTaken,
    NoJitConfig,
    GroupFull,
    ImageMissing,
    EngineRefused,
    DindNotReady,
    EgressNotReady,
    NetworksExhausted,
    OutOfFiles,
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
            | Self::Remove(host, _) => host,
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

    /// The fault, whether it is done all the same, and how long the call takes.
    fn draw_github_fault(&mut self, scope: usize, ask: &Ask, latency: u64) -> (Option<Fault>, bool, u64) {
        let hang = DEADLINE.max(latency);
        if self.under.scope_down[scope] > 0 {
            return match self.random.index(3) {
                0 => (Some(Fault::Unreachable), false, latency),
                1 => (Some(Fault::Failed), false, latency),
                _ => (Some(Fault::Failed), false, hang),
            };
        }
        let until = self.under.limited_until[scope];
        if self.now < until {
            return (Some(Fault::Limited(until - self.now)), false, latency);
        }
        if self.under.scope_limited[scope] > 0 {
            let until = self.now + self.random.within(20 * SECOND, 90 * SECOND);
            self.under.limited_until[scope] = until;
            return (Some(Fault::Limited(until - self.now)), false, latency);
        }
        let mints = matches!(ask, Ask::Mint { .. });
        if self.under.scope_refuses[scope] > 0 {
            return (Some(Fault::Refused), false, latency);
        }
        if mints && self.under.group_full[scope] > 0 {
            return (Some(Fault::GroupFull), false, latency);
        }
        if !self.fails(self.setting.faults.github) {
            return (None, true, latency);
        }
        match self.random.index(8) {
            0 => (Some(Fault::Unreachable), false, latency),
            2 | 3 => (Some(Fault::Failed), true, latency),
            4 => (Some(Fault::Failed), self.random.chance(500), hang),
            // The request was sent twice on the way, and the second answer came back.
            5 if mints => (Some(self.random.of(&[Fault::NameTaken, Fault::NoJitConfig])), true, latency),
            6 => {
                let until = self.now + self.random.within(5 * SECOND, 60 * SECOND);
                self.under.limited_until[scope] = until;
                (Some(Fault::Limited(until - self.now)), false, latency)
            }
            _ => (Some(Fault::Failed), false, latency),
        }
    }

    fn draw_engine_fault(&mut self, host: usize, ask: &Ask, latency: u64) -> (Option<Fault>, bool, u64) {
        let hang = DEADLINE.max(latency);
        if self.under.host_down[host] > 0 {
            return (Some(Fault::Failed), false, if self.random.chance(300) { hang } else { latency });
        }
        if matches!(ask, Ask::Create { .. } | Ask::CreateSidecar { .. }) && self.under.image_missing[host] > 0
        {
            return (Some(Fault::ImageMissing), false, latency);
        }
        // How making something fails, other than as anything may.
        let refusals: &[Fault] = match ask {
            Ask::Create { .. } | Ask::CreateSidecar { .. } => &[Fault::EngineRefused],
            Ask::MakeNetwork { .. } => &[Fault::EngineRefused, Fault::NetworksExhausted],
            Ask::Sidecar { .. } => &[Fault::DindNotReady, Fault::EgressNotReady],
            _ => &[],
        };
        let creates = !refusals.is_empty();
        if creates && self.under.engine_refuses[host] > 0 {
            return (Some(self.random.of(refusals)), false, latency);
        }
        if !self.fails(self.setting.faults.engine) {
            return (None, true, latency);
        }
        match self.random.index(6) {
            0 => (Some(Fault::Failed), false, latency),
            1 | 2 => (Some(Fault::Failed), true, latency),
            3 => (Some(Fault::Failed), self.random.chance(500), hang),
            4 if creates => (Some(self.random.of(refusals)), false, latency),
            5 if self.random.chance(100) => (Some(Fault::OutOfFiles), false, latency),
            _ => (Some(Fault::Failed), true, hang),
        }
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
                Some(Answer::Containers(Listed { containers: self.list_containers(*host), attachments }))
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
                let delay = self.stop(container, *grace, call.why);
                if call.fault.is_none() {
                    self.after(delay + 20, Happening::Reply(id));
                }
                Some(Answer::Done)
            }
            Ask::Exit(_, container) => Some(self.exit(container)),
            Ask::Remove(_, container) => Some(self.remove(container)),
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

impl Fault {
    pub(crate) fn answer(self, github: bool) -> Answer {
        let detail = "it was made to fail".to_owned();
        match self {
            Self::Failed | Self::NoJitConfig if github => {
                Answer::Github(GithubError::Failed { detail, source: None })
            }
            Self::Failed | Self::NoJitConfig => Answer::Engine(HostError::Failed { detail, source: None }),
            Self::Unreachable => Answer::Github(GithubError::Unreachable("connection refused".into())),
            Self::Limited(wait) => {
                Answer::Github(GithubError::RateLimited { wait: Duration::from_millis(wait) })
            }
            Self::Refused => Answer::Github(GithubError::Refused(detail)),
            Self::NameTaken => Answer::Github(GithubError::NameTaken),
            Self::GroupFull => Answer::Github(GithubError::RegistrationLimit(detail)),
            Self::ImageMissing => Answer::Engine(HostError::ImageMissing(detail)),
            Self::EngineRefused => Answer::Engine(HostError::Refused(detail)),
            Self::DindNotReady => Answer::Engine(HostError::DindNotReady(detail)),
            Self::EgressNotReady => Answer::Engine(HostError::EgressNotReady(detail)),
            Self::NetworksExhausted => Answer::Engine(HostError::NetworksExhausted(detail)),
            Self::OutOfFiles => {
                let source = Some(std::io::Error::from_raw_os_error(24).into());
                Answer::Engine(HostError::Failed { detail, source })
            }
        }
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
