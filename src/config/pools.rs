//! The pools: their names, scopes and policies.

use std::sync::Arc;
use std::{collections::BTreeMap, time::Duration};

use super::{
    caches, container,
    credentials::{FILE_OF_ITS_OWN, PASTED, check_kind, is_token},
    demand, devices,
    file::{self, File},
    findings::At,
    labels::{self, Labelled},
    model::{HostConfig, PoolConfig},
    pool_hosts,
    reading::Reading,
    registry::one_login_an_image,
    schedule::schedule,
    swarm,
    units::Time,
    wording::{did_you_mean, shown},
};
use crate::fleet::{InstanceId, MAX_POOL_AND_INSTANCE, Policy, Pool, PoolName, Scope, Target};

/// More runners than GitHub allows in one runner group.
const MAX_RUNNERS: u32 = 10_000;

/// The time limit of workflow jobs on GitHub's own runners, and of many on others.
const LONG_JOB: Duration = Duration::from_hours(6);

/// A pool as written, its index, and what could be read of its scope and labels.
type Written<'a> = (usize, &'a file::Pool, Option<Scope>, Option<labels::Folded>);

/// All valid pools.
pub(super) fn pools(
    reading: &Reading<'_>,
    file: &File,
    instance: Option<&InstanceId>,
    hosts: &[HostConfig],
    at: &At<'_>,
) -> Vec<PoolConfig> {
    if file.pool.is_empty() && !at.is_broken() {
        at.error("is missing", "write [[pool]] with name, url and labels");
    }
    let mut scopes = Vec::new();
    let mut pools = Vec::new();
    let mut first = BTreeMap::new();
    for (i, written) in file.pool.iter().enumerate() {
        let at = at.key(i);
        if let Some(name) = &written.name
            && let Some(earlier) = first.insert(name.as_str(), i)
        {
            at.key("name").error(
                format_args!("is already the name of pool number {}", earlier + 1),
                "give each pool a different name",
            );
        }
        let scope = at.key("url").required(
            written.url.as_deref(),
            "set url = \"https://github.com/ORGANIZATION\" or \"https://github.com/OWNER/REPOSITORY\"",
        );
        let scope = scope.and_then(|url| at.key("url").parsed::<Scope>(url, ""));
        let labels = at
            .key("labels")
            .required(written.labels.as_deref(), "write labels = [\"self-hosted\", \"linux\", \"x64\"]")
            .map(|labels| {
                labels::check(labels, demand::is_found_by_name(written), scope.as_ref(), &at.key("labels"))
            });
        scopes.push((i, written, scope.clone(), labels));
        let login = reading.registry_login(&written.container, &at.key("container"));
        if let Some((pool, credential)) = pool(reading, file, written, scope, instance, hosts, &at) {
            pools.push((i, PoolConfig { pool, credential, login }));
        }
    }
    let labelled: Vec<_> = scopes
        .iter()
        .filter_map(|(i, written, scope, labels)| {
            Some(Labelled {
                name: written.name.as_deref()?,
                scope: scope.as_ref()?,
                hosts: written.hosts().collect(),
                labels: labels.clone()?,
                at: at.key(i).key("labels"),
            })
        })
        .collect();
    labels::compare(&labelled);
    one_credential_a_scope(file, &scopes, at);
    one_login_an_image(&pools, at);
    caches::compare(&pools, at);
    pools.into_iter().map(|(_, pool)| pool).collect()
}

/// A scope is listed and changed with one credential: with two, one might not see what the other does.
fn one_credential_a_scope(file: &File, scopes: &[Written<'_>], at: &At<'_>) {
    let mut first: BTreeMap<&Scope, (&str, usize)> = BTreeMap::new();
    for (i, written, scope, _) in scopes {
        let Some(scope) = scope else { continue };
        let name = written.credentials.as_deref().unwrap_or("default");
        let (other, earlier) = *first.entry(scope).or_insert((name, *i));
        if other != name && !at.key(i).key("credentials").is_broken() {
            let pool = file.pool[earlier].name.as_deref().unwrap_or_default();
            at.key(i).key("credentials").error(
                format_args!(
                    "must be {other:?}, as in pool {pool:?}: pools with the same url must have the same \
                     credential"
                ),
                "set the same in both",
            );
        }
    }
}

fn pool(
    reading: &Reading<'_>,
    file: &File,
    written: &file::Pool,
    scope: Option<Scope>,
    instance: Option<&InstanceId>,
    hosts: &[HostConfig],
    at: &At<'_>,
) -> Option<(Pool, String)> {
    let name = name(written, instance, &at.key("name"));
    let credential = written.credentials.clone().unwrap_or_else(|| "default".to_owned());
    known_credential(file, &credential, at);
    check_kind(file, &credential, scope.as_ref(), &at.key("credentials"));
    let hosts = pool_hosts::hosts(file, written, hosts, at);
    let group = group(written, scope.as_ref(), &at.key("group"));
    let policy = policy(written, at);
    let template = reading.template(&written.container, &at.key("container"));
    caches::check_scope(&written.container.cache, scope.as_ref(), &at.key("container").key("cache"));
    for host in hosts.iter().flatten() {
        devices::fit(&template.devices, &host.host, &at.key("container"));
        if host.is_swarm() {
            swarm::refuse(&written.container, &template, &host.host.name, &at.key("container"));
            if let (Some(name), Some(instance)) = (&name, instance) {
                swarm::name(name, instance.as_str(), &at.key("name"));
            }
        }
        container::fits(&written.container, &template.total_resources(), &host.host, &at.key("container"));
    }
    if !hosts.iter().flatten().any(|host| host.is_swarm()) {
        swarm::without_effect(&written.container, &at.key("container"));
    }
    let demand = demand::demand(file, written, &policy, at);
    let repositories = demand::repositories(written, scope.as_ref(), demand, at);
    demand::without_effect(written, demand, at);
    let pool = Pool {
        name: name?,
        credential: limits_of(file, &credential, scope.as_ref()),
        scope: scope?,
        hosts: hosts?.iter().map(|host| host.host.name.clone()).collect(),
        placement: pool_hosts::placement(written, at),
        group,
        labels: written.labels.clone()?,
        demand,
        repositories,
        allow_public: written.allow_public,
        match_unlabelled: written.match_unlabelled,
        policy,
        template,
    };
    Some((pool, credential))
}

/// What GitHub's rate limit applies to for a pool. An App has limits for each account that it is installed
/// on.
fn limits_of(file: &File, credential: &str, scope: Option<&Scope>) -> Arc<str> {
    let is_app = file.credentials.get(credential).is_some_and(|written| written.app_id.is_some());
    let account = scope.filter(|_| is_app).and_then(|scope| scope.path().split('/').next());
    account.map_or_else(|| credential.into(), |account| format!("{credential}/{account}").into())
}

fn name(written: &file::Pool, instance: Option<&InstanceId>, at: &At<'_>) -> Option<PoolName> {
    let text = at.required(written.name.as_deref(), "write name = \"…\"")?;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let near: String = text.trim().chars().map(plain).collect();
    let hint = if near.parse::<PoolName>().is_ok() { format!("write {near:?}") } else { String::new() };
    let name: PoolName = at.parsed(text, &hint)?;
    let instance = instance?.as_str();
    let room = MAX_POOL_AND_INSTANCE - instance.len();
    at.require(
        text.len() <= room,
        format_args!(
            "has {} characters, but at most {room} fit into a runner's name beside instance {instance:?}",
            text.len()
        ),
        "shorten either",
    )
    .then_some(name)
}

fn known_credential(file: &File, name: &str, at: &At<'_>) {
    let at = at.key("credentials");
    let implied = file.credentials.is_empty() && name == "default";
    let broken =
        at.is_broken() || at.root("credentials").is_broken() || at.root("credentials").key(name).is_broken();
    if implied || broken || file.credentials.contains_key(name) {
        return;
    }
    if is_token(name) {
        at.error(PASTED, FILE_OF_ITS_OWN);
        return;
    }
    let known: Vec<&str> = file.credentials.keys().map(String::as_str).collect();
    at.error(format_args!("there is no [credentials.{}]", shown(name)), did_you_mean(name, &known));
}

fn group(written: &file::Pool, scope: Option<&Scope>, at: &At<'_>) -> String {
    let group = written.group.clone().unwrap_or_else(|| "Default".to_owned());
    at.require(!group.trim().is_empty(), "must not be empty", "leave it out for \"Default\"");
    let in_repository = matches!(scope.map(Scope::target), Some(Target::Repository { .. }));
    at.require(
        !in_repository || group.eq_ignore_ascii_case("Default"),
        "must be \"Default\": a repository has no other runner groups",
        "leave it out, or register at the organization",
    );
    group
}

fn policy(written: &file::Pool, at: &At<'_>) -> Policy {
    let usual = Policy::default();
    let time = |written: Option<Time>, usual: Duration| written.map_or(usual, |time| time.0);
    let max = written.max.unwrap_or(usual.max);
    let policy = Policy {
        min_idle: written.min_idle.unwrap_or(usual.min_idle),
        schedule: schedule(&written.schedule, max, &at.key("schedule")),
        max,
        priority: written.priority.unwrap_or(usual.priority),
        weight: pool_hosts::weight(written, usual.weight, at),
        idle_timeout: time(written.idle_timeout, usual.idle_timeout),
        idle_confirmation: time(written.idle_confirmation, usual.idle_confirmation),
        boot_timeout: time(written.boot_timeout, usual.boot_timeout),
        max_job_age: written.max_job_age.map_or(usual.max_job_age, |age| age.0),
    };
    let (at_max, at_min) = (at.key("max"), at.key("min_idle"));
    let readable = !at_max.is_broken() && !at_min.is_broken();
    if policy.max == 0 {
        at_max.error("must be at least 1", "remove the pool if it is not wanted");
    } else if policy.max > MAX_RUNNERS {
        at_max.error(format_args!("is too large: must be at most {MAX_RUNNERS}"), "");
    } else if readable && policy.max < policy.min_idle {
        let where_written = if written.max.is_some() { &at_max } else { &at_min };
        let text = if written.max.is_some() {
            format!("must not be below min_idle ({})", policy.min_idle)
        } else {
            format!("must not be above max ({})", policy.max)
        };
        where_written.error(text, "raise max or lower min_idle");
    }
    at.key("boot_timeout").require(
        policy.boot_timeout >= Duration::from_secs(1),
        "must be at least 1s",
        "a runner needs time to start",
    );
    if let Some(age) = policy.max_job_age {
        let at = at.key("max_job_age");
        if age.is_zero() {
            at.error("must not be zero", "write \"off\" for no limit");
        } else if age < LONG_JOB {
            at.warn(
                "is less than 6h, so jobs are stopped that GitHub would still let run",
                "set \"off\", or at least 6h",
            );
        }
    }
    policy
}
