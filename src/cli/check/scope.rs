//! Checks each scope that pools register at.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    credential::Credentials,
    demand, grant, group, hook,
    report::Line,
    version,
    wording::{counted, github_error_text, refusal},
};
use crate::{
    clock,
    config::Config,
    fleet::{Pool, RunnerName, Scope, Target},
    github::{Client, Credential, CredentialKind, GithubError, Probe, Rate, RunnerRecord, TokenKind},
};

/// A clock that differs by more is reported: GitHub's tokens and limits depend on the time (P17).
const SKEW: i64 = 60;

/// The scopes of all pools, each once, in the order of the configuration.
pub(super) fn scopes(config: &Config) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for pool in &config.pools {
        if !scopes.contains(&pool.pool.scope) {
            scopes.push(pool.pool.scope.clone());
        }
    }
    scopes
}

/// What the check of a scope found out that other checks need.
pub(super) struct Seen {
    pub(super) scope: Scope,
    /// The name of the credential that it was seen with.
    pub(super) credential: String,
    /// The credential's budget; `None` where there is none.
    pub(super) rate: Option<Rate>,
    pub(super) runners: usize,
    /// How many delivery logs of webhooks are read.
    pub(super) hooks: usize,
}

/// The result of checking a scope.
pub(super) struct Inspected {
    pub(super) scope: Scope,
    pub(super) lines: Vec<Line>,
    /// What was found out; `None` if something failed before.
    pub(super) seen: Option<Seen>,
    /// A fault that it may share with other scopes.
    pub(super) fault: Option<Fault>,
}

/// A fault that several scopes may share.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// This GitHub cannot be reached.
    Unreachable(String),
    /// This GitHub rejects this credential.
    Unknown(String, String),
}

impl Fault {
    fn of(error: &GithubError, scope: &Scope, credential: &str) -> Option<Self> {
        match error {
            GithubError::Unreachable(_) => Some(Self::Unreachable(scope.site().to_owned())),
            // The edge's texts begin with the status code's answer.
            GithubError::Refused(text) if text.starts_with("GitHub answered 401") => {
                Some(Self::Unknown(scope.site().to_owned(), credential.to_owned()))
            }
            _ => None,
        }
    }
}

/// Checks a scope: whether it is visible, its runners, and what its pools need of it.
pub(super) async fn inspect(config: Arc<Config>, scope: Scope, credentials: Credentials) -> Inspected {
    let mut lines = Vec::new();
    let failed = match ask(&config, &scope, &credentials, &mut lines).await {
        Ok(seen) => return Inspected { scope, lines, seen: Some(seen), fault: None },
        Err(fault) => fault,
    };
    for pool in pools_of(&config, &scope) {
        let subject = format!("pool {:?}", pool.name.as_str());
        lines.push(Line::skip(subject, format_args!("scope {scope} cannot be checked")));
    }
    Inspected { scope, lines, seen: None, fault: failed }
}

fn pools_of<'c>(config: &'c Config, scope: &Scope) -> Vec<&'c Pool> {
    config.pools.iter().map(|pool| &pool.pool).filter(|pool| pool.scope == *scope).collect()
}

/// Runs all checks of a scope. Returns an error once the rest of them cannot be run.
async fn ask(
    config: &Config,
    scope: &Scope,
    credentials: &Credentials,
    lines: &mut Vec<Line>,
) -> Result<Seen, Option<Fault>> {
    let subject = format!("scope {scope}");
    let pools = pools_of(config, scope);
    let name = config.pools.iter().find(|pool| pool.pool.scope == *scope).map(|pool| &pool.credential);
    let Some((name, credential)) = name.and_then(|name| Some((name, credentials.get(name)?))) else {
        lines.push(Line::fail(subject, "its pools use a credential that is not configured", ""));
        return Err(None);
    };
    if credential.source().check().await.is_err() {
        lines.push(Line::skip(subject, format_args!("credential {name:?} cannot be used")));
        return Err(None);
    }
    let refused = |error: &GithubError| (refusal(&subject, scope, error), Fault::of(error, scope, name));
    let client = Client::new(scope.clone(), credential, Arc::new(|_| {})).map_err(|error| {
        lines.push(Line::fail(&subject, github_error_text(&error), ""));
        None
    })?;
    lines.extend(wrong_kind(&subject, scope, credential).await);
    // All the rest would fail for the same reason.
    let probe = client.probe().await.map_err(|error| {
        let (line, fault) = refused(&error);
        lines.push(line);
        fault
    })?;
    lines.push(Line::ok(&subject, format_args!("{} is visible", kind(scope))));
    lines.extend(grant::lines(&subject, scope, &pools, &probe, clock::wall().shown));
    lines.extend(about(&subject, &pools, &probe));
    lines.extend(addresses(&subject, &pools, &client).await);
    // The groups need the same permission.
    let runners = client.records().await.map_err(|error| {
        let (line, fault) = refused(&error);
        lines.push(line);
        fault
    })?;
    lines.push(listed(&subject, config, &probe, &runners));
    if !matches!(scope.target(), Target::Repository { .. }) {
        match client.groups().await {
            Ok(groups) => {
                for pool in &pools {
                    lines.extend(group::lines(&client, pool, &groups).await);
                }
            }
            Err(error) => lines.push(refusal(&subject, scope, &error)),
        }
    }
    lines.extend(version::inspect(config, &pools, &client, &runners).await);
    for pool in &pools {
        lines.extend(demand::lines(pool, &client).await);
    }
    let (checked, hooks) = hook::lines(&subject, scope, &pools, &client).await;
    lines.extend(checked);
    let runners = runners.len();
    Ok(Seen { scope: scope.clone(), credential: name.clone(), rate: probe.rate, runners, hooks })
}

/// Rejects kinds of tokens that GitHub does not accept for enterprises.
async fn wrong_kind(subject: &str, scope: &Scope, credential: &Credential) -> Option<Line> {
    let CredentialKind::Token(source) = &credential.source().kind else { return None };
    let kind = source.kind().await.ok()?;
    let is_classic = matches!(kind, TokenKind::Classic | TokenKind::Oauth | TokenKind::Unknown);
    (matches!(scope.target(), Target::Enterprise { .. }) && !is_classic).then(|| {
        Line::fail(
            subject,
            format_args!(
                "{source} provides {kind}, but only classic tokens can manage an enterprise's runners"
            ),
            "use a classic token with manage_runners:enterprise, or register at the organizations instead",
        )
    })
}

fn listed(subject: &str, config: &Config, probe: &Probe, runners: &[RunnerRecord]) -> Line {
    let is_ours = |runner: &&RunnerRecord| {
        RunnerName::parse(&runner.name).is_some_and(|name| name.instance() == config.instance.as_str())
    };
    let ours = runners.iter().filter(is_ours).count();
    let mut text =
        format!("its runners can be listed: {}, {ours} of this instance", counted(runners.len(), "runner"));
    if probe.token_scopes.is_none() && probe.app.is_none() {
        text.push_str("\nwhether this kind of token may also add runners shows at the first launch");
    }
    Line::ok(subject, text)
}

fn kind(scope: &Scope) -> &'static str {
    match scope.target() {
        Target::Organization { .. } => "the organization",
        Target::Enterprise { .. } => "the enterprise",
        Target::Repository { .. } => "the repository",
    }
}

/// Checks the scope itself, permissions aside.
fn about(subject: &str, pools: &[&Pool], probe: &Probe) -> Vec<Line> {
    let mut lines = Vec::new();
    if probe.public == Some(true) {
        let closed: Vec<_> =
            pools.iter().filter(|pool| !pool.allow_public).map(|pool| pool.name.as_str()).collect();
        lines.push(if closed.is_empty() {
            Line::ok(subject, "is a public repository, which allow_public = true allows")
        } else {
            Line::fail(
                subject,
                format_args!(
                    "is a public repository: anyone who opens a pull request may run code on these hosts, \
                     so without allow_public = true no jobs are accepted for {}",
                    closed.join(", ")
                ),
                "use a private repository; or require approval for all outside collaborators (Settings, \
                 Actions, \
                 General), read Security in the README, and set allow_public = true in the pool",
            )
        });
    }
    if let Some(skew) = probe.clock_skew.filter(|skew| skew.abs() > SKEW) {
        let direction = if skew > 0 { "ahead of" } else { "behind" };
        lines.push(Line::warn(
            subject,
            format_args!("this machine's clock is {} s {direction} GitHub's", skew.abs()),
            "enable time synchronization, such as chrony or systemd-timesyncd",
        ));
    }
    lines.extend(probe.rate.as_ref().and_then(|rate| budget(subject, rate)));
    lines
}

/// Checks for what was renamed or transferred since it was configured.
async fn addresses(subject: &str, pools: &[&Pool], client: &Client) -> Vec<Line> {
    let named: BTreeSet<&Scope> = pools.iter().flat_map(|pool| &pool.repositories).collect();
    for repository in named.iter().take(demand::TRIED) {
        // A scope that is not visible has a line of its own.
        let _ = client.identify(repository).await;
    }
    let moved = |configured: &Scope| {
        let now = client.identities().current(configured);
        (now != *configured).then(|| {
            let text = format!("{configured} was renamed or transferred: it is now {now}");
            Line::warn(
                subject,
                text,
                "change the URL in the configuration; until then GitHub's redirects are followed",
            )
        })
    };
    named.into_iter().chain([client.scope()]).filter_map(moved).collect()
}

fn budget(subject: &str, rate: &Rate) -> Option<Line> {
    let Rate { limit, remaining, reset_at, .. } = rate;
    let reset_at = clock::wall().timestamp(*reset_at);
    (*remaining < rate.reserve()).then(|| {
        Line::warn(
            subject,
            format_args!(
                "the token's rate limit is nearly exhausted: {remaining} of {limit} requests left \
                until {reset_at}"
            ),
            "give the daemon a token that nothing else uses; until then it polls less often and reserves \
             the rest for launching runners",
        )
    })
}
