//! The job's own process, named `Runner.Worker` as with the real runner, so that a list of the container's
//! processes shows that there is a job.

use std::{
    env, fs,
    hint::black_box,
    io::{self, Read as _, Write as _},
    process::{self, ExitCode, Stdio},
    thread,
    time::Duration,
};

use tokio::process::{Child, ChildStdin, Command};

use crate::wire::{Message, Work};

/// What distinguishes a worker from a runner on the command line.
pub(super) const ARGUMENT: &str = "--worker";

/// The variable that has the script of a job.
const SCRIPT: &str = "DAYFLY_SIMULATED_SCRIPT";

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
    let (work, bytes) = match &message.work {
        Work::Succeed | Work::CrashRunner => ("succeed", 0),
        Work::Fail => ("fail", 0),
        Work::Allocate(bytes) => ("allocate", *bytes),
        Work::Script(_) => ("script", 0),
        Work::CrashWorker => ("crash", 0),
    };
    let script = match &message.work {
        Work::Script(script) => script.as_str(),
        _ => "",
    };
    let mut child = Command::new("/proc/self/exe")
        .arg0("Runner.Worker")
        .args(["simulated-runner", ARGUMENT, work])
        .args([message.millis.to_string(), bytes.to_string()])
        .env(SCRIPT, script)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Taken, because waiting for the process would close it.
    let leash = child.stdin.take();
    Ok(Worker { process: child, _leash: leash })
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
        "script" => script(),
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

/// Runs the script as a step of the real runner would: in the folder of the job's repository, below the one that the
/// runner was started in.
fn script() -> ExitCode {
    let script = env::var(SCRIPT).unwrap_or_default();
    let run = || {
        let root = env::current_dir()?;
        let workspace = root.join("_work/jobs/jobs");
        fs::create_dir_all(&workspace)?;
        process::Command::new("/bin/sh")
            .args(["-e", "-c", &script])
            .env_remove(SCRIPT)
            .env("RUNNER_ROOT", &root)
            .env("GITHUB_WORKSPACE", &workspace)
            .current_dir(&workspace)
            .stdin(Stdio::null())
            .status()
    };
    match run() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(io::stderr(), "the script of the job cannot be run: {error}"));
            ExitCode::FAILURE
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
