//! What the demo shows while it runs: a live screen on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;

use super::daemon::{is_complete, is_up};
use crate::{
    cli::{status::wording::reason, terminal},
    fleet::Phase,
    http::status_document::{RunnerEntry, StatusDocument},
    simulator::Snapshot,
};

/// At most this many rows for runners.
const ROWS: usize = 20;

/// Lines of the screen that are not rows for runners, and lines above it that should stay visible.
const OTHER_LINES: usize = 10;

/// Columns, where the terminal does not report them.
const COLUMNS: usize = 80;

/// Shows the demo's progress, on standard error: standard output has the summary only.
pub(super) struct Screen {
    started: Instant,
    view: View,
}

enum View {
    Live(Box<Live>),
    /// The phase of each runner that was printed last.
    Lines(BTreeMap<String, String>),
}

/// The live screen: a progress bar of jobs, the queue, the pool, the daemon, and a row per runner.
struct Live {
    all: MultiProgress,
    jobs: ProgressBar,
    queue: ProgressBar,
    pool: ProgressBar,
    daemon: ProgressBar,
    rows: Vec<ProgressBar>,
}

fn line(all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    bar.set_style(
        ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar
}

impl Screen {
    /// A screen for this many jobs on this many runners.
    pub(super) fn new(jobs: u32, max: u32) -> Self {
        let started = Instant::now();
        if !stderr().is_terminal() {
            return Self { started, view: View::Lines(BTreeMap::new()) };
        }
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(jobs.into()));
        let style = ProgressStyle::with_template("jobs    {bar:40.green/dim} {pos}/{len} done  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (queue, pool, daemon) = (line(&all), line(&all), line(&all));
        line(&all).set_message(" ");
        let height = tcgetwinsize(stderr()).map_or(0, |size| usize::from(size.ws_row));
        let room = height.saturating_sub(OTHER_LINES).clamp(1, ROWS);
        let rows = (0..room.min(max as usize + 2)).map(|_| line(&all)).collect();
        let live = Live { all, jobs: bar, queue, pool, daemon, rows };
        Self { started, view: View::Live(Box::new(live)) }
    }

    /// Prints a line once, with the time since the start.
    pub(super) fn say(&self, text: &str) {
        let text = format!("{:>7}  {text}", seconds(self.started.elapsed()));
        match &self.view {
            // There is no one to read it when standard error is closed.
            View::Live(live) => drop(live.all.println(text)),
            View::Lines(_) => print(&text),
        }
    }

    /// Shows the current state.
    pub(super) fn show(&mut self, status: Option<&StatusDocument<'_>>, github: &Snapshot, daemon: &str) {
        match &mut self.view {
            View::Live(live) => live.show(status, github, daemon),
            View::Lines(shown) => {
                if let Some(status) = status.filter(|status| is_complete(status)) {
                    print_changes(&status.runners, shown, self.started);
                }
            }
        }
    }

    /// Leaves the last screen on the terminal.
    pub(super) fn end(&self) {
        if let View::Live(live) = &self.view {
            live.jobs.abandon();
            for line in live.rows.iter().chain([&live.queue, &live.pool, &live.daemon]) {
                line.finish_and_clear();
            }
        }
    }
}

impl Live {
    fn show(&self, status: Option<&StatusDocument<'_>>, github: &Snapshot, daemon: &str) {
        self.jobs.set_position(github.completed() as u64);
        let waits = github.queue_wait.map_or_else(String::new, |waits| {
            format!("   wait p50 {} p95 {}", seconds(waits.p50), seconds(waits.p95))
        });
        self.queue
            .set_message(format!("queue   {} waiting, {} running{waits}", github.queued, github.in_progress));
        self.daemon.set_message(format!("daemon  {daemon}"));
        // While no daemon that has listed everything answers, the last state of the pool stays.
        let Some(status) = status.filter(|status| is_complete(status)) else { return };
        if let Some(pool) = status.pools.first() {
            let count = |phase: &Phase| {
                let count = pool.phases.of(*phase);
                (count > 0).then(|| format!("{count} {}", phase.as_str()))
            };
            let phases: Vec<_> = Phase::ALL.iter().filter_map(count).collect();
            let held = pool.held.as_ref();
            let held = held.map_or_else(String::new, |held| format!("   launches paused: {}", reason(held)));
            let (desired, max) = (pool.desired, pool.max);
            self.pool.set_message(format!("pool    wants {desired} of {max}: {}{held}", phases.join(", ")));
        }
        let jobs: BTreeMap<&str, &str> =
            github.runners.iter().filter_map(|r| Some((r.name.as_str(), r.job.as_deref()?))).collect();
        // Finished runners go last, since there may be more runners than rows.
        let (up, over): (Vec<_>, Vec<_>) = status.runners.iter().partition(|runner| is_up(runner));
        let mut shown = up.into_iter().chain(over);
        for row in &self.rows {
            row.set_message(shown.next().map_or_else(String::new, |runner| describe(runner, &jobs, github)));
        }
    }
}

fn describe(runner: &RunnerEntry<'_>, jobs: &BTreeMap<&str, &str>, github: &Snapshot) -> String {
    let mark = match &*runner.phase {
        "starting" => "◌",
        "idle" => "○",
        "busy" => "●",
        "stopping" | "finished" => "·",
        _ => "?",
    };
    let job = runner.job.as_deref().or_else(|| jobs.get(&*runner.name).copied()).unwrap_or_default();
    let since = seconds(github.at.since(runner.since));
    let container: String = runner.container_id.iter().flat_map(|id| id.chars().take(12)).collect();
    let (name, phase) = (short(&runner.name), &runner.phase);
    terminal::cell(&format!("  {mark} {name}  {container:12}  {phase:<9} {since:>7}  {job}"), COLUMNS)
}

/// A line for each runner whose phase has changed.
fn print_changes(runners: &[RunnerEntry<'_>], shown: &mut BTreeMap<String, String>, started: Instant) {
    let at = seconds(started.elapsed());
    for runner in runners {
        if shown.get(&*runner.name).is_none_or(|phase| *phase != runner.phase) {
            let job = runner.job.as_ref().map_or_else(String::new, |job| format!(": {job}"));
            print(&format!("{at:>7}  {} {}{job}", short(&runner.name), runner.phase));
            shown.insert(runner.name.to_string(), runner.phase.to_string());
        }
    }
    shown.retain(|name, _| {
        let is_there = runners.iter().any(|runner| runner.name == *name);
        if !is_there {
            print(&format!("{at:>7}  {} gone", short(name)));
        }
        is_there
    });
}

/// The end of a name is what distinguishes the runners of one pool.
fn short(name: &str) -> &str {
    name.get(name.len().saturating_sub(8)..).unwrap_or(name)
}

/// A duration for people.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn print(text: &str) {
    // There is no one to read it when standard error is closed.
    let _ = writeln!(stderr(), "{text}");
}
