//! Misbehaviours of the runner, from the environment variable `DAYFLY_SIMULATED` of its container: one
//! name, or several with commas.

use std::env;

/// What a runner does wrong.
#[derive(Clone, Copy)]
pub(super) enum Oddity {
    /// `never_boots`: starts, prints nothing, and never connects.
    NeverBoots,
    /// `never_listens`: reaches GitHub and never listens for jobs.
    NeverListens,
    /// `exits_at_once`: ends with code 0 before it connects.
    ExitsAtOnce,
    /// `deprecated`: listens, and gets the error that its version is deprecated.
    Deprecated,
    /// `ghost`: fails to take its job, which uses its registration up, and listens indefinitely.
    Ghost,
    /// `hangs_on_stop`: does not react to SIGTERM and SIGINT.
    HangsOnStop,
    /// `crashes_when_idle`: aborts as soon as it listens.
    CrashesWhenIdle,
    /// `silent`: prints nothing; only its processes show what it does.
    Silent,
    /// `noisy`: prints what is not UTF-8, and a line of a megabyte, before anything else.
    Noisy,
}

/// Some of them.
#[derive(Clone, Copy)]
pub(super) struct Oddities(u16);

impl Oddities {
    /// Those that the environment names; unknown names are left out.
    pub(super) fn from_environment() -> Self {
        let named = env::var("DAYFLY_SIMULATED").unwrap_or_default();
        let oddity = |name: &str| match name.trim() {
            "never_boots" => Some(Oddity::NeverBoots),
            "never_listens" => Some(Oddity::NeverListens),
            "exits_at_once" => Some(Oddity::ExitsAtOnce),
            "deprecated" => Some(Oddity::Deprecated),
            "ghost" => Some(Oddity::Ghost),
            "hangs_on_stop" => Some(Oddity::HangsOnStop),
            "crashes_when_idle" => Some(Oddity::CrashesWhenIdle),
            "silent" => Some(Oddity::Silent),
            "noisy" => Some(Oddity::Noisy),
            _ => None,
        };
        Self(named.split(',').filter_map(oddity).fold(0, |all, oddity| all | 1 << oddity as u16))
    }

    pub(super) fn has(self, oddity: Oddity) -> bool {
        self.0 & (1 << oddity as u16) != 0
    }
}
