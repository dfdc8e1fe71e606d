//! Keeps why runners failed, for people: the container is about to be removed, and its log with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    files,
    fleet::{Event, Timestamp},
};

/// Records kept at most; the oldest go first.
const KEPT: usize = 200;

/// Writes records into a directory and bounds it.
#[derive(Debug)]
pub(super) struct Failures {
    dir: PathBuf,
}

/// What is kept of a failed runner.
#[derive(Serialize)]
struct Record<'a> {
    runner: &'a str,
    pool: &'a str,
    reason: &'a str,
    recorded_at: Timestamp,
    ended_at: Option<Timestamp>,
    exit_code: Option<i64>,
    out_of_memory: Option<bool>,
    job: Option<&'a str>,
    log_tail: Option<&'a str>,
}

impl Failures {
    /// Records into `{state_dir}/failed`.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("failed") }
    }

    /// Keeps the event if it tells of a failed runner. Called before the runner's container is
    /// removed; the files are small and few, so this does not leave the planner's thread.
    pub(super) fn record(&self, event: &Event, now: Timestamp) -> io::Result<()> {
        let Event::Exited { pool, runner, reason, exit, job, .. } = event else { return Ok(()) };
        if !reason.is_failure() {
            return Ok(());
        }
        let exit = exit.as_ref();
        let record = Record {
            runner: runner.as_str(),
            pool,
            reason: reason.as_str(),
            recorded_at: now,
            ended_at: exit.map(|exit| exit.at),
            exit_code: exit.map(|exit| exit.code),
            out_of_memory: exit.map(|exit| exit.out_of_memory),
            job: job.as_deref(),
            log_tail: exit.map(|exit| &*exit.log_tail),
        };
        files::make_private_dir(&self.dir)?;
        // The name begins with the pool, so age is told by the ULID at its end.
        let file = self.dir.join(format!("{runner}.json"));
        files::write_private(&file, &serde_json::to_vec_pretty(&record)?)?;
        self.forget_the_oldest()
    }

    fn forget_the_oldest(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort();
        let surplus = kept.len().saturating_sub(KEPT);
        kept.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}
