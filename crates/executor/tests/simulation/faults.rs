//! How calls fail, and whether what was asked is done all the same.

use std::time::Duration;

use dayfly_executor::{GithubError, HostError};

use crate::{
    calls::{Answer, Ask},
    setting::SECOND,
    world::World,
};

/// The deadline of a call.
const DEADLINE: u64 = 15 * SECOND;

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

impl World {
    /// The fault, whether it is done all the same, and how long the call takes.
    pub(crate) fn draw_github_fault(
        &mut self,
        scope: usize,
        ask: &Ask,
        latency: u64,
    ) -> (Option<Fault>, bool, u64) {
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

    pub(crate) fn draw_engine_fault(
        &mut self,
        host: usize,
        ask: &Ask,
        latency: u64,
    ) -> (Option<Fault>, bool, u64) {
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
