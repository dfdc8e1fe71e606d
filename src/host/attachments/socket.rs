//! `docker = "socket"`: jobs use the host's own engine. What they mount into containers are paths on the host, so the
//! whole runner is moved to a path that is the same there and in its container: that of a volume of its own.

use super::{
    Docker, HostError, Preparation, Prepared,
    installation::{BASE, COPY, Installation, runner_script},
    mounts::{bare_volume, bind},
    setup::Setup,
};
use crate::host::connect::Endpoint;

/// Where jobs, and the containers that the runner makes for them, expect the engine's socket.
const SOCKET: &str = "/var/run/docker.sock";

/// Where the setup container has the folder of all volumes: links between two of them need one mount.
const VOLUMES: &str = "/mnt/volumes";

/// Makes the runner's copy, with links to the files of the base, and prints the socket's group. Files are read-only:
/// a runner that changes one has to replace it, which leaves the base as it is.
const LINK: &str = r#"
home=$3
cp -al "$base/runner/." "$home/"
mkdir -p "$home/_work"
chmod 0777 "$home" "$home/_work"
stat -L -c %g /var/run/docker.sock
"#;

impl Docker {
    /// Makes the volume with the runner, and finds out the group of the engine's socket.
    pub(super) async fn make_socket(
        &self,
        of: &Preparation<'_>,
        path: Option<&str>,
        prepared: &mut Prepared,
    ) -> Result<(), HostError> {
        let template = &of.pool.template;
        let Some((position, script)) = runner_script(&template.command) else {
            return Err(HostError::Refused(format!(
                "docker = \"socket\" needs a command with the absolute path of the runner's run.sh, not {:?}",
                template.command
            )));
        };
        let installation =
            Installation { image: of.image, reference: &template.image, folder: script.folder };
        let home = self.make_volume(of.runner, "home").await?;
        let folder = folder_of_volumes(&home.mountpoint, &home.name)?;
        let base = self.base(&installation).await?;
        let inside = |volume: &str| format!("{VOLUMES}/{volume}/_data");
        let setup = Setup {
            image: of.image,
            script: &[COPY, LINK].concat(),
            arguments: vec![inside(base.name()), script.folder.to_owned(), inside(&home.name)],
            mounts: vec![
                bind(folder, VOLUMES),
                // Once more, so that the engine knows that it is in use.
                bare_volume(base.name(), BASE),
                bind(&self.host_socket(path), SOCKET),
            ],
        };
        let said =
            self.set_up(of.runner, setup).await.map_err(|error| explained(error, template, script.folder))?;
        let group = said.trim();
        if group.is_empty() || !group.bytes().all(|byte| byte.is_ascii_digit()) {
            let detail = format!("the group of the engine's socket is not a number: {group:?}");
            return Err(HostError::Failed { detail, source: None });
        }
        self.keep_base(base, &installation).await;
        let mut command = template.command.clone();
        command[position] = format!("{}/{}", home.mountpoint, script.file);
        prepared.command = Some(command);
        prepared.groups.push(group.to_owned());
        prepared.mounts.push(bare_volume(&home.name, &home.mountpoint));
        prepared.mounts.push(bind(&self.host_socket(path), SOCKET));
        Ok(())
    }

    /// The path of the engine's socket on its own machine.
    fn host_socket(&self, path: Option<&str>) -> String {
        match (path, &self.engine().endpoint) {
            (Some(path), _) => path.to_owned(),
            (None, Endpoint::Unix(path)) => path.to_string_lossy().into_owned(),
            (None, Endpoint::Tcp { .. } | Endpoint::Ssh(_)) => SOCKET.to_owned(),
        }
    }
}

/// The folder on the host that has all volumes, from the path of one: `FOLDER/NAME/_data`.
fn folder_of_volumes<'a>(mountpoint: &'a str, name: &str) -> Result<&'a str, HostError> {
    let folder = mountpoint.strip_suffix("/_data").and_then(|path| path.strip_suffix(name));
    folder.and_then(|path| path.strip_suffix('/')).filter(|path| path.starts_with('/')).ok_or_else(|| {
        HostError::Refused(format!(
            "docker = \"socket\" needs volumes that are folders on the host, and {name} is at {mountpoint:?}"
        ))
    })
}

/// Adds to a refusal what the setup needs.
fn explained(error: HostError, template: &crate::fleet::Template, folder: &str) -> HostError {
    match error {
        HostError::Refused(text) => HostError::Refused(format!(
            "cannot copy the runner for docker = \"socket\": {text}; it needs {folder}, sh, cp, find, mkdir, mv, rm, \
             chmod and stat in the image {}, and the engine's socket at docker_socket on the host",
            template.image
        )),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_volumes_follows_from_the_path_of_one() {
        let folder = folder_of_volumes("/var/lib/docker/volumes/a-home/_data", "a-home").unwrap();
        assert_eq!(folder, "/var/lib/docker/volumes");
        for odd in ["", "/_data", "a-home/_data", "/volumes/b-home/_data", "/x/aa-home/_data", "/x/a-home"] {
            assert!(folder_of_volumes(odd, "a-home").is_err(), "{odd}");
        }
    }
}
