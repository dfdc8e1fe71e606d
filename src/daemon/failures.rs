//! Saves diagnostics of failed runners, since their containers and logs are about to be removed. A disk can
//! hang, so a separate task writes the files, and nothing waits for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{
    files,
    fleet::{Event, Timestamp},
};

/// The maximum number of records; the oldest are removed first.
const KEPT: usize = 200;

/// The maximum number of records that wait to be written; further ones are dropped.
const WAITING: usize = 256;

/// Writes records to a directory, and limits their number.
pub(super) struct Failures {
    dir: PathBuf,
    queue: mpsc::Sender<Record>,
    /// How many did not fit into the queue.
    dropped: u64,
    full: bool,
}

/// The record of a failed runner.
#[derive(Serialize)]
struct Record {
    #[serde(skip)]
    path: PathBuf,
    runner: String,
    pool: String,
    reason: &'static str,
    recorded_at: Timestamp,
    ended_at: Option<Timestamp>,
    exit_code: Option<i64>,
    out_of_memory: Option<bool>,
    job: Option<String>,
    log_tail: Option<std::sync::Arc<str>>,
}

impl Failures {
    /// Records into `{state_dir}/failed`, by a task that ends when this is dropped and all is written.
    pub(super) fn start(state_dir: &Path, tasks: &TaskTracker) -> Self {
        let (queue, records) = mpsc::channel(WAITING);
        tasks.spawn(write(records));
        Self { dir: state_dir.join("failed"), queue, dropped: 0, full: false }
    }

    /// Queues a record if the event reports a failed runner, and returns its path.
    pub(super) fn record(&mut self, event: &Event, now: Timestamp) -> Option<PathBuf> {
        let Event::Exited { pool, runner, reason, exit, job, .. } = event else { return None };
        if !reason.is_failure() {
            return None;
        }
        // The name begins with the pool, so the age comes from the ULID at its end.
        let path = self.dir.join(format!("{runner}.json"));
        let exit = exit.as_ref();
        let record = Record {
            path: path.clone(),
            runner: runner.to_string(),
            pool: pool.clone(),
            reason: reason.as_str(),
            recorded_at: now,
            ended_at: exit.map(|exit| exit.at),
            exit_code: exit.map(|exit| exit.code),
            out_of_memory: exit.map(|exit| exit.out_of_memory),
            job: job.clone(),
            log_tail: exit.map(|exit| exit.log_tail.clone()),
        };
        let fits = self.queue.try_send(record).is_ok();
        if !fits {
            self.dropped += 1;
            if !self.full {
                let (dropped, dir) = (self.dropped, self.dir.display());
                warn!(dropped, %dir, "dropped diagnostics of failed runners, because the directory is too slow or cannot be written");
            }
        }
        self.full = !fits;
        fits.then_some(path)
    }
}

/// Writes one record after the other.
async fn write(mut records: mpsc::Receiver<Record>) {
    let mut failing = false;
    while let Some(record) = records.recv().await {
        let path = record.path.clone();
        // A panic in there has ended the process.
        let Ok(written) = spawn_blocking(move || keep(&record)).await else { return };
        match written {
            Ok(()) => failing = false,
            Err(error) if failing => debug!(%error, path = %path.display(), "failed to save diagnostics"),
            Err(error) => {
                failing = true;
                warn!(%error, path = %path.display(), "failed to save the diagnostics of a failed runner");
            }
        }
    }
}

/// Writes a record that only this user can read, since jobs wrote parts of it.
fn keep(record: &Record) -> io::Result<()> {
    let dir = record.path.parent().unwrap_or(Path::new("."));
    files::make_private_dir(dir)?;
    files::write_private(&record.path, &serde_json::to_vec_pretty(record)?)?;
    forget_the_oldest(dir)
}

fn forget_the_oldest(dir: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT);
    kept.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::fleet::{ExitReason, Names};

    fn failed(number: u64) -> Event {
        let name =
            Names::new("ci1".parse().unwrap(), number).next(&"p".parse().unwrap(), Timestamp::default());
        Event::Exited {
            pool: "p".to_owned(),
            runner: name,
            reason: ExitReason::Vanished,
            exit: None,
            job: None,
            facts: None,
            job_duration: None,
            result: None,
        }
    }

    #[tokio::test]
    async fn a_record_is_written_for_its_owner_alone_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = TaskTracker::new();
        let mut failures = Failures::start(dir.path(), &tasks);
        let path = failures.record(&failed(1), Timestamp::default()).unwrap();
        drop(failures);
        tasks.close();
        tasks.wait().await;
        assert!(fs::read_to_string(&path).unwrap().contains("\"vanished\""));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn a_directory_that_hangs_holds_no_one_up() {
        let dir = tempfile::tempdir().unwrap();
        // The writer gets no turn before the end of this test.
        let mut failures = Failures::start(dir.path(), &TaskTracker::new());
        let mut kept = 0;
        while failures.record(&failed(kept), Timestamp::default()).is_some() {
            kept += 1;
        }
        assert_eq!((kept, failures.dropped), (WAITING as u64, 1));
    }
}
