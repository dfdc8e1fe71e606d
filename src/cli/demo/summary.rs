//! The result of a demo, as text and as JSON.

use std::{io::Write, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::simulator::Waits;

/// The result of a demo.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) jobs: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) lost: usize,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
    pub(super) queue_wait_seconds: Option<Percentiles>,
    pub(super) startup_seconds: Option<Percentiles>,
    pub(super) launched: usize,
    /// The `kill -9` of the daemon.
    pub(super) killed: Option<Killed>,
    pub(super) registrations_left: usize,
    pub(super) containers_left: usize,
    /// Containers of killed demos that were removed before this one.
    pub(super) remains_removed: usize,
    /// The daemon's log, if something went wrong.
    pub(super) log: Option<PathBuf>,
}

/// A `kill -9` of the daemon, and what the next daemon found.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Killed {
    pub(super) runners: usize,
    /// Those of them that had a job.
    pub(super) busy: usize,
    /// Those of them that the next daemon adopted; the others had finished their job in the meantime.
    pub(super) adopted: usize,
    /// From the start of the next daemon until it had listed them all.
    pub(super) seconds: f64,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Percentiles {
    p50: f64,
    p95: f64,
    max: f64,
}

impl From<Waits> for Percentiles {
    fn from(waits: Waits) -> Self {
        let Waits { p50, p95, max } = waits;
        let seconds = |wait: Duration| wait.as_secs_f64();
        Self { p50: seconds(p50), p95: seconds(p95), max: seconds(max) }
    }
}

impl Summary {
    /// Whether every job was served and nothing is left.
    pub(super) fn is_clean(&self) -> bool {
        let served = self.interrupted || self.succeeded == self.jobs;
        served && self.lost == 0 && self.registrations_left == 0 && self.containers_left == 0
    }

    pub(super) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let percentiles = |of: Option<Percentiles>| {
            of.map_or_else(
                || "none".to_owned(),
                |p| format!("p50 {:.2} s, p95 {:.2} s, longest {:.2} s", p.p50, p.p95, p.max),
            )
        };
        writeln!(
            out,
            "jobs        {} of {} done, {} failed, {} lost, in {:.1} s",
            self.succeeded, self.jobs, self.failed, self.lost, self.seconds
        )?;
        writeln!(out, "queue wait  {}", percentiles(self.queue_wait_seconds))?;
        writeln!(out, "start-up    {}", percentiles(self.startup_seconds))?;
        writeln!(out, "runners     {} launched, each for one job", self.launched)?;
        if let Some(Killed { runners, busy, adopted, seconds }) = self.killed {
            writeln!(out, "kill -9     with {runners} runners, {busy} of them with a job")?;
            let ended = match runners - adopted {
                0 => String::new(),
                ended => format!("; {ended} had finished"),
            };
            writeln!(out, "            the next daemon adopted {adopted} in {seconds:.2} s{ended}")?;
        }
        writeln!(
            out,
            "left over   {} registrations, {} containers",
            self.registrations_left, self.containers_left
        )?;
        if let Some(log) = &self.log {
            writeln!(
                out,
                "\nThis should not happen; please report it with the daemon's log: {}",
                log.display()
            )?;
            writeln!(out, "To repeat it with the same jobs: dayfly demo --seed {}", self.seed)?;
        } else if !self.interrupted {
            writeln!(
                out,
                "\nNext: run it for your own repository or organization. That takes a token and a"
            )?;
            writeln!(out, "configuration of eight lines; docs/tutorial.md has the steps.")?;
        }
        Ok(())
    }
}
