//! What days were made of, in figures.

use crate::{
    cases::Cases,
    say,
    setting::{MINUTE, SECOND, Source},
};

/// What a day was made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) days: u64,
    pub(crate) simulated: u64,
    pub(crate) passes: u64,
    pub(crate) actions: u64,
    pub(crate) launches: u64,
    /// On days on which only news go wrong, by source: runners that were launched, and jobs of the pools.
    pub(crate) launched_by: [u64; Source::COUNT],
    pub(crate) jobs_by: [u64; Source::COUNT],
    /// Of those runners, the ones that were too many.
    pub(crate) surplus_by: [u64; Source::COUNT],
    pub(crate) lifetimes: u64,
    pub(crate) served: u64,
    pub(crate) lost: u64,
    pub(crate) kills: u64,
    pub(crate) longest_settling: u64,
    pub(crate) longest_wait_apart: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, day: &Self) {
        self.days += day.days;
        self.simulated += day.simulated;
        self.passes += day.passes;
        self.actions += day.actions;
        self.launches += day.launches;
        self.lifetimes += day.lifetimes;
        self.served += day.served;
        self.lost += day.lost;
        self.kills += day.kills;
        self.longest_settling = self.longest_settling.max(day.longest_settling);
        for source in 0..Source::COUNT {
            self.launched_by[source] += day.launched_by[source];
            self.jobs_by[source] += day.jobs_by[source];
            self.surplus_by[source] += day.surplus_by[source];
        }
        self.longest_wait_apart = self.longest_wait_apart.max(day.longest_wait_apart);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn show(&self, seconds: f64, cases: &Cases) {
        let hours = self.simulated as f64 / (60 * MINUTE) as f64;
        let speed = self.lifetimes as f64 / seconds;
        say(&format!(
            "simulated {} days of {hours:.0} hours in all: {} passes, {} actions, {} launches, {} kills of the daemon\n\
             {} jobs served, {} lost with containers that the world killed; {} lifetimes\n\
             where only news went wrong {:?} launches for {:?} jobs, {:?} too many, by source\n\
             settled {} s after the last fault at the latest; where nothing failed a job waited {} s at most\n\
             {seconds:.1} seconds, {speed:.0} lifetimes per second; {} of {} cases met",
            self.days,
            self.passes,
            self.actions,
            self.launches,
            self.kills,
            self.served,
            self.lost,
            self.lifetimes,
            self.launched_by,
            self.jobs_by,
            self.surplus_by,
            self.longest_settling / SECOND,
            self.longest_wait_apart / SECOND,
            cases.met(),
            Cases::all(),
        ));
    }
}
