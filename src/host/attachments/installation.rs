//! The base of runners that have a copy of their own: one volume for each image, with the files that all copies link
//! to. It belongs to no runner, and stays until its image is replaced or removed.

use ring::digest::{SHA256, digest};
use tokio::sync::MutexGuard;

use super::{Docker, HostError, Preparation, mounts::bare_volume, setup::Setup};
use crate::{
    fleet::Template,
    host::container::{LABEL_IMAGE, LABEL_INSTANCE, is_plain_name},
    text::chain,
};

/// Label: the id of the image that a base was copied from.
const LABEL_BASE: &str = "dev.dayfly.base";

/// Copies an installation to its base, if that is not complete. A rename makes it complete.
pub(super) const COPY: &str = r#"
set -e
base=$1 installation=$2
if [ ! -d "$base/runner" ]; then
  # Not the folder of a copy that a killed daemon has left running.
  read -r container </etc/hostname
  partial=$base/partial-$container
  rm -rf "$base"/partial-*
  mkdir "$partial"
  cp -a "$installation/." "$partial/"
  find "$partial" -type f -exec chmod a-w {} +
  mkdir -p "$partial/externals"
  mv -T "$partial" "$base/runner"
fi
"#;

/// The runner's own programs.
pub(super) struct Externals {
    /// Their folder on the host.
    pub(super) folder: String,
    /// The volume that it is in.
    pub(super) base: String,
}

/// Where a container that does not link to the base has it.
pub(super) const BASE: &str = "/mnt/base";

/// The script that starts the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunnerScript<'a> {
    pub(super) folder: &'a str,
    pub(super) file: &'a str,
}

/// The script in a command, and its position; other words may come before it.
pub(super) fn runner_script(command: &[String]) -> Option<(usize, RunnerScript<'_>)> {
    command.iter().enumerate().find_map(|(position, word)| {
        let (folder, file) = word.rsplit_once('/')?;
        let is_script = file == "run.sh" && folder.len() > 1 && folder.starts_with('/');
        is_script.then_some((position, RunnerScript { folder, file }))
    })
}

/// The folder of the runner in its container: that of its script, else that of the official image.
pub(super) fn runner_folder(template: &Template) -> &str {
    runner_script(&template.command).map_or("/home/runner", |(_, script)| script.folder)
}

/// A runner's installation in an image.
pub(super) struct Installation<'a> {
    /// Its image's id, and the reference by which that was found.
    pub(super) image: &'a str,
    pub(super) reference: &'a str,
    pub(super) folder: &'a str,
}

/// A base to link to. While it may be incomplete, nobody else has one.
pub(super) struct Base<'a> {
    name: String,
    /// Its folder on the host.
    mountpoint: String,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Base<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Docker {
    /// The base of an installation. Waits until nobody else copies one, if it may be incomplete.
    pub(super) async fn base(&self, of: &Installation<'_>) -> Result<Base<'_>, HostError> {
        let hash = hex::encode(digest(&SHA256, format!("{}\n{}", of.image, of.folder).as_bytes()));
        let name = format!("dayfly-{}-runner-{}", self.instance(), &hash[..12]);
        let turn = self.bases().turn_for(&name).await;
        let labels =
            [(LABEL_INSTANCE, self.instance().as_str()), (LABEL_BASE, of.image), (LABEL_IMAGE, of.reference)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        // It may have been removed as unused: it is checked each time.
        let mountpoint = self.create_volume(name.clone(), labels).await?.mountpoint;
        Ok(Base { name, mountpoint, turn })
    }

    /// The folder on the host with the runner's own programs, which it mounts into the containers of jobs; `None` where
    /// the template does not say where its runner is.
    pub(super) async fn externals(&self, of: &Preparation<'_>) -> Result<Option<Externals>, HostError> {
        let template = &of.pool.template;
        let Some((_, script)) = runner_script(&template.command) else { return Ok(None) };
        let installation =
            Installation { image: of.image, reference: &template.image, folder: script.folder };
        let base = self.base(&installation).await?;
        let folder = format!("{}/runner/externals", base.mountpoint);
        let externals = Externals { folder, base: base.name().to_owned() };
        if base.turn.is_some() {
            let setup = Setup {
                image: of.image,
                script: COPY,
                arguments: vec![BASE.to_owned(), script.folder.to_owned()],
                mounts: vec![bare_volume(base.name(), BASE)],
            };
            self.set_up(of.runner, setup).await?;
            self.keep_base(base, &installation).await;
        }
        Ok(Some(externals))
    }

    /// Records that a base is complete, and removes those that are of no use any more.
    pub(super) async fn keep_base(&self, base: Base<'_>, of: &Installation<'_>) {
        if base.turn.is_none() {
            return;
        }
        self.bases().add(&base.name);
        if let Err(error) = self.remove_old_bases(of).await {
            tracing::debug!(host = %self.engine().host, error = chain(&error), "failed to remove old copies of runners");
        }
    }

    /// Removes the bases whose image has been replaced by that of `of`, or no longer exists.
    async fn remove_old_bases(&self, of: &Installation<'_>) -> Result<(), HostError> {
        let labels = vec![format!("{LABEL_INSTANCE}={}", self.instance()), LABEL_BASE.to_owned()];
        for volume in self.volumes(labels).await? {
            let label = |key| volume.labels.get(key).map(String::as_str);
            let Some(image) = label(LABEL_BASE).filter(|image| *image != of.image) else { continue };
            let replaced = label(LABEL_IMAGE) == Some(of.reference);
            if !is_plain_name(&volume.name) || !replaced && self.image(image).await?.is_some() {
                continue;
            }
            match self.remove_volume(&volume.name).await {
                Ok(()) => self.bases().remove(&volume.name),
                // One that is in use is removed the next time.
                Err(fault) if fault.is(409) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }
}
