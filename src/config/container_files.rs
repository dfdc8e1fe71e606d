//! The keys of a container that name files, devices and folders: on this machine, on the engine's, and in the
//! image. Whether the files exist is not an error here: it concerns one pool, and `check` reports it.

use std::path::{Path, PathBuf};

use super::{
    file::Container,
    findings::At,
    reading::Reading,
    unit::{Loaded, loaded},
    wording::quoted,
};
use crate::fleet::{Device, Hooks, Template};

/// What begins a security option with a profile, as `docker run --security-opt` takes it.
const SECCOMP: &str = "seccomp=";

/// Values of it that the engine knows by name.
const PROFILES: [&str; 2] = ["unconfined", "builtin"];

impl Reading<'_> {
    /// The path of a file on this machine that is read at each launch.
    pub(super) fn read_at_launch(&self, written: &str, at: &At<'_>) -> Option<PathBuf> {
        let prefixes = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"];
        if let Some(name) = prefixes.iter().find_map(|prefix| written.strip_prefix(prefix)) {
            return Some(match self.variable("CREDENTIALS_DIRECTORY") {
                Some(directory) => PathBuf::from(directory).join(name),
                // For a command outside of the unit (systemd.exec(5)).
                None => match loaded(&self.machine.unit_dirs, name) {
                    Some(Loaded::Plain(path) | Loaded::Encrypted(path)) => path,
                    None => PathBuf::from(written),
                },
            });
        }
        let sound = at.require(!written.is_empty(), "must not be empty", "leave it out")
            && self.is_plain(written, at);
        sound.then(|| self.base.join(written))
    }

    /// Reads the security options: a profile is read by the docker command, not by the engine, so it is kept
    /// apart.
    pub(super) fn security_options(&self, written: &Container, template: &mut Template, at: &At<'_>) {
        for (i, option) in written.security_opt.iter().enumerate() {
            let at = at.key(i);
            match option.strip_prefix(SECCOMP) {
                Some(profile) if !PROFILES.contains(&profile) && !profile.starts_with('{') => {
                    template.seccomp_profile = self.read_at_launch(profile, &at);
                }
                _ if at.require(!option.is_empty(), "must not be empty", "remove it") => {
                    template.security_opt.push(option.clone());
                }
                _ => {}
            }
        }
        if template.forbids_new_privileges() {
            at.warn(
                "has no-new-privileges: sudo fails in jobs, and the certificates of ca_file are not added to the image's",
                "",
            );
        }
    }
}

/// A path on the engine's machine.
fn on_the_host(written: Option<&String>, at: &At<'_>) -> Option<String> {
    let written = written?;
    let sound = if written.starts_with(['~', '$']) {
        at.require(false, "contains \"~\" or a variable, which only a shell expands", "write the full path")
    } else {
        let hint = "write the full path of a file on the engine's machine";
        at.require(written.starts_with('/') && !written.contains('\0'), "must be an absolute path", hint)
    };
    sound.then(|| written.clone())
}

/// Reads `ca_file`.
pub(super) fn ca_file(written: &Container, at: &At<'_>) -> Option<String> {
    on_the_host(written.ca_file.as_ref(), at)
}

/// Reads the hooks; the runner accepts scripts of these names only.
pub(super) fn hooks(written: &Container, at: &At<'_>) -> Hooks {
    let script = |key: &str, path: Option<&String>, variable: &str| {
        let (own, path) = (at.key(key), on_the_host(path, &at.key(key))?);
        own.require(
            !written.env.contains_key(variable),
            format_args!("sets {variable}, which is also in env"),
            "remove one of both",
        );
        own.require(
            Path::new(&path).extension().is_some_and(|extension| extension == "sh"),
            "must be the path of a shell script, *.sh",
            "",
        )
        .then_some(path)
    };
    let hooks = &written.hooks;
    Hooks {
        job_started: script("job_started", hooks.job_started.as_ref(), "ACTIONS_RUNNER_HOOK_JOB_STARTED"),
        job_completed: script(
            "job_completed",
            hooks.job_completed.as_ref(),
            "ACTIONS_RUNNER_HOOK_JOB_COMPLETED",
        ),
    }
}

/// Reads `SOURCE`, `SOURCE:TARGET` or `SOURCE:TARGET:PERMISSIONS`, the syntax of the docker command.
pub(super) fn devices(written: &Container, at: &At<'_>) -> Vec<Device> {
    let device = |(i, text): (usize, &String)| {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, permissions) = match parts[..] {
            [source] => (source, source, "rwm"),
            [source, target] => (source, target, "rwm"),
            [source, target, permissions] => (source, target, permissions),
            _ => ("", "", ""),
        };
        let sound = source.starts_with('/')
            && target.starts_with('/')
            && !permissions.is_empty()
            && permissions.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
        at.key(i)
            .require(
                sound,
                format_args!("{} is not a device", quoted(text)),
                "write \"/dev/kvm\", or \"SOURCE:TARGET:rwm\"",
            )
            .then(|| Device {
                source: source.to_owned(),
                target: target.to_owned(),
                permissions: permissions.to_owned(),
            })
    };
    written.devices.iter().enumerate().filter_map(device).collect()
}

/// Reads the folders that stay writable: by default the runner's own, where it puts its settings and jobs.
pub(super) fn writable(written: &Container, command: &[String], at: &At<'_>) -> Vec<String> {
    let at = at.key("writable");
    let Some(folders) = &written.writable else {
        if !written.read_only {
            return Vec::new();
        }
        let folder = command.first().and_then(|first| first.strip_suffix("/run.sh"));
        let folder = folder.filter(|folder| folder.starts_with('/') && folder.len() > 1);
        if folder.is_none() {
            at.error(
                "is missing: with read_only the runner must be able to write to its folder",
                "write writable = [\"/home/runner\"], or where the image has the runner",
            );
        }
        return folder.map(str::to_owned).into_iter().collect();
    };
    at.require(written.read_only, "has no effect without read_only", "set read_only = true, or remove it");
    let inside = |folder: &str| folder.starts_with('/') && folder.trim_end_matches('/').len() > 1;
    for (i, folder) in folders.iter().enumerate() {
        at.key(i).require(
            inside(folder) && !folder.contains("/../") && !folder.ends_with("/.."),
            "must be the absolute path of a folder of the image",
            "for example \"/home/runner\"",
        );
    }
    folders.clone()
}
