//! `dayfly check`: checks everything that a pool needs, in the order in which it is needed, and prints the
//! result of each check with a hint. Creates nothing on GitHub, and on a host only
//! what `--from-runners` asks for.

mod budget;
mod credential;
mod demand;
mod docker_socket;
mod engine;
mod grant;
mod group;
mod hook;
mod machine;
mod product;
mod report;
mod scope;
mod services;
mod surroundings;
mod swarm;
mod version;
mod wording;

use std::{collections::BTreeMap, future::Future, io::Write, path::Path, process::ExitCode, sync::Arc};

use tokio::task::JoinHandle;

use self::{
    report::{Form, Line, Lines, Verdict},
    wording::counted,
};
use super::{
    Check, Global,
    run::{runtime, start_logs},
};
use crate::config::{self, Config, Machine, Problem, Problems, Tokens};

pub(super) fn run(global: &Global, check: &Check) -> anyhow::Result<ExitCode> {
    // Failures are printed as lines of the result; logging them too would show each twice.
    start_logs(global, Some("off"))?;
    let mut lines = Lines::new(std::io::stdout().lock(), Form::of_stdout(check.json));
    if let Some(reading) = read(global, &mut lines)? {
        runtime()?.block_on(inspect(reading, check.from_runners, &mut lines))?;
    }
    Ok(ExitCode::from(lines.finish()?))
}

/// A configuration that the other checks can use.
struct Reading {
    config: Config,
    /// Its problems: only those of its tokens, since with others there is no configuration to check.
    problems: Vec<Problem>,
}

/// Reads the configuration and reports all of its problems. When only tokens are missing, the rest is still
/// checked.
fn read(global: &Global, lines: &mut Lines<impl Write>) -> anyhow::Result<Option<Reading>> {
    let path = match config::find(global.config.as_deref(), config::environment()) {
        Ok(path) => path,
        Err(problem) => {
            lines.report(failed(&problem))?;
            return Ok(None);
        }
    };
    let read = |tokens| config::load_for(&path, config::environment(), &Machine::here(), tokens);
    match read(Tokens::Needed) {
        Ok(config) => {
            valid(&path, &config, lines)?;
            Ok(Some(Reading { config, problems: Vec::new() }))
        }
        Err(Problems(problems)) => {
            for problem in &problems {
                lines.report(failed(problem))?;
            }
            let rest = read(Tokens::Unneeded).ok();
            Ok(rest.map(|config| Reading { config, problems }))
        }
    }
}

fn valid(path: &Path, config: &Config, lines: &mut Lines<impl Write>) -> anyhow::Result<()> {
    let (pools, hosts) = (counted(config.pools.len(), "pool"), counted(config.hosts.len(), "host"));
    let text = format!("{} is valid: instance {}, {pools}, {hosts}", path.display(), config.instance);
    lines.report(Line::ok(CONFIGURATION, text))?;
    for warning in &config.warnings {
        lines.report(Line::warn(CONFIGURATION, without_hint(warning), &warning.hint))?;
    }
    Ok(())
}

const CONFIGURATION: &str = "configuration";

fn failed(problem: &Problem) -> Line {
    Line::fail(CONFIGURATION, without_hint(problem), &problem.hint)
}

/// A problem in one line, without its hint, which becomes the line's.
fn without_hint(problem: &Problem) -> String {
    Problem { hint: String::new(), ..problem.clone() }.to_string()
}

/// Checks hosts and scopes concurrently, and reports the results in a fixed order.
async fn inspect(reading: Reading, from_runners: bool, lines: &mut Lines<impl Write>) -> anyhow::Result<()> {
    let Reading { config, problems } = reading;
    let config = Arc::new(config);
    let mut tasks = Vec::new();
    for at in 0..config.hosts.len() {
        tasks.push(begin(engine::inspect(config.clone(), at, from_runners)));
    }
    let credentials = credential::credentials(&config);
    tasks.push(begin(credential::tokens(credentials.clone(), problems)));
    let scopes = scope::scopes(&config).into_iter();
    let scopes: Vec<_> = scopes
        .map(|scope| tokio::spawn(scope::inspect(config.clone(), scope, credentials.clone())))
        .collect();
    let machine = begin(machine::inspect(config.clone()));
    for task in tasks {
        report_all(lines, task.await?)?;
    }
    let (mut seen, mut faults) = (Vec::new(), BTreeMap::new());
    for task in scopes {
        let mut inspected = task.await?;
        if let Some(fault) = inspected.fault {
            match faults.get(&fault) {
                // A fault that several scopes share counts as one failure.
                Some(first) => {
                    for line in inspected.lines.iter_mut().filter(|line| line.verdict == Verdict::Fail) {
                        *line = Line::skip(
                            &line.subject,
                            format_args!("fails for the same reason as scope {first}"),
                        );
                    }
                }
                None => drop(faults.insert(fault, inspected.scope)),
            }
        }
        report_all(lines, inspected.lines)?;
        seen.extend(inspected.seen);
    }
    report_all(lines, budget::lines(&config, &seen))?;
    report_all(lines, machine.await?)
}

fn report_all(lines: &mut Lines<impl Write>, checked: Vec<Line>) -> anyhow::Result<()> {
    for line in checked {
        lines.report(line)?;
    }
    Ok(())
}

fn begin(check: impl Future<Output = Vec<Line>> + Send + 'static) -> JoinHandle<Vec<Line>> {
    tokio::spawn(check)
}
