//! The status document as text.

use bytesize::ByteSize;

use super::{
    wording::{MOST, age, reason},
    wrong::{last_failures, wrong},
};
use crate::{
    cli::terminal::{cell, table},
    fleet::{EgressVerdict, Phase, Timestamp, Unmatched},
    http::status_document::{
        DestinationEntry, HostEntry, JobEntry, NodeEntry, PoolEntry, PullEntry, RunnerEntry, ScopeEntry,
        StatusDocument,
    },
};

/// At most this many queued jobs are shown.
const JOBS_SHOWN: usize = 20;

/// At most this many refused destinations of a runner are shown.
const REFUSED_SHOWN: usize = 5;

/// Longer names of jobs are cut; other people choose them.
const JOB: usize = 60;

/// The whole page, with ages as of `now`.
pub(super) fn page(document: &StatusDocument<'_>, now: Timestamp) -> String {
    let StatusDocument {
        instance, version, started_at, draining, pools, runners, scopes, hosts, jobs, ..
    } = document;
    let mut head = format!(
        "dayfly {}, instance {}, up for {}",
        cell(version, MOST),
        cell(instance, MOST),
        age(*started_at, now)
    );
    if *draining {
        head.push_str(
            "\ndraining: no runner is launched, idle runners are removed, busy runners finish their jobs",
        );
    }
    let mut parts = vec![head, table(POOLS, pools.iter().map(pool))];
    parts.extend(wrong(document, now));
    if runners.is_empty() {
        parts.push("no runners".to_owned());
    } else {
        parts.push(table(RUNNERS, runners.iter().map(|one| runner(one, now))));
        parts.extend(refused(runners));
    }
    if !jobs.is_empty() {
        parts.push(table(JOBS, jobs.iter().take(JOBS_SHOWN).map(|one| job(one, now))));
        if jobs.len() > JOBS_SHOWN {
            parts.push(format!("and {} more queued jobs; --json shows them", jobs.len() - JOBS_SHOWN));
        }
    }
    parts.push(table(SCOPES, scopes.iter().map(|one| scope(one, now))));
    parts.push(table(HOSTS, hosts.iter().map(|one| host(one, now))));
    let nodes: Vec<_> = hosts.iter().flat_map(|host| host.nodes.iter().map(move |one| (host, one))).collect();
    if !nodes.is_empty() {
        parts.push(table(NODES, nodes.into_iter().map(|(host, one)| node(host, one))));
    }
    let pulls: Vec<_> = hosts.iter().flat_map(|host| host.pulls.iter().map(move |one| (host, one))).collect();
    if !pulls.is_empty() {
        parts.push(table(PULLS, pulls.into_iter().map(|(host, one)| pull(host, one, now))));
    }
    parts.extend(last_failures(&document.failures, now));
    parts.join("\n\n")
}

const POOLS: [&str; 8] = ["POOL", "URL", "HOST", "WANTED", "MIN IDLE", "MAX", "QUEUED", "RUNNERS"];

fn pool(pool: &PoolEntry<'_>) -> [String; 8] {
    let word = |phase: &Phase| {
        let count = pool.phases.of(*phase);
        (count > 0).then(|| format!("{count} {}", phase.as_str()))
    };
    let phases: Vec<_> = Phase::ALL.iter().filter_map(word).collect();
    [
        cell(&pool.name, MOST),
        cell(&pool.url, MOST),
        cell(&pool.hosts.join(", "), MOST),
        pool.desired.to_string(),
        pool.min_idle.to_string(),
        pool.max.to_string(),
        pool.queued.to_string(),
        if phases.is_empty() { "none".to_owned() } else { phases.join(", ") },
    ]
}

const RUNNERS: [&str; 8] = ["RUNNER", "PHASE", "FOR", "HOST", "CONTAINER", "ID", "JOB", "REPOSITORY"];

fn runner(runner: &RunnerEntry<'_>, now: Timestamp) -> [String; 8] {
    [
        cell(&runner.name, MOST),
        match runner.ending.as_ref().map(|ending| &ending.reason).or(runner.removal_reason.as_ref()) {
            Some(why) => format!("{} ({})", cell(&runner.phase, MOST), cell(why, MOST)),
            None => cell(&runner.phase, MOST),
        },
        age(runner.since, now),
        match (runner.host.as_deref(), runner.node.as_deref()) {
            (Some(host), Some(node)) => cell(&format!("{host}/{node}"), MOST),
            (host, _) => or_none(host, MOST),
        },
        or_none(runner.container_id.as_deref().map(|id| id.get(..12).unwrap_or(id)), 12),
        runner.registration_id.map_or_else(none, |id| id.to_string()),
        or_none(runner.job.as_deref(), JOB),
        or_none(runner.job_details.as_ref().map(|job| path(&job.repository)), MOST),
    ]
}

/// What the proxies of these runners have refused, one line for each runner.
fn refused(runners: &[RunnerEntry<'_>]) -> Option<String> {
    let lines: Vec<_> = runners.iter().filter_map(refused_of).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn refused_of(runner: &RunnerEntry<'_>) -> Option<String> {
    let is_refused = |to: &&DestinationEntry<'_>| to.verdict == EgressVerdict::Refused.as_str();
    let all: Vec<_> = runner.destinations.iter().filter(is_refused).collect();
    let shown: Vec<_> =
        all.iter().take(REFUSED_SHOWN).map(|to| format!("{}:{}", cell(&to.host, MOST), to.port)).collect();
    let more = match all.len().saturating_sub(REFUSED_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more; --json shows them"),
    };
    let runner = cell(&runner.name, MOST);
    (!shown.is_empty()).then(|| format!("runner {runner}: egress refused to {}{more}", shown.join(", ")))
}

const JOBS: [&str; 5] = ["QUEUED JOB", "REPOSITORY", "FOR", "LABELS", "POOL"];

fn job(job: &JobEntry<'_>, now: Timestamp) -> [String; 5] {
    let pool = match (&job.pool, &job.unmatched) {
        (Some(pool), _) => cell(pool, MOST),
        (None, Some(word)) => {
            let known = Unmatched::ALL.iter().find(|reason| reason.as_str() == word);
            format!("none: {}", known.map_or_else(|| cell(word, MOST), |reason| reason.in_words().to_owned()))
        }
        (None, None) => none(),
    };
    [
        cell(&job.name, JOB),
        cell(path(&job.repository), MOST),
        age(job.queued_at, now),
        or_none(Some(&job.labels.join(", ")), JOB),
        pool,
    ]
}

/// A repository's address without the host.
fn path(address: &str) -> &str {
    address.splitn(4, '/').nth(3).unwrap_or(address)
}

const SCOPES: [&str; 4] = ["SCOPE", "STATE", "LISTED", "RATE LIMIT LEFT"];

fn scope(scope: &ScopeEntry<'_>, now: Timestamp) -> [String; 4] {
    let left = scope.rate_limit.as_ref().map(|rate| format!("{} of {}", rate.remaining, rate.limit));
    [
        cell(&scope.url, MOST),
        state(scope.up, scope.last_listed_at, scope.trouble.is_some()).to_owned(),
        listed(scope.last_listed_at, now),
        left.unwrap_or_else(none),
    ]
}

const HOSTS: [&str; 7] = ["HOST", "STATE", "LISTED", "RUNNERS", "MEMORY RESERVED", "BLOCKED BY", "ENGINE"];

fn host(host: &HostEntry<'_>, now: Timestamp) -> [String; 7] {
    [
        cell(&host.name, MOST),
        state(host.up, host.last_listed_at, host.trouble.is_some()).to_owned(),
        listed(host.last_listed_at, now),
        host.runners.to_string(),
        match host.memory_committed {
            0 => none(),
            bytes => ByteSize(bytes).display().iec().to_string(),
        },
        host.blocked.as_deref().map_or_else(none, reason),
        match (host.endpoint.as_deref(), host.endpoint_source.as_deref()) {
            (Some(endpoint), Some(source)) => cell(&format!("{endpoint}, from {source}"), MOST),
            _ => none(),
        },
    ]
}

const NODES: [&str; 5] = ["NODE", "HOST", "STATE", "AVAILABILITY", "RUNNERS"];

fn node(host: &HostEntry<'_>, node: &NodeEntry<'_>) -> [String; 5] {
    let availability = cell(&node.availability, MOST);
    [
        cell(&node.name, MOST),
        cell(&host.name, MOST),
        if node.reachable { "ready" } else { "not reachable" }.to_owned(),
        if node.drain_requested { format!("{availability}, to be drained") } else { availability },
        node.runners.to_string(),
    ]
}

const PULLS: [&str; 5] = ["PULLING", "HOST", "FOR", "LAYERS", "DOWNLOADED"];

fn pull(host: &HostEntry<'_>, pull: &PullEntry<'_>, now: Timestamp) -> [String; 5] {
    let size = |bytes| ByteSize(bytes).display().iec().to_string();
    [
        cell(&pull.image, MOST),
        cell(&host.name, MOST),
        age(pull.since, now),
        if pull.layers == 0 { none() } else { format!("{} of {}", pull.layers_done, pull.layers) },
        match pull.bytes_known {
            0 => none(),
            known => format!("{} of {}", size(pull.bytes), size(known)),
        },
    ]
}

fn state(up: bool, listed_at: Option<Timestamp>, failed: bool) -> &'static str {
    match (up, listed_at, failed) {
        (true, _, _) => "up",
        (false, None, false) => "not listed yet",
        (false, _, _) => "down",
    }
}

fn listed(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(at, now)))
}

fn none() -> String {
    "-".to_owned()
}

fn or_none(text: Option<&str>, most: usize) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(none, |text| cell(text, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-22T12:00:00Z";

    fn shown(document: &serde_json::Value) -> String {
        let document = serde_json::from_value(document.clone()).unwrap();
        page(&document, "2026-11-22T15:05:09Z".parse().unwrap())
    }

    #[test]
    fn a_busy_fleet_is_shown_as_tables() {
        let text = shown(&serde_json::json!({
            "instance": "ci1", "version": "0.1.0", "started_at": NOON, "draining": false,
            "pools": [{"name": "linux", "url": "https://github.com/acme", "hosts": ["local"], "placement": "spread", "desired": 3,
                "min_idle": 1, "max": 10, "queued": 0, "phases": {"busy": 2, "idle": 1}, "held": null}],
            "runners": [{"name": "dayfly-linux-ci1-a", "pool": "linux", "phase": "busy",
                "registration_id": 23, "container_id": "0123456789abcdef", "host": "local",
                "since": "2026-11-22T15:04:00Z", "job": "build\x1b[2J",
                "job_details": {"repository": "https://github.com/acme/widgets"}}],
            "jobs": [{"name": "deploy", "repository": "https://github.com/acme/widgets",
                "queued_at": "2026-11-22T15:04:00Z", "labels": ["gpu"], "pool": null, "unmatched": "labels"}],
            "scopes": [{"url": "https://github.com/acme", "up": true, "last_listed_at": "2026-11-22T15:05:00Z",
                "rate_limit": {"limit": 5000, "remaining": 4990, "reset_at": NOON}}],
            "hosts": [{"name": "local", "engine": "docker", "endpoint": "unix:///run/docker.sock",
                "endpoint_source": "DOCKER_HOST", "up": true, "runners": 3,
                "last_listed_at": null, "memory_committed": 8_u64 << 30, "blocked": "host_memory"}],
            "another": 1,
        }));
        assert_eq!(
            text,
            "dayfly 0.1.0, instance ci1, up for 3h 5m\n\n\
             POOL   URL                      HOST   WANTED  MIN IDLE  MAX  QUEUED  RUNNERS\n\
             linux  https://github.com/acme  local  3       1         10   0       1 idle, 2 busy\n\n\
             RUNNER              PHASE  FOR    HOST   CONTAINER     ID  JOB             REPOSITORY\n\
             dayfly-linux-ci1-a  busy   1m 9s  local  0123456789ab  23  build\\u{1b}[2J  acme/widgets\n\n\
             QUEUED JOB  REPOSITORY    FOR    LABELS  POOL\n\
             deploy      acme/widgets  1m 9s  gpu     none: no pool has all of its labels\n\n\
             SCOPE                    STATE  LISTED  RATE LIMIT LEFT\n\
             https://github.com/acme  up     9s ago  4990 of 5000\n\n\
             HOST   STATE  LISTED  RUNNERS  MEMORY RESERVED  BLOCKED BY                             ENGINE\n\
             local  up     never   3        8.0 GiB          its host's memory budget is exhausted  unix:///run/docker.sock, from DOCKER_HOST"
        );
    }

    #[test]
    fn pulls_are_shown_below_their_hosts() {
        let text = shown(&serde_json::json!({
            "instance": "ci1", "version": "9", "started_at": NOON, "runners": [], "pools": [],
            "hosts": [{"name": "local", "up": true, "pulls": [
                {"image": "ghcr.io/acme/ci:1", "since": "2026-11-22T15:04:00Z", "layers_done": 3, "layers": 7,
                    "bytes": 30 << 20, "bytes_known": 100 << 20},
                {"image": "ghcr.io/acme/new", "since": "2026-11-22T15:05:08Z"}]}],
        }));
        assert!(
            text.ends_with(
                "PULLING            HOST   FOR    LAYERS  DOWNLOADED\n\
                 ghcr.io/acme/ci:1  local  1m 9s  3 of 7  30.0 MiB of 100.0 MiB\n\
                 ghcr.io/acme/new   local  1s     -       -"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_a_runners_proxy_refused_is_a_line_with_a_few_of_them() {
        let to = |n: u32, verdict: &str| serde_json::json!({"host": format!("h{n}\n.example"), "port": 443, "verdict": verdict, "requests": 1});
        let all: Vec<_> = (0..8).map(|n| to(n, if n == 0 { "allowed" } else { "refused" })).collect();
        let text = shown(&serde_json::json!({
            "instance": "ci1", "version": "0.1.0", "started_at": NOON, "pools": [],
            "runners": [{"name": "a", "phase": "busy", "since": NOON, "destinations": all},
                {"name": "b", "phase": "busy", "since": NOON, "destinations": [to(0, "audited")]}],
        }));
        assert!(
            text.contains(
                "\nrunner a: egress refused to h1\\n.example:443, h2\\n.example:443, h3\\n.example:443, \
                 h4\\n.example:443, h5\\n.example:443 and 2 more; --json shows them\n"
            ),
            "{text}"
        );
        assert!(!text.contains("runner b:"), "{text}");
    }

    #[test]
    fn why_launches_are_paused_is_shown_as_text_and_an_unknown_reason_as_it_is() {
        let pool = |name: &str, held: &str| serde_json::json!({"name": name, "url": "u", "hosts": ["h"], "placement": "spread", "desired": 1, "min_idle": 1, "max": 1, "held": held});
        let text = shown(&serde_json::json!({
            "instance": "ci1", "version": "9", "started_at": NOON, "draining": true, "runners": [],
            "pools": [pool("a", "image_missing"), pool("b", "bad_weather")],
        }));
        assert!(
            text.contains(
                "pool a: launches paused: its host does not have its image\npool b: launches paused: \
                 bad_weather\n"
            ),
            "{text}"
        );
        assert!(text.contains("draining: no runner is launched") && text.contains("no runners"), "{text}");
    }
}
