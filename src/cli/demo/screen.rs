//! What the demo shows while it runs: a live picture on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    fleet::{Event, Phase, RunnerReport, Status},
    simulator::Snapshot,
};

/// Rows for runners at most; a terminal is seldom higher.
const ROWS: usize = 20;

/// Shows how the demo goes. All of it goes to standard error: standard output is the summary's.
pub(super) enum Screen {
    Live(Box<Live>),
    Lines { started: Instant },
}

/// The live picture: a bar of jobs, the queue, the pool, and a row per runner.
pub(super) struct Live {
    all: MultiProgress,
    jobs: ProgressBar,
    queue: ProgressBar,
    pool: ProgressBar,
    rows: Vec<ProgressBar>,
}

fn line(all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

impl Screen {
    /// A screen for so many jobs on so many runners.
    pub(super) fn new(jobs: u32, max: u32) -> Self {
        if !stderr().is_terminal() {
            return Self::Lines { started: Instant::now() };
        }
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(jobs.into()));
        let style = ProgressStyle::with_template("jobs    {bar:40.green/dim} {pos}/{len} done  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (queue, pool) = (line(&all), line(&all));
        line(&all).set_message(" ");
        let rows = (0..ROWS.min(max as usize + 2)).map(|_| line(&all)).collect();
        Self::Live(Box::new(Live { all, jobs: bar, queue, pool, rows }))
    }

    /// Says something once, above or between the rest.
    pub(super) fn say(&self, text: &str) {
        match self {
            // Nobody is left to tell when standard error is gone.
            Self::Live(live) => drop(live.all.println(text)),
            Self::Lines { .. } => told(text),
        }
    }

    /// Tells an event; on a live picture it shows by itself.
    pub(super) fn tell(&self, event: &Event) {
        let Self::Lines { started } = self else { return };
        let text = match event {
            Event::Launched { runner, why, .. } => format!("{} launched ({})", short(runner), why.as_str()),
            Event::Ready { runner, startup: Some(startup), .. } => {
                format!("{} idle after {}", short(runner), seconds(*startup))
            }
            Event::JobStarted { runner, job, .. } => {
                format!("{} took {}", short(runner), job.as_deref().unwrap_or("a job"))
            }
            Event::Exited { runner, reason, .. } => format!("{} ended: {}", short(runner), reason.as_str()),
            Event::LaunchFailed { runner, trouble, .. } => {
                format!("{} could not be launched: {}", short(runner), trouble.detail)
            }
            _ => return,
        };
        told(&format!("{:>7}  {text}", seconds(started.elapsed())));
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, status: &Status, github: &Snapshot) {
        let Self::Live(live) = self else { return };
        live.jobs.set_position(github.completed() as u64);
        let waits = github.queue_wait.map_or_else(String::new, |waits| {
            format!("   wait p50 {} p95 {}", seconds(waits.p50), seconds(waits.p95))
        });
        live.queue
            .set_message(format!("queue   {} waiting, {} running{waits}", github.queued, github.in_progress));
        if let Some(pool) = status.pools.first() {
            let phases = Phase::ALL.iter().filter(|phase| pool.phases.of(**phase) > 0);
            let phases: Vec<_> =
                phases.map(|phase| format!("{} {}", pool.phases.of(*phase), phase.as_str())).collect();
            let held = pool.held.map_or_else(String::new, |held| format!("   held: {}", held.as_str()));
            live.pool.set_message(format!(
                "pool    wants {} of {}: {}{held}",
                pool.desired,
                pool.max,
                phases.join(", "),
            ));
        }
        let jobs: BTreeMap<&str, &str> =
            github.runners.iter().filter_map(|r| Some((r.name.as_str(), r.job.as_deref()?))).collect();
        let mut shown = status.runners.iter();
        for row in &live.rows {
            row.set_message(shown.next().map_or_else(String::new, |runner| describe(runner, &jobs, github)));
        }
    }

    /// Leaves the last picture on the terminal.
    pub(super) fn end(&self) {
        if let Self::Live(live) = self {
            live.jobs.abandon();
            for line in live.rows.iter().chain([&live.queue, &live.pool]) {
                line.finish_and_clear();
            }
        }
    }
}

fn describe(runner: &RunnerReport, jobs: &BTreeMap<&str, &str>, github: &Snapshot) -> String {
    let mark = match runner.phase {
        Phase::Starting => "◌",
        Phase::Idle => "○",
        Phase::Busy => "●",
        Phase::Stopping | Phase::Finished => "·",
        Phase::Orphaned | Phase::Ghost | Phase::Unknown => "?",
    };
    let job = runner.job.as_deref().or_else(|| jobs.get(runner.name.as_str()).copied()).unwrap_or_default();
    let since = seconds(github.at.since(runner.since));
    let container =
        runner.container_id.as_ref().map_or_else(String::new, |id| id.0.chars().take(12).collect());
    format!(
        "  {mark} {}  {container:12}  {:<9} {since:>7}  {job}",
        short(&runner.name),
        runner.phase.as_str()
    )
}

/// The end of a name is what tells runners of one pool apart.
fn short(runner: &crate::fleet::RunnerName) -> &str {
    let name = runner.as_str();
    &name[name.len().saturating_sub(8)..]
}

/// A duration as people read it.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn told(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(stderr(), "{text}");
}
