//! What `check` says of GitHub: the tokens, each scope that pools register at, and their groups.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::counted;
use crate::{
    cli::lines::Line,
    config::Config,
    fleet::{Pool, RunnerName, Scope, Target, Timestamp},
    github::{
        Client, Credential, CredentialKind, CredentialSource, GithubError, Probe, Rate, RunnerGroup,
        RunnerRecord,
    },
    host::chain,
};

/// A clock that differs by more is told: GitHub's tokens and limits go by time (P17).
const SKEW: i64 = 60;

/// A token that expires within this is told.
const EXPIRES_SOON: Duration = Duration::from_hours(7 * 24);

/// The configured credentials; scopes share them, because GitHub's limits are the credential's.
pub(super) type Credentials = Arc<BTreeMap<String, Credential>>;

pub(super) fn credentials(config: &Config) -> Credentials {
    let credential =
        |(name, source): (&String, &CredentialSource)| (name.clone(), Credential::new(source.clone()));
    Arc::new(config.credentials.iter().map(credential).collect())
}

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

/// Whether the tokens can be read; `told` when the configuration's own lines have their warnings.
pub(super) async fn tokens(credentials: Credentials, told: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, credential) in &*credentials {
        let subject = format!("credential {name:?}");
        let source = credential.source();
        match source.check().await {
            Ok(()) => lines.push(match &source.kind {
                CredentialKind::Token(_) => Line::ok(&subject, format_args!("{source} gives a token")),
                CredentialKind::App(_) => Line::ok(&subject, format_args!("{source} has a private key")),
            }),
            Err(error) => lines.push(Line::fail(&subject, plainly(&error), "")),
        }
        if let Some(warning) = source.warning().filter(|_| !told) {
            lines.push(Line::warn(&subject, warning, ""));
        }
    }
    lines
}

/// Looks at a scope: whether it can be seen, its runners, and the groups of its pools.
pub(super) async fn look(config: Arc<Config>, scope: Scope, credentials: Credentials) -> Vec<Line> {
    let subject = format!("scope {scope}");
    let pools: Vec<_> = config.pools.iter().filter(|pool| pool.pool.scope == scope).collect();
    let Some(credential) = pools.first().and_then(|pool| credentials.get(&pool.credential)) else {
        return vec![Line::fail(subject, "its pools name no known credential", "")];
    };
    if credential.source().check().await.is_err() {
        let name = &pools[0].credential;
        return vec![Line::fail(
            subject,
            format_args!("not asked, without a token of credential {name:?}"),
            "",
        )];
    }
    let client = match Client::new(scope.clone(), credential, Arc::new(|_| {})) {
        Ok(client) => client,
        Err(error) => return vec![Line::fail(subject, plainly(&error), "")],
    };
    let probe = match client.probe().await {
        Ok(probe) => probe,
        // All the rest would fail for the same reason.
        Err(error) => return vec![refusal(&subject, &scope, &error)],
    };
    let mut lines = vec![Line::ok(&subject, format_args!("{} can be seen", kind(&scope)))];
    lines.extend(about(&subject, &scope, &probe));
    match client.records().await {
        Ok(runners) => lines.push(listed(&subject, &config, &probe, &runners)),
        Err(error) => {
            // The groups need the same permission.
            lines.push(refusal(&subject, &scope, &error));
            return lines;
        }
    }
    if !matches!(scope.target(), Target::Repository { .. }) {
        match client.groups().await {
            Ok(groups) => lines.extend(pools.iter().map(|pool| group(&pool.pool, &groups))),
            Err(error) => lines.push(refusal(&subject, &scope, &error)),
        }
    }
    lines
}

fn listed(subject: &str, config: &Config, probe: &Probe, runners: &[RunnerRecord]) -> Line {
    let is_ours = |runner: &&RunnerRecord| {
        RunnerName::parse(&runner.name).is_some_and(|name| name.instance() == config.instance.as_str())
    };
    let ours = runners.iter().filter(is_ours).count();
    let mut text = format!(
        "its list of runners can be read: {}, {ours} of this instance",
        counted(runners.len(), "runner")
    );
    if probe.token_scopes.is_none() && probe.app.is_none() {
        text.push_str("\nwhether this kind of token may also add runners shows only with the first one");
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

/// What the look at the scope itself told.
fn about(subject: &str, scope: &Scope, probe: &Probe) -> Vec<Line> {
    let mut lines = Vec::new();
    let needed = match scope.target() {
        Target::Organization { .. } => "admin:org",
        Target::Enterprise { .. } => "manage_runners:enterprise",
        Target::Repository { .. } => "repo",
    };
    match &probe.token_scopes {
        Some(scopes) if !scopes.iter().any(|scope| scope == needed) => {
            let has = if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") };
            lines.push(Line::fail(
                subject,
                format_args!(
                    "the token lacks the scope {needed:?}, without which it can add no runner (it has: {has})"
                ),
                "tick it at the token's page under Settings, Developer settings, Tokens (classic)",
            ));
        }
        Some(_) => lines.push(Line::ok(subject, format_args!("the token has the scope {needed:?}"))),
        // Other kinds do not tell, and trying would create something.
        None => {}
    }
    if let Some(grant) = &probe.app {
        let id = grant.installation_id;
        lines.push(match &probe.app_lacks {
            None => Line::ok(subject, format_args!("the App's installation {id} may add runners")),
            Some(lacks) => Line::fail(
                subject,
                format_args!("the App's installation {id} lacks {lacks}, without which it can add no runner"),
                "set it in the App's settings, Permissions, and have an owner of the account approve it",
            ),
        });
    }
    if let Some(end) = probe.token_expires_at.filter(|end| end.since(now()) < EXPIRES_SOON) {
        lines.push(Line::warn(
            subject,
            format_args!("the token expires at {end}, and then nothing works any more"),
            "make a new one and put it in its place; the daemon takes it up without a restart",
        ));
    }
    if probe.public == Some(true) {
        lines.push(Line::warn(
            subject,
            "is a public repository: whoever opens a pull request may get to run code on these hosts",
            "use a private repository; or require approval for all outside collaborators (Settings, Actions, \
             General), and read Security in the README",
        ));
    }
    if let Some(skew) = probe.clock_skew.filter(|skew| skew.abs() > SKEW) {
        let direction = if skew > 0 { "ahead of" } else { "behind" };
        lines.push(Line::warn(
            subject,
            format_args!("this machine's clock is {} s {direction} GitHub's", skew.abs()),
            "switch on time synchronization, such as chrony or systemd-timesyncd",
        ));
    }
    lines.extend(probe.rate.as_ref().and_then(|rate| budget(subject, rate)));
    lines
}

fn budget(subject: &str, rate: &Rate) -> Option<Line> {
    let Rate { limit, remaining, reset_at, .. } = rate;
    (*remaining < rate.reserve()).then(|| {
        Line::warn(
            subject,
            format_args!("the token's rate limit is nearly used up: {remaining} of {limit} requests left until {reset_at}"),
            "the daemon keeps the rest for new runners and polls less; give it a token that nothing else uses",
        )
    })
}

/// The group of a pool, as the daemon would find it: "Default" is whichever GitHub marks so.
fn group(pool: &Pool, groups: &[RunnerGroup]) -> Line {
    let subject = format!("pool {:?}", pool.name.as_str());
    let wanted = pool.group.as_str();
    let same = groups.iter().find(|group| group.name.eq_ignore_ascii_case(wanted));
    let default = || groups.iter().find(|group| group.default && wanted.eq_ignore_ascii_case("default"));
    let Some(group) = same.or_else(default) else {
        let names: Vec<_> = groups.iter().map(|group| format!("{:?}", group.name)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Line::fail(
            subject,
            format_args!("there is no runner group {wanted:?}; the token sees: {names}"),
            "write one of these as group, or create it in the organization's settings, Actions, Runner groups",
        );
    };
    let name = format!("runner group {:?}", group.name);
    match (group.visibility.as_deref(), group.allows_public_repositories) {
        (Some("selected"), _) => Line::warn(
            subject,
            format_args!(
                "{name} serves only the repositories selected for it; jobs of all others stay queued"
            ),
            "see that yours are among them: the organization's settings, Actions, Runner groups",
        ),
        (_, Some(true)) => Line::warn(
            subject,
            format_args!(
                "{name} serves public repositories too: whoever opens a pull request there may get to run code \
                 on these hosts"
            ),
            "take \"Allow public repositories\" away in the organization's settings, Actions, Runner groups",
        ),
        (Some("private"), _) => Line::ok(subject, format_args!("{name} serves the private repositories")),
        (_, Some(false)) => Line::ok(
            subject,
            format_args!("{name} serves all repositories but public ones, whose jobs stay queued"),
        ),
        (_, None) => Line::ok(subject, format_args!("{name} is there")),
    }
}

/// An answer other than what was asked for, with the mend on a line of its own.
fn refusal(subject: &str, scope: &Scope, error: &GithubError) -> Line {
    match error {
        GithubError::RateLimited { until } => {
            let wait = until.since(now()).as_secs();
            let text = format!("not asked further: GitHub's rate limit allows it in {wait} s, at {until}");
            Line::warn(subject, text, "run this again then; the daemon waits by itself")
        }
        GithubError::Refused(text) => {
            // The edge says "what was refused for SCOPE: what to do".
            match text.split_once(&format!("{scope}: ")) {
                Some((refused, mend)) => {
                    // The subject names the scope already.
                    let refused =
                        [" of ", " at "].iter().find_map(|end| refused.strip_suffix(end)).unwrap_or(refused);
                    Line::fail(subject, refused, sentences(mend))
                }
                None => Line::fail(subject, text, ""),
            }
        }
        GithubError::Unreachable(_) => Line::fail(
            subject,
            chain(error),
            "check the address, the network, and any proxy or firewall between",
        ),
        _ => Line::fail(subject, chain(error), ""),
    }
}

/// One point of a mend a line.
fn sentences(mend: &str) -> String {
    mend.replace("; ", "\n")
}

/// The text of a refusal without the word itself.
fn plainly(error: &GithubError) -> String {
    match error {
        GithubError::Refused(text) => text.clone(),
        _ => chain(error),
    }
}

fn now() -> Timestamp {
    let millis = jiff::Timestamp::now().as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
}
