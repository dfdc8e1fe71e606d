//! `dayfly check`: looks at everything that a pool needs, in the order in which it is needed, and
//! says of each how it stands and how to mend it. Creates nothing on GitHub nor on a host.

mod around;
mod budget;
mod credential;
mod demand;
mod engine;
mod grant;
mod group;
mod hook;
mod scope;
mod version;

use std::{collections::BTreeMap, future::Future, io::Write, path::Path, process::ExitCode, sync::Arc};

use tokio::task::JoinHandle;

use super::{
    Check, Global,
    lines::{Form, Line, Lines, Verdict},
    run::{runtime, start_logs},
};
use crate::config::{self, Config, Machine, Problem, Problems, Tokens};

pub(super) fn run(global: &Global, check: &Check) -> anyhow::Result<ExitCode> {
    // What goes wrong is told in lines; a log would tell it twice.
    start_logs(global, Some("off"))?;
    let mut lines = Lines::new(std::io::stdout().lock(), Form::of_stdout(check.json));
    if let Some(reading) = read(global, &mut lines)? {
        runtime()?.block_on(look(reading, &mut lines))?;
    }
    Ok(ExitCode::from(lines.finish()?))
}

/// A configuration that can be worked with.
struct Reading {
    config: Config,
    /// What is wrong with it besides: with its tokens, or it could not be worked with.
    problems: Vec<Problem>,
}

/// Reads the configuration and tells all that is wrong with it. When only tokens are missing, the
/// rest can still be looked at.
fn read(global: &Global, lines: &mut Lines<impl Write>) -> anyhow::Result<Option<Reading>> {
    let path = match config::find(global.config.as_deref(), config::environment()) {
        Ok(path) => path,
        Err(problem) => {
            lines.tell(wrong(&problem))?;
            return Ok(None);
        }
    };
    let read = |tokens| config::load_for(&path, config::environment(), &Machine::here(), tokens);
    match read(Tokens::Needed) {
        Ok(config) => {
            sound(&path, &config, lines)?;
            Ok(Some(Reading { config, problems: Vec::new() }))
        }
        Err(Problems(problems)) => {
            for problem in &problems {
                lines.tell(wrong(problem))?;
            }
            let rest = read(Tokens::Unneeded).ok();
            Ok(rest.map(|config| Reading { config, problems }))
        }
    }
}

fn sound(path: &Path, config: &Config, lines: &mut Lines<impl Write>) -> anyhow::Result<()> {
    let (pools, hosts) = (counted(config.pools.len(), "pool"), counted(config.hosts.len(), "host"));
    let text = format!("{} is sound: instance {}, {pools}, {hosts}", path.display(), config.instance);
    lines.tell(Line::ok(CONFIGURATION, text))?;
    for warning in &config.warnings {
        lines.tell(Line::warn(CONFIGURATION, without_hint(warning), &warning.hint))?;
    }
    Ok(())
}

const CONFIGURATION: &str = "configuration";

fn wrong(problem: &Problem) -> Line {
    Line::fail(CONFIGURATION, without_hint(problem), &problem.hint)
}

/// A problem in one line; its hint is the line's mend.
fn without_hint(problem: &Problem) -> String {
    Problem { hint: String::new(), ..problem.clone() }.to_string()
}

/// Asks hosts and scopes all at once, and tells in a fixed order what they said.
async fn look(reading: Reading, lines: &mut Lines<impl Write>) -> anyhow::Result<()> {
    let Reading { config, problems } = reading;
    let config = Arc::new(config);
    let mut looks = Vec::new();
    for at in 0..config.hosts.len() {
        looks.push(begin(engine::look(config.clone(), at)));
    }
    let credentials = credential::credentials(&config);
    looks.push(begin(credential::tokens(credentials.clone(), problems)));
    let scopes = scope::scopes(&config).into_iter();
    let scopes: Vec<_> =
        scopes.map(|scope| tokio::spawn(scope::look(config.clone(), scope, credentials.clone()))).collect();
    let around = begin(around::look(config.clone()));
    for look in looks {
        tell_all(lines, look.await?)?;
    }
    let (mut seen, mut faults) = (Vec::new(), BTreeMap::new());
    for look in scopes {
        let mut looked = look.await?;
        if let Some(fault) = looked.fault {
            match faults.get(&fault) {
                // One fault is one failure.
                Some(first) => {
                    for line in looked.lines.iter_mut().filter(|line| line.verdict == Verdict::Fail) {
                        *line = Line::skip(&line.subject, format_args!("fails as scope {first} does"));
                    }
                }
                None => drop(faults.insert(fault, looked.scope)),
            }
        }
        tell_all(lines, looked.lines)?;
        seen.extend(looked.seen);
    }
    tell_all(lines, budget::lines(&config, &seen))?;
    tell_all(lines, around.await?)
}

fn tell_all(lines: &mut Lines<impl Write>, told: Vec<Line>) -> anyhow::Result<()> {
    for line in told {
        lines.tell(line)?;
    }
    Ok(())
}

fn begin(look: impl Future<Output = Vec<Line>> + Send + 'static) -> JoinHandle<Vec<Line>> {
    tokio::spawn(look)
}

/// `1 pool`, `2 pools`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is wrong, and on lines of their own what to do: the edges say "what; what to do".
fn with_fix(text: &str) -> (String, String) {
    match text.split_once("; ") {
        Some((what, fix)) => (what.to_owned(), fix.replace("; ", "\n")),
        None => (text.to_owned(), String::new()),
    }
}
