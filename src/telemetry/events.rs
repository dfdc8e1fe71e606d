//! Log lines for what passes report: each is understandable by itself and has fields to search for. Texts
//! that come from jobs are escaped and stay on one line.

use std::{path::Path, time::Duration};

use tracing::{debug, info, warn};

use crate::{
    fleet::{ContainerId, Event, Exit, ExitReason, Held, HostName, RunnerReport, Status, Veto},
    text::{escaped, shortened},
};

/// The longest text from outside in a log line, in characters.
const LONGEST: usize = 800;

/// Logs one event: INFO when something was done, WARN when something failed and will be retried. The status
/// of the same pass has the runner's host and container, and `diagnostics` the file with the logs of a failed
/// runner.
pub fn log_event(event: &Event, status: &Status, diagnostics: Option<&Path>) {
    match event {
        Event::Launched { pool, runner, why } => {
            let (place, reason) = (RunnerLocation::of(status, runner.as_str()), why.as_str());
            info!(
                pool = %pool, runner = %runner, reason,
                host = place.host, container = place.container, registration = place.registration,
                "launched runner {runner} {}", why.in_words()
            );
        }
        Event::LaunchFailed { pool, runner, trouble, streak } => {
            let detail = one_line(&trouble.detail);
            let reason = trouble.kind.as_str();
            if *streak <= 1 {
                warn!(
                    pool = %pool, runner = %runner, reason, streak,
                    "failed to launch a runner of pool {pool}, will retry: {detail}"
                );
            } else {
                debug!(
                    pool = %pool, runner = %runner, reason, streak,
                    "failed to launch a runner of pool {pool} {streak} times in a row, will retry: {detail}"
                );
            }
        }
        Event::Ready { pool, runner, startup } => {
            let startup_seconds = startup.map(seconds);
            info!(pool, runner = %runner, startup_seconds, "runner {runner} is online and listens for jobs");
        }
        Event::Source { pool, source, trouble: Some(trouble) } => {
            let (detail, name) = (one_line(&trouble.detail), source.as_str());
            warn!(
                pool = %pool, source = name, reason = trouble.kind.as_str(),
                "pool {pool} gets no jobs from {}, will retry; its runners are kept: {detail}",
                source.in_words()
            );
        }
        Event::Source { pool, source, trouble: None } => {
            let name = source.as_str();
            info!(pool = %pool, source = name, "pool {pool} gets jobs from {} again", source.in_words());
        }
        Event::Adopted { pool, runner } => {
            let place = RunnerLocation::of(status, runner.as_str());
            info!(
                pool, runner = %runner, host = place.host, container = place.container,
                registration = place.registration, "adopted runner {runner}, launched before the daemon's start"
            );
        }
        Event::JobStarted { .. }
        | Event::JobKnown { .. }
        | Event::JobUnmatched { .. }
        | Event::JobStuck { .. }
        | Event::Destination { .. } => log_job(event, status),
        Event::Exited { .. } => log_exit(event, status, diagnostics),
        Event::Removed { .. } | Event::RemovalFailed { .. } | Event::Vetoed { .. } => log_removal(event),
        Event::Elsewhere { runners, example } => warn!(
            runners, %example,
            "runners of this instance are online on GitHub but run on none of the configured hosts; either \
             a host was removed from the configuration, or another installation has the same instance id (a \
             cloned machine): then set `instance` to another word in one of the two"
        ),
        Event::Scope { .. } | Event::Host { .. } | Event::NodeDrained { .. } => log_sight(event),
        Event::Held { pool, held: Some(held), detail, is_starting } => {
            let reason = held.as_str();
            let colon = if detail.is_empty() { "" } else { ": " };
            let (words, detail) = (held.in_words(), one_line(detail));
            let text = format_args!("pool {pool}: launches paused: {words}{colon}{detail}");
            if *is_starting {
                debug!(pool = %pool, reason, "{text}");
            } else if is_trouble(*held) {
                warn!(pool = %pool, reason, "{text}");
            } else {
                info!(pool = %pool, reason, "{text}");
            }
        }
        Event::Held { pool, held: None, is_starting: true, .. } => {
            debug!(pool = %pool, "pool {pool}: launches started");
        }
        Event::Held { pool, held: None, .. } => {
            info!(pool = %pool, "pool {pool}: launches resumed");
        }
    }
}

/// Removals that were done, failed, or were cancelled.
fn log_removal(event: &Event) {
    match event {
        Event::Removed { pool, runner, why } => {
            info!(pool, runner = %runner, reason = why.as_str(), "removed runner {runner}: {}", why.in_words());
        }
        Event::RemovalFailed { pool, runner, why, trouble, streak } => {
            let (detail, reason) = (one_line(&trouble.detail), trouble.kind.as_str());
            let why = why.in_words();
            if *streak <= 1 {
                warn!(
                    pool, runner = %runner, reason, streak,
                    "failed to remove runner {runner} ({why}), will retry: {detail}"
                );
            } else {
                debug!(
                    pool, runner = %runner, reason, streak,
                    "failed to remove runner {runner} ({why}) {streak} times in a row, will retry: {detail}"
                );
            }
        }
        // The failure has been logged already.
        Event::Vetoed { veto: Veto::Unanswered, .. } => {}
        Event::Vetoed { pool, runner, veto } => {
            info!(
                pool, runner = %runner, reason = veto.as_str(),
                "runner {runner} was to be removed and is kept: {}", veto.in_words()
            );
        }
        _ => {}
    }
}

/// Scopes and hosts that cannot be listed, or can be listed again.
fn log_sight(event: &Event) {
    match event {
        Event::Scope { scope, trouble: Some(trouble) } => {
            let detail = one_line(&trouble.detail);
            warn!(
                scope = %scope, reason = trouble.kind.as_str(),
                "failed to list the runners of {scope}, will retry; nothing there is removed until it can \
                 be listed again: {detail}"
            );
        }
        Event::Scope { scope, trouble: None } => {
            info!(scope = %scope, "the runners of {scope} can be listed again");
        }
        Event::Host { host, trouble: Some(trouble) } => {
            let detail = one_line(&trouble.detail);
            warn!(
                host = %host, reason = trouble.kind.as_str(),
                "host {host} cannot be used, will retry; nothing is launched or removed there until its containers can \
                 be listed again: {detail}"
            );
        }
        Event::Host { host, trouble: None } => {
            info!(host = %host, "the containers of host {host} can be listed again");
        }
        Event::NodeDrained { host, node, trouble: None } => {
            info!(host = %host, node, "drained node {node} of host {host}: no runner is left on it");
        }
        Event::NodeDrained { host, node, trouble: Some(trouble) } => {
            let detail = one_line(&trouble.detail);
            warn!(
                host = %host, node, reason = trouble.kind.as_str(),
                "cannot drain node {node} of host {host}, will retry: {detail}"
            );
        }
        _ => {}
    }
}

/// What happens to a job before it ends.
fn log_job(event: &Event, status: &Status) {
    match event {
        Event::JobStarted { pool, runner, job } => {
            let place = RunnerLocation::of(status, runner.as_str());
            let job = job.as_deref().map(one_line);
            info!(
                pool, runner = %runner, job,
                host = place.host, container = place.container, registration = place.registration,
                "runner {runner} took {}", named(job.as_deref())
            );
        }
        Event::JobKnown { pool, runner, facts, queued } => {
            let place = RunnerLocation::of(status, runner.as_str());
            let (repository, name) = (facts.repository.path(), one_line(&facts.name));
            info!(
                pool, runner = %runner, job = name, repository, run = facts.run_id, url = one_line(&facts.url),
                queued_seconds = queued.map(seconds),
                host = place.host, container = place.container, registration = place.registration,
                "runner {runner} has {} of {repository}", named(Some(&name))
            );
        }
        Event::Destination { pool, runner, destination, job, facts } => {
            let place = RunnerLocation::of(status, runner.as_str());
            let known = facts.as_ref();
            let (verdict, destination) = (destination.verdict, one_line(&destination.to_string()));
            info!(
                pool, runner = %runner, destination, result = verdict.as_str(),
                job = job.as_deref().map(one_line),
                repository = known.map(|facts| facts.repository.path()), run = known.map(|facts| facts.run_id),
                host = place.host, container = place.container, registration = place.registration,
                "runner {runner}: egress to {destination} {}", verdict.in_words()
            );
        }
        Event::JobUnmatched { job, reason, detail } => {
            let facts = &job.facts;
            warn!(
                job = one_line(&facts.name),
                repository = facts.repository.path(),
                run = facts.run_id,
                url = one_line(&facts.url),
                reason = reason.as_str(),
                "{}",
                one_line(detail)
            );
        }
        Event::JobStuck { pool, facts, detail } => {
            let name = one_line(&facts.name);
            warn!(
                pool = %pool, job = name, repository = facts.repository.path(), run = facts.run_id,
                url = one_line(&facts.url),
                "{} is waiting although pool {pool} has an idle runner: {}", named(Some(&name)), one_line(detail)
            );
        }
        _ => {}
    }
}

/// The line at a runner's end: its job, the duration, and how both ended.
fn log_exit(event: &Event, status: &Status, diagnostics: Option<&Path>) {
    let Event::Exited { pool, runner, reason, exit, job, facts, job_duration, result } = event else {
        return;
    };
    let place = RunnerLocation::of(status, runner.as_str());
    let had_job = job.is_some() || job_duration.is_some();
    let job = job.as_deref().map(one_line);
    let repository = facts.as_ref().map(|facts| facts.repository.path());
    let run = facts.as_ref().map(|facts| facts.run_id);
    let result = result.as_deref().map(one_line);
    let job_seconds = job_duration.map(seconds);
    let exit_code = exit.as_ref().map(|exit| exit.code);
    let out_of_memory = exit.as_ref().map(|exit| exit.out_of_memory);
    let what = match (reason, had_job) {
        (ExitReason::Completed, _) => format!("runner {runner} completed {}", named(job.as_deref())),
        (_, true) => format!("runner {runner} ended after {}: {}", named(job.as_deref()), reason.in_words()),
        (_, false) => format!("runner {runner} ended: {}", reason.in_words()),
    };
    let failure = reason.is_failure();
    let reason = reason.as_str();
    if failure {
        // A job's output stays out of the log; the output of a runner that failed to start does not.
        let log = exit.as_ref().filter(|_| !had_job).and_then(Exit::last_words);
        let log = log.as_deref().map(one_line);
        let diagnostics = diagnostics.map(|path| path.display().to_string());
        warn!(
            pool, runner = %runner, reason, job, repository, run, result, job_seconds, exit_code, out_of_memory, log, diagnostics,
            host = place.host, container = place.container, registration = place.registration,
            "{what}"
        );
    } else {
        info!(
            pool, runner = %runner, reason, job, repository, run, result, job_seconds, exit_code, out_of_memory,
            host = place.host, container = place.container, registration = place.registration,
            "{what}"
        );
    }
}

/// Whether launches are paused by a fault that someone may have to fix, rather than by a limit.
fn is_trouble(held: Held) -> bool {
    match held {
        Held::HostUnreachable
        | Held::RateLimited
        | Held::ImageMissing
        | Held::ImageUnknown
        | Held::VersionDeprecated
        | Held::RegistrationLimit
        | Held::Refused
        | Held::BackingOff
        | Held::SessionTaken
        | Held::NetworksExhausted
        | Held::HostDisk => true,
        Held::ScopeUnseen
        | Held::HostUnseen
        | Held::ImagePulling
        | Held::NoSession
        | Held::Paced
        | Held::Draining
        | Held::AtMax
        | Held::HostFull
        | Held::HostMemory
        | Held::HostCpus
        | Held::HostGpus
        | Held::HostDevices
        | Held::HostReserved
        | Held::NoNode => false,
    }
}

/// A runner's host and container, for the fields that show which job ran where.
#[derive(Default)]
struct RunnerLocation<'a> {
    host: Option<&'a str>,
    container: Option<&'a str>,
    registration: Option<u64>,
}

impl<'a> RunnerLocation<'a> {
    fn of(status: &'a Status, runner: &str) -> Self {
        let place = |report: &'a RunnerReport| Self {
            host: report.host.as_ref().map(HostName::as_str),
            container: report.container_id.as_ref().map(ContainerId::short),
            registration: report.registration_id.map(|id| id.0),
        };
        status.runners.iter().find(|report| report.name.as_str() == runner).map(place).unwrap_or_default()
    }
}

/// A job for the message, in quotes that its name cannot close.
fn named(job: Option<&str>) -> String {
    job.map_or_else(|| "a job".to_owned(), |job| format!("job \"{}\"", job.replace('"', "'")))
}

/// A duration to a tenth of a second.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// A text as one line of bounded length.
fn one_line(text: &str) -> String {
    escaped(&shortened(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_job_name_stays_on_its_line() {
        let line = one_line("build\r\n2026 ERROR forged\u{1b}[2J\u{202e}\u{85}\0");
        assert_eq!(line, "build\\r\\n2026 ERROR forged\\u{1b}[2J\\u{202e}\\u{85}\\u{0}");
        assert_eq!(one_line(&"x".repeat(1_000_000)).chars().count(), LONGEST + 1);
    }
}
