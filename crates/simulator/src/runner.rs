//! The simulated runner: a program that behaves towards a daemon as `actions/runner` 2.336 in its
//! official image does: its environment, its log lines, its processes, its exit codes. It is a hidden
//! subcommand of the `dayfly` binary, so that a container needs nothing else.

mod client;
mod connector;
mod oddity;
mod terminal;
mod worker;

use std::{
    env, fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    client::{Client, Lost},
    oddity::{Oddities, Oddity},
    terminal::Terminal,
    worker::Worker,
};
use super::{
    jit::Jit,
    wire::{self, Connect, JobOf, Message, Session, Work},
    world::RUNNER_VERSION,
};

/// How long the runner tries to open a session that another runner has (the real one: 240 s).
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(2);
const CONFLICT_INTERVAL: Duration = Duration::from_millis(500);
/// How long `run.sh` waits before it starts a listener again that ended with [`RETRYABLE`].
const RESTART_AFTER: Duration = Duration::from_secs(5);
/// Closing the session without a response must not delay a stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Exit codes of the real listener (actions/runner, `Constants.cs`).
const FINISHED: u8 = 0;
const TERMINATED: u8 = 1;
const RETRYABLE: u8 = 2;
const SESSION_CONFLICT: u8 = 5;
const VERSION_DEPRECATED: u8 = 7;

/// Runs what the command line says after `dayfly simulated-runner`: the runner, with its JIT config
/// from `--jitconfig` or `ACTIONS_RUNNER_INPUT_JITCONFIG`, or with `--worker` a job. It reads the
/// arguments itself, and its exit code is what the real image's first process would give.
pub fn run() -> ExitCode {
    let mut args = env::args().skip(2);
    let mut jit = env::var("ACTIONS_RUNNER_INPUT_JITCONFIG").ok();
    match args.next().as_deref() {
        Some(worker::ARGUMENT) => return worker::run(args),
        Some("--jitconfig") => jit = args.next(),
        _ => {}
    }
    let terminal = Terminal::new();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal.complain(&format!("An error occurred: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(wrapper(&terminal, jit.as_deref()));
    // Not waited for: a name lookup could hang there.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// What the official image's `run.sh` makes of the listener: restarts, signals and exit codes.
async fn wrapper(terminal: &Terminal, jit: Option<&str>) -> u8 {
    let (Ok(mut terminated), Ok(mut interrupted)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        terminal.complain("An error occurred: signals cannot be caught.");
        return TERMINATED;
    };
    let oddities = Oddities::from_environment();
    loop {
        let mut listener =
            Listener { terminal, oddities, client: None, session: None, job: None, worker: None };
        let stopped = async {
            let code = tokio::select! {
                _ = terminated.recv() => 143,
                _ = interrupted.recv() => 130,
            };
            if oddities.has(Oddity::HangsOnStop) { std::future::pending().await } else { code }
        };
        let code = tokio::select! {
            code = listener.run(jit) => code,
            code = stopped => {
                listener.stop().await;
                return code;
            }
        };
        match code {
            RETRYABLE => {
                terminal.say("Runner listener exit with retryable error, re-launch runner in 5 seconds.");
                tokio::time::sleep(RESTART_AFTER).await;
                terminal.say("Restarting runner...");
            }
            VERSION_DEPRECATED
                if env::var("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE").as_deref() == Ok("1") =>
            {
                return VERSION_DEPRECATED;
            }
            _ => return 0,
        }
    }
}

/// A listener: one session, at most one job.
struct Listener<'a> {
    terminal: &'a Terminal,
    oddities: Oddities,
    client: Option<Client<'a>>,
    session: Option<Session>,
    /// The job that it was offered, from then on, and whether it has succeeded.
    job: Option<(Message, bool)>,
    worker: Option<Worker>,
}

impl Listener<'_> {
    /// Lives through all of it and returns the real listener's exit code.
    async fn run(&mut self, jit: Option<&str>) -> u8 {
        let terminal = self.terminal;
        if self.oddities.has(Oddity::ExitsAtOnce) {
            return TERMINATED;
        }
        if self.oddities.has(Oddity::NeverBoots) {
            return std::future::pending().await;
        }
        let Some(text) = jit.filter(|jit| !jit.trim().is_empty()) else {
            terminal
                .complain("An error occurred: Not configured. Run config.(sh/cmd) to configure the runner.");
            return TERMINATED;
        };
        let jit = match Jit::decode(text) {
            Ok(jit) => jit,
            Err(error) => {
                terminal.complain(&format!("An error occurred: the JIT config cannot be read: {error}"));
                return TERMINATED;
            }
        };
        // As the real one does, where it has a folder of its own.
        if let Some(settings) = Jit::settings(text).filter(|_| Path::new("run.sh").exists())
            && let Err(error) = fs::write(".runner", settings)
        {
            terminal.complain(&format!("An error occurred: .runner cannot be written: {error}"));
            return TERMINATED;
        }
        let client = Client::new(&jit.server_url, terminal);
        self.client = Some(client.clone());
        if self.oddities.has(Oddity::Noisy) {
            Terminal::noise();
        }
        let session = match self.connect(&client, &jit).await {
            Ok(session) => session,
            Err(code) => return code,
        };
        self.session = Some(session.clone());
        self.listen(&client, session).await
    }

    async fn connect(&mut self, client: &Client<'_>, jit: &Jit) -> Result<Session, u8> {
        let terminal = self.terminal;
        let who = Connect { agent_id: jit.agent_id, secret: jit.secret.clone() };
        let began = Instant::now();
        let mut greeted = false;
        loop {
            let answer = if self.oddities.has(Oddity::NeverListens) {
                // Answered with a refusal, which shows that GitHub is there.
                client.get(wire::SESSION).await
            } else {
                client.post(wire::SESSION, &who).await
            };
            let answer = answer.map_err(|Lost| RETRYABLE)?;
            if !std::mem::replace(&mut greeted, true) {
                terminal.say("");
                terminal.say("√ Connected to GitHub");
                terminal.say("");
            }
            if self.oddities.has(Oddity::NeverListens) {
                return std::future::pending().await;
            }
            match answer.status {
                StatusCode::OK => {
                    terminal.say(&format!("Current runner version: '{RUNNER_VERSION}'"));
                    return answer.json().ok_or(RETRYABLE);
                }
                StatusCode::CONFLICT if began.elapsed() < CONFLICT_TIMEOUT => {
                    terminal.complain("A session for this runner already exists.");
                    tokio::time::sleep(CONFLICT_INTERVAL).await;
                }
                StatusCode::CONFLICT => {
                    let seconds = CONFLICT_TIMEOUT.as_secs();
                    terminal.complain(&format!(
                        "Stop retry on SessionConflictException after retried for {seconds} seconds."
                    ));
                    return Err(SESSION_CONFLICT);
                }
                StatusCode::NOT_FOUND => {
                    terminal.complain(
                        "Failed to create a session. The runner registration has been deleted from the \
                         server, please re-configure.",
                    );
                    return Err(TERMINATED);
                }
                status => {
                    terminal.complain(&format!("Failed to create session. {status}"));
                    return Err(TERMINATED);
                }
            }
        }
    }

    async fn listen(&mut self, client: &Client<'_>, session: Session) -> u8 {
        let terminal = self.terminal;
        terminal.say_now("Listening for Jobs");
        if self.oddities.has(Oddity::Deprecated) {
            terminal.complain(&format!(
                "An error occurred: Error: Forbidden Runner version v{RUNNER_VERSION} is deprecated and \
                 cannot receive messages."
            ));
            return VERSION_DEPRECATED;
        }
        if self.oddities.has(Oddity::CrashesWhenIdle) {
            std::process::abort();
        }
        let poll = format!("{}?session={}", wire::MESSAGE, session.session);
        loop {
            let Ok(answer) = client.get(&poll).await else { return RETRYABLE };
            let message: Option<Message> = match answer.status {
                StatusCode::OK => answer.json(),
                StatusCode::NO_CONTENT => continue,
                StatusCode::GONE => {
                    terminal.complain(
                        "The runner no longer exists on the server. Cleaning up local configuration.",
                    );
                    return FINISHED;
                }
                _ => None,
            };
            let Some(message) = message else { return RETRYABLE };
            let of = JobOf { session: session.session.clone(), job: message.job, succeeded: false };
            if self.oddities.has(Oddity::Ghost) {
                drop(client.post(wire::DECLINE, &of).await);
                terminal.say("Skipping message Job. Job message not found '404'.");
                return std::future::pending().await;
            }
            self.job = Some((message.clone(), false));
            match client.post(wire::ACQUIRE, &of).await {
                Ok(answer) if answer.status == StatusCode::OK => {}
                // Another runner has it by now.
                Ok(_) => {
                    self.job = None;
                    continue;
                }
                Err(Lost) => return RETRYABLE,
            }
            return self.serve(client, &poll, of, &message).await;
        }
    }

    /// Runs the one job in a process of its own. The polls go on meanwhile, as the real runner's do.
    async fn serve(&mut self, client: &Client<'_>, poll: &str, of: JobOf, message: &Message) -> u8 {
        let name = &message.name;
        if matches!(message.work, Work::CrashRunner) {
            self.terminal.say_now(&format!("Running job: {name}"));
            std::process::abort();
        }
        let worker = match worker::spawn(message) {
            Ok(worker) => worker,
            Err(error) => {
                self.terminal.complain(&format!("An error occurred: {error}"));
                return RETRYABLE;
            }
        };
        let Worker { process, .. } = self.worker.insert(worker);
        self.terminal.say_now(&format!("Running job: {name}"));
        let status = tokio::select! {
            status = process.wait() => status,
            () = async { while client.get(poll).await.is_ok() {} } => process.wait().await,
        };
        let succeeded = status.is_ok_and(|status| status.success());
        self.worker = None;
        self.job = Some((message.clone(), succeeded));
        self.report(client, of, name, succeeded).await;
        self.job = None;
        FINISHED
    }

    async fn report(&self, client: &Client<'_>, of: JobOf, name: &str, succeeded: bool) {
        let result = if succeeded { "Succeeded" } else { "Failed" };
        // There is no one left to report a failure to; the exit is the same.
        drop(client.post(wire::COMPLETE, &JobOf { succeeded, ..of }).await);
        self.terminal.say_now(&format!("Job {name} completed with result: {result}"));
    }

    /// What a signal does: never a drain. The job is cancelled and reported as failed.
    async fn stop(&mut self) {
        self.terminal.say("Exiting...");
        let (Some(client), Some(session)) = (self.client.clone(), self.session.clone()) else { return };
        let (job, worker) = (self.job.take(), self.worker.take());
        let farewell = async {
            if let Some(mut worker) = worker {
                // It may have ended meanwhile.
                drop(worker.process.kill().await);
            }
            if let Some((message, succeeded)) = job {
                let of = JobOf { session: session.session.clone(), job: message.job, succeeded };
                self.report(&client, of, &message.name, succeeded).await;
            }
            drop(client.post(wire::LEAVE, &session).await);
        };
        drop(tokio::time::timeout(FAREWELL, farewell).await);
    }
}
