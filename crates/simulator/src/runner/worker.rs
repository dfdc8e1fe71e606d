//! The job's own process, named `Runner.Worker` as with the real runner, so that a list of the container's
//! processes shows that there is a job.

use std::{
    hint::black_box,
    io::{self, Read as _},
    process::{ExitCode, Stdio},
    thread,
    time::Duration,
};

use tokio::process::{Child, ChildStdin, Command};

use crate::wire::{Message, Work};

/// What distinguishes a worker from a runner on the command line.
pub(super) const ARGUMENT: &str = "--worker";

/// Memory is taken in steps of this many bytes.
const STEP: u64 = 4 << 20;
const PAGE: usize = 4096;

/// A job's process, and what it ends with: a pipe that the runner holds.
pub(super) struct Worker {
    pub(super) process: Child,
    _leash: Option<ChildStdin>,
}

/// Starts a job's process: this program once more, under another name. It ends with its runner.
pub(super) fn spawn(message: &Message) -> io::Result<Worker> {
    let (work, bytes) = match message.work {
        Work::Succeed | Work::CrashRunner => ("succeed", 0),
        Work::Fail => ("fail", 0),
        Work::Allocate(bytes) => ("allocate", bytes),
        Work::CrashWorker => ("crash", 0),
    };
    let mut process = Command::new("/proc/self/exe")
        .arg0("Runner.Worker")
        .args(["simulated-runner", ARGUMENT, work])
        .args([message.millis.to_string(), bytes.to_string()])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Taken, because waiting for the process would close it.
    let leash = process.stdin.take();
    Ok(Worker { process, _leash: leash })
}

/// Does the job.
pub(super) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    thread::spawn(|| {
        // Nothing is ever written there: it ends when the runner does, however that came.
        drop(io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(1);
    });
    let work = args.next().unwrap_or_default();
    let mut number = || args.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let (duration, bytes) = (Duration::from_millis(number()), number());
    match work.as_str() {
        "allocate" => {
            let taken = allocate(bytes);
            thread::sleep(duration);
            drop(black_box(taken));
            ExitCode::SUCCESS
        }
        "crash" => std::process::abort(),
        "fail" => {
            thread::sleep(duration);
            ExitCode::FAILURE
        }
        _ => {
            thread::sleep(duration);
            ExitCode::SUCCESS
        }
    }
}

/// Takes memory and touches it, or it would not count.
fn allocate(bytes: u64) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    for _ in 0..bytes.div_ceil(STEP) {
        let mut step = vec![0; usize::try_from(STEP).unwrap_or(PAGE)];
        step.iter_mut().step_by(PAGE).for_each(|page| *page = 1);
        taken.push(black_box(step));
    }
    taken
}
