//! Log lines for what passes report: each reads by itself and has fields to search by. Texts that
//! come from jobs are written on one line, whatever is in them.

use std::fmt::Write;

use tracing::{debug, info, warn};

use crate::fleet::{Event, Exit, Held, HostName, RunnerReport, Status, Veto};

/// The longest text from outside that a log line carries, in characters.
const LONGEST: usize = 800;

/// The longest word of a container's log that is shown: a JIT config or token that an image's
/// start script prints is longer.
const LONGEST_WORD: usize = 80;

/// Logs one event: INFO when something was done, WARN when something failed and will be tried
/// again. The status of the same pass tells where the runner is.
pub fn log_event(event: &Event, status: &Status) {
    match event {
        Event::Launched { pool, runner, why } => {
            let (place, reason) = (Place::of(status, runner.as_str()), why.as_str());
            info!(
                pool = %pool, runner = %runner, reason,
                host = place.host, container = place.container, registration = place.registration,
                "launched runner {runner} ({reason})"
            );
        }
        Event::LaunchFailed { pool, runner, trouble, streak } => {
            let detail = one_line(&trouble.detail);
            let reason = trouble.kind.as_str();
            if *streak <= 1 {
                warn!(
                    pool = %pool, runner = %runner, reason, streak,
                    "failed to launch a runner of pool {pool}, will try again: {detail}"
                );
            } else {
                debug!(
                    pool = %pool, runner = %runner, reason, streak,
                    "failed to launch a runner of pool {pool}, {streak} times in a row: {detail}"
                );
            }
        }
        Event::Ready { pool, runner, startup } => {
            let startup_seconds = startup.map(|startup| startup.as_secs_f64());
            info!(pool, runner = %runner, startup_seconds, "runner {runner} listens for jobs");
        }
        Event::Source { pool, source, trouble: Some(trouble) } => {
            let (detail, name) = (one_line(&trouble.detail), source.as_str());
            warn!(
                pool = %pool, source = name, reason = trouble.kind.as_str(),
                "pool {pool} cannot learn of waiting jobs by {name}, what runs is kept: {detail}"
            );
        }
        Event::Source { pool, source, trouble: None } => {
            let name = source.as_str();
            info!(pool = %pool, source = name, "pool {pool} learns of waiting jobs by {name}");
        }
        Event::Adopted { pool, runner } => {
            let place = Place::of(status, runner.as_str());
            info!(
                pool, runner = %runner, host = place.host, container = place.container,
                registration = place.registration, "adopted runner {runner}, which was there before"
            );
        }
        Event::JobStarted { .. }
        | Event::JobKnown { .. }
        | Event::JobUnmatched { .. }
        | Event::JobStuck { .. } => log_job(event, status),
        Event::Exited { .. } => log_exit(event, status),
        Event::Removed { pool, runner, why } => {
            info!(pool, runner = %runner, reason = why.as_str(), "removed runner {runner} ({})", why.as_str());
        }
        Event::Elsewhere { runners, example } => warn!(
            runners, %example,
            "runners of this instance are online at GitHub and run on none of the configured hosts; either a host left \
             the configuration, or a second installation has the same instance id (a cloned machine): then set \
             `instance` to another word in one of the two"
        ),
        Event::Vetoed { pool, runner, veto: Veto::Unanswered } => {
            let reason = Veto::Unanswered.as_str();
            warn!(pool, runner = %runner, reason, "runner {runner} stays for now: nobody could say whether it has a job");
        }
        Event::Vetoed { pool, runner, veto } => {
            info!(pool, runner = %runner, reason = veto.as_str(), "runner {runner} stays ({})", veto.as_str());
        }
        Event::Scope { scope, trouble: Some(trouble) } => {
            let detail = one_line(&trouble.detail);
            warn!(scope = %scope, reason = trouble.kind.as_str(), "failed to list the runners of {scope}, nothing of it is removed meanwhile: {detail}");
        }
        Event::Scope { scope, trouble: None } => {
            info!(scope = %scope, "the runners of {scope} can be listed");
        }
        Event::Host { host, trouble: Some(trouble) } => {
            let detail = one_line(&trouble.detail);
            warn!(host = %host, reason = trouble.kind.as_str(), "failed to list the containers of host {host}, nothing of it is removed meanwhile: {detail}");
        }
        Event::Host { host, trouble: None } => {
            info!(host = %host, "the containers of host {host} can be listed");
        }
        Event::Held { pool, held: Some(held), detail } => {
            let reason = held.as_str();
            let why =
                if detail.is_empty() { reason.to_owned() } else { format!("{reason}: {}", one_line(detail)) };
            if is_trouble(*held) {
                warn!(pool = %pool, reason, "pool {pool} is held back, {why}");
            } else {
                info!(pool = %pool, reason, "pool {pool} is held back, {why}");
            }
        }
        Event::Held { pool, held: None, .. } => {
            info!(pool = %pool, "pool {pool} is not held back any more");
        }
    }
}

/// What happens to a job before its end.
fn log_job(event: &Event, status: &Status) {
    match event {
        Event::JobStarted { pool, runner, job } => {
            let place = Place::of(status, runner.as_str());
            let job = job.as_deref().map(one_line);
            info!(
                pool, runner = %runner, job,
                host = place.host, container = place.container, registration = place.registration,
                "runner {runner} took {}", named(job.as_deref())
            );
        }
        Event::JobKnown { pool, runner, facts, queued } => {
            let place = Place::of(status, runner.as_str());
            let (repository, name) = (facts.repository.path(), one_line(&facts.name));
            info!(
                pool, runner = %runner, job = name, repository, run = facts.run_id, url = one_line(&facts.url),
                queued_seconds = queued.map(|queued| queued.as_secs_f64()),
                host = place.host, container = place.container, registration = place.registration,
                "runner {runner} has {} of {repository}", named(Some(&name))
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
                "{} waits although pool {pool} has a runner idle: {}", named(Some(&name)), one_line(detail)
            );
        }
        _ => {}
    }
}

/// The one line at a runner's end: which job it had, how long, how both ended.
fn log_exit(event: &Event, status: &Status) {
    let Event::Exited { pool, runner, reason, exit, job, facts, job_duration, result } = event else {
        return;
    };
    let place = Place::of(status, runner.as_str());
    let had_job = job.is_some() || job_duration.is_some();
    let job = job.as_deref().map(one_line);
    let repository = facts.as_ref().map(|facts| facts.repository.path());
    let run = facts.as_ref().map(|facts| facts.run_id);
    let result = result.as_deref().map(one_line);
    let job_seconds = job_duration.map(|duration| duration.as_secs_f64());
    let exit_code = exit.as_ref().map(|exit| exit.code);
    let out_of_memory = exit.as_ref().map(|exit| exit.out_of_memory);
    let after = if had_job { format!(" after {}", named(job.as_deref())) } else { String::new() };
    let failure = reason.is_failure();
    let reason = reason.as_str();
    if failure {
        // A job's output stays out of our log; how a runner failed to become one does not.
        let log = exit.as_ref().filter(|_| !had_job).and_then(last_words);
        warn!(
            pool, runner = %runner, reason, job, repository, run, result, job_seconds, exit_code, out_of_memory, log,
            host = place.host, container = place.container, registration = place.registration,
            "runner {runner} ended{after}: {reason}"
        );
    } else {
        info!(
            pool, runner = %runner, reason, job, repository, run, result, job_seconds, exit_code, out_of_memory,
            host = place.host, container = place.container, registration = place.registration,
            "runner {runner} ended{after}: {reason}"
        );
    }
}

/// Whether a hold is a fault that somebody may have to mend, rather than a limit at work.
fn is_trouble(held: Held) -> bool {
    match held {
        Held::HostUnreachable
        | Held::RateLimited
        | Held::ImageMissing
        | Held::VersionDeprecated
        | Held::RegistrationLimit
        | Held::Refused
        | Held::BackingOff
        | Held::SessionTaken
        | Held::HostDisk => true,
        Held::ScopeUnseen
        | Held::HostUnseen
        | Held::NoSession
        | Held::Paced
        | Held::Draining
        | Held::AtMax
        | Held::HostFull
        | Held::HostMemory
        | Held::HostCpus => false,
    }
}

/// Where a runner is, for the fields that tell which job ran in which container.
#[derive(Default)]
struct Place<'a> {
    host: Option<&'a str>,
    container: Option<&'a str>,
    registration: Option<u64>,
}

impl<'a> Place<'a> {
    fn of(status: &'a Status, runner: &str) -> Self {
        let place = |report: &'a RunnerReport| Self {
            host: report.host.as_ref().map(HostName::as_str),
            container: report.container_id.as_ref().map(|id| &*id.0),
            registration: report.registration_id.map(|id| id.0),
        };
        status.runners.iter().find(|report| report.name.as_str() == runner).map(place).unwrap_or_default()
    }
}

/// For the message: in quotes that the name itself cannot close.
fn named(job: Option<&str>) -> String {
    job.map_or_else(|| "a job".to_owned(), |job| format!("job \"{}\"", job.replace('"', "'")))
}

/// The end of a container's log on one line; `None` when it is empty.
fn last_words(exit: &Exit) -> Option<String> {
    let short = |word: &str| match word.char_indices().nth(LONGEST_WORD) {
        Some(_) => "[long word]".to_owned(),
        None => word.to_owned(),
    };
    let words: Vec<String> = exit.log_tail.split_whitespace().map(short).collect();
    let text = words.join(" ");
    let start = text.char_indices().rev().nth(LONGEST - 1).map_or(0, |(at, _)| at);
    let end = one_line(&text[start..]);
    (!end.is_empty()).then_some(end)
}

/// A text as one line of bounded length: whoever names a job cannot forge a log line, move the
/// cursor of the terminal that shows it, or reverse its direction.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().take(LONGEST) {
        let directs =
            matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || directs {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Timestamp;

    #[test]
    fn a_hostile_job_name_stays_on_its_line() {
        let line = one_line("build\r\n2026 ERROR forged\u{1b}[2J\u{202e}\u{85}\0");
        assert_eq!(line, "build\\r\\n2026 ERROR forged\\u{1b}[2J\\u{202e}\\u{85}\\u{0}");
        assert_eq!(one_line(&"x".repeat(1_000_000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_secret_that_a_container_prints_is_not_among_its_last_words() {
        let jit = "e".repeat(3000);
        let exit = Exit {
            at: Timestamp::default(),
            ran: None,
            code: 1,
            out_of_memory: false,
            job: None,
            result: None,
            version_deprecated: false,
            log_tail: format!("starting\n+ JITCONFIG={jit}\n  no such file\n").into(),
        };
        assert_eq!(last_words(&exit).unwrap(), "starting + [long word] no such file");
        assert_eq!(last_words(&Exit { log_tail: "\n \n".into(), ..exit }), None);
    }
}
