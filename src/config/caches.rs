//! The caches of a pool's runners: `[[pool.container.cache]]`.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use super::{
    file::{self, CacheMode, Promote},
    findings::At,
    model::PoolConfig,
};
use crate::{
    fleet::{Cache, CacheStore, DeviceClass, DeviceCounts, HostName, Scope, Target, Template},
    host::is_of_dayfly,
};

/// The home of the official image's runner; also where its work folder is.
const RUNNER_FOLDER: &str = "/home/runner";

/// The folder of the official image's runner, and what it must have itself.
const RUNNER_PARTS: [&str; 3] = ["/home/runner/_work", "/home/runner/bin", "/home/runner/externals"];

/// Folders that the image must keep, also for the scripts that set a cache up as root.
const SYSTEM: [&str; 11] =
    ["/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/sbin"];

/// The data root of a Docker Engine.
const DOCKER_DATA: &str = "/var/lib/docker";

/// Where GitHub's own runners have their tools. Prebuilt ones expect this path.
const TOOL_CACHE: &str = "/opt/hostedtoolcache";

/// The variables by which the runner and actions find it.
const TOOL_CACHE_VARIABLES: [&str; 2] = ["RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY"];

/// The longest name of a source: with a runner's name and what else is in a volume's, it stays below the engine's limit.
const MAX_SOURCE: usize = 64;

/// Reads the caches into the template, with the variables and slots that they need.
pub(super) fn add(written: &[file::Cache], template: &mut Template, at: &At<'_>) {
    let mut targets: BTreeMap<String, usize> = BTreeMap::new();
    let mut sources: BTreeMap<String, usize> = BTreeMap::new();
    for (i, written) in written.iter().enumerate() {
        let at = at.key(i);
        let target = at
            .key("target")
            .required(written.target.as_deref(), "set target = \"/path/in/the/container\"")
            .and_then(|target| self::target(target, template, &at.key("target")));
        let source = at
            .key("source")
            .required(written.source.as_deref(), "set source = \"NAME\"; pools with the same name share it");
        let mode = at.key("mode").required(written.mode, "set mode = \"ro\", \"rw\" or \"slot\"");
        let store = source.zip(mode).and_then(|(source, mode)| store(source, mode, written.promote, &at));
        let (Some(target), Some(store)) = (target, store) else { continue };
        if let Some(earlier) = targets.insert(target.clone(), i) {
            at.key("target").error(
                format_args!("is already the target of cache number {}", earlier + 1),
                "give each cache a target of its own",
            );
        }
        if let Some(earlier) = sources.insert(store.source().to_owned(), i) {
            at.key("source").error(
                format_args!("is already the source of cache number {} of this pool", earlier + 1),
                "use another name",
            );
        }
        if let CacheStore::Slot(source) = &store {
            add_slot(&mut template.devices, source);
        }
        variables(&written.env, &target, template, &at.key("env"));
        template.caches.push(Cache { target, store });
    }
}

fn add_slot(devices: &mut DeviceCounts, source: &str) {
    devices.insert(DeviceClass::Slot(source.to_owned()), 1);
}

/// The target without trailing slashes, if a cache can be there.
fn target(text: &str, template: &Template, at: &At<'_>) -> Option<String> {
    let path = Path::new(text);
    let is_plain = path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !text.contains('\0');
    if !at.require(
        is_plain,
        "must be an absolute path in the container, without \"..\"",
        "for example \"/home/runner/.cache\"",
    ) {
        return None;
    }
    let path: std::path::PathBuf = path.components().collect();
    let docker = Path::new(DOCKER_DATA);
    if path.starts_with(docker) || docker.starts_with(&path) {
        at.error(
            format_args!(
                "must not contain {DOCKER_DATA} or be in it: two engines that share their data corrupt it"
            ),
            "cache images with a registry mirror instead",
        );
        return None;
    }
    // That of the command, where the image is another one.
    let folder = template.command.first().map(Path::new).and_then(Path::parent).filter(|of| of.is_absolute());
    let hidden = [Path::new(RUNNER_FOLDER)].into_iter().chain(folder).find(|of| of.starts_with(&path));
    if let Some(folder) = hidden {
        at.error(
            format_args!("hides the runner's own folder {}, so it could not start", folder.display()),
            "use a folder below it, or one elsewhere",
        );
        return None;
    }
    let of_image =
        SYSTEM.iter().find(|system| path.starts_with(system) || Path::new(system).starts_with(&path));
    if let Some(system) = of_image {
        at.error(
            format_args!("hides or changes {system}, which the image itself needs"),
            "use a folder of its own",
        );
        return None;
    }
    // Also below the work folder: the engine would make that, and it would be root's.
    if let Some(part) = RUNNER_PARTS.iter().find(|part| path.starts_with(part)) {
        at.error(
            format_args!("is in {part}, which belongs to the runner itself"),
            format_args!("use a folder elsewhere, for example \"{TOOL_CACHE}\" for tools"),
        );
        return None;
    }
    let path = path.to_str()?.to_owned();
    if template.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == path) {
        at.error("is already the target of one of the mounts", "remove one of them");
        return None;
    }
    Some(path)
}

fn store(source: &str, mode: CacheMode, promote: Option<Promote>, at: &At<'_>) -> Option<CacheStore> {
    if mode != CacheMode::Slot && promote.is_some() {
        at.key("promote").error("is only for mode = \"slot\"", "remove it, or use mode = \"slot\"");
        return None;
    }
    let at = at.key("source");
    if source.starts_with('/') && mode == CacheMode::Ro {
        return Some(CacheStore::ReadOnly(source.to_owned()));
    }
    if source.starts_with('/') {
        at.error(
            "is a path on the host, which only mode = \"ro\" can use",
            "use a name for a volume, or write the path into mounts",
        );
        return None;
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let sound = source.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && source.len() <= MAX_SOURCE
        && source.chars().all(plain);
    if !at.require(
        sound,
        format_args!(
            "must be a name of at most {MAX_SOURCE} lower-case letters, digits, \"-\", \"_\" and \".\", or with \
             mode = \"ro\" an absolute path on the host"
        ),
        "for example \"cargo\"",
    ) {
        return None;
    }
    // The volume of slot 3 of "cargo" has the name that "cargo-3" would have.
    let number = source.rsplit_once('-').map(|(_, last)| last);
    let is_number = |last: &str| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if !at.require(
        !number.is_some_and(is_number),
        "must not end in \"-\" and a number: the slots of a cache are named so",
        "for example \"cargo2\" instead of \"cargo-2\"",
    ) {
        return None;
    }
    let source = source.to_owned();
    Some(match (mode, promote.unwrap_or_default()) {
        (CacheMode::Ro, _) => CacheStore::ReadOnly(source),
        (CacheMode::Rw, _) => CacheStore::Shared(source),
        (CacheMode::Slot, Promote::Never) => CacheStore::Slot(source),
        (CacheMode::Slot, Promote::Trusted) => CacheStore::Promoted(source),
    })
}

/// Sets the variables that name the target.
fn variables(names: &[String], target: &str, template: &mut Template, at: &At<'_>) {
    let mut set = |name: &str, at: Option<&At<'_>>| match (template.env.get(name), at) {
        (Some(other), Some(at)) if other != target => {
            at.error("is set to another value in env of [pool.container]", "remove one of them");
        }
        (Some(_), _) => {}
        (None, _) => _ = template.env.insert(name.to_owned(), target.to_owned()),
    };
    for (i, name) in names.iter().enumerate() {
        let at = at.key(i);
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if at.require(
            !name.is_empty() && name.chars().all(in_name) && !is_of_dayfly(name),
            "must be the name of an environment variable that Dayfly does not set itself",
            "for example \"CARGO_HOME\"",
        ) {
            set(name, Some(&at));
        }
    }
    if target == TOOL_CACHE {
        for name in TOOL_CACHE_VARIABLES {
            set(name, None);
        }
    }
}

/// A base is made from one repository's jobs and for them: a runner gets its copy before GitHub decides which job it
/// takes, so runners of other scopes could get what another repository left.
pub(super) fn check_scope(written: &[file::Cache], scope: Option<&Scope>, at: &At<'_>) {
    let of_one = matches!(scope.map(Scope::target), None | Some(Target::Repository { .. }));
    for (i, written) in written.iter().enumerate() {
        at.key(i).key("promote").require(
            of_one || written.promote != Some(Promote::Trusted),
            "\"trusted\" needs a pool of one repository: a runner gets its copy before its job is known, and with \
             several repositories one could poison the cache of another",
            "register the pool at the repository, or use \"never\"",
        );
    }
}

/// Records where two pools use one source of a host in ways that do not go together. Reading what others write does.
pub(super) fn compare(pools: &[(usize, PoolConfig)], at: &At<'_>) {
    let mut first: BTreeMap<(&HostName, &str), (&PoolConfig, &CacheStore)> = BTreeMap::new();
    for (i, pool) in pools {
        let caches = pool.pool.template.caches.iter().enumerate();
        for (host, (n, cache)) in
            pool.pool.hosts.iter().flat_map(|host| caches.clone().map(move |c| (host, c)))
        {
            let key = (host, cache.store.source());
            let (other, store) = *first.entry(key).or_insert((pool, &cache.store));
            let plain = |store: &CacheStore| matches!(store, CacheStore::ReadOnly(_) | CacheStore::Shared(_));
            let same = std::mem::discriminant(store) == std::mem::discriminant(&cache.store);
            if !(same || plain(store) && plain(&cache.store)) {
                at.key(i).key("container").key("cache").key(n).key("source").error(
                    format_args!(
                        "is used in another mode by pool {:?} on the same host",
                        other.pool.name.as_str()
                    ),
                    "use another name; only \"ro\" and \"rw\" can share one",
                );
            }
        }
    }
}
