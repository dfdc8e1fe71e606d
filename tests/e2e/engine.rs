//! What the tests themselves ask of the engine: the image, which containers there are, and the
//! clearing away of everything that a test has made.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::UNIX_EPOCH,
};

use bollard::{
    Docker,
    errors::Error,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions,
        ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
        RemoveContainerOptions, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        RemoveVolumeOptions, TagImageOptionsBuilder,
    },
};
use bytes::Bytes;
use dayfly::{
    host::{
        LABEL_ATTACHMENT, LABEL_INSTANCE, LABEL_POOL, LABEL_REGISTRATION, LABEL_RUNNER,
        own_image::{self, OwnImage},
    },
    simulator::image,
};
use futures_util::TryStreamExt as _;

use crate::{
    engines::{self, TestEngine},
    shell_image,
};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");

/// Label of what a test makes beside the daemon; its value is the test's instance.
pub(crate) const LABEL_TEST: &str = "dev.dayfly.test";

/// The image of simulated runners.
const RUNNER: OwnImage = OwnImage { repository: image::REPOSITORY, changes: &[] };

/// Repository of the tags under which tests use the image, each by its own.
pub(crate) const REPOSITORY: &str = "dayfly-e2e";

/// A container of a daemon under test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) runner: String,
    pub(crate) pool: String,
    pub(crate) registration: u64,
    /// The engine's word: `created`, `running`, `exited`.
    pub(crate) state: String,
}

pub(crate) async fn connect(at: &TestEngine) -> Docker {
    let socket = &at.socket;
    let docker = Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION);
    let docker =
        docker.unwrap_or_else(|error| panic!("these tests need a Docker Engine at {socket}: {error}"));
    if let Err(error) = engines::readable(async || docker.ping().await).await {
        panic!("these tests need a Docker Engine at {socket}: {error}");
    }
    docker
}

/// All containers of an instance, by name of their runner.
pub(crate) async fn containers(docker: &Docker, instance: &str) -> Vec<Container> {
    let filter = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    let listed = engines::list_containers(docker, options).await.unwrap();
    let mut containers: Vec<_> = listed
        .into_iter()
        .filter_map(|listed| {
            let labels = listed.labels.unwrap_or_default();
            (!labels.contains_key(LABEL_ATTACHMENT)).then(|| Container {
                id: listed.id.unwrap(),
                runner: labels[LABEL_RUNNER].clone(),
                pool: labels[LABEL_POOL].clone(),
                registration: labels[LABEL_REGISTRATION].parse().unwrap(),
                state: listed.state.unwrap().to_string(),
            })
        })
        .collect();
    containers.sort_by(|a, b| a.runner.cmp(&b.runner));
    containers
}

/// The ids of the sidecars and networks of an instance.
pub(crate) async fn attachments(docker: &Docker, instance: &str) -> BTreeSet<String> {
    let labels = vec![format!("{LABEL_INSTANCE}={instance}"), LABEL_ATTACHMENT.to_owned()];
    let filter = HashMap::from([("label", labels)]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    let sidecars = engines::list_containers(docker, options).await.unwrap();
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    let networks = docker.list_networks(Some(options)).await.unwrap();
    let networks = networks.into_iter().filter_map(|network| network.id);
    sidecars.into_iter().filter_map(|sidecar| sidecar.id).chain(networks).collect()
}

/// Sees to it that there is an image of simulated runners under a tag of this test's own.
pub(crate) async fn image(docker: &Docker, instance: &str) -> String {
    let _turn = turn();
    let reference = RUNNER.ensure(docker, &binary()).await.unwrap();
    tag(docker, &reference, instance).await
}

/// Gives an image one more name, which goes with the instance that begins it.
pub(crate) async fn tag(docker: &Docker, reference: &str, tag: &str) -> String {
    let options = TagImageOptionsBuilder::new().repo(REPOSITORY).tag(tag).build();
    docker.tag_image(reference, Some(options)).await.unwrap();
    format!("{REPOSITORY}:{tag}")
}

/// Sees to it that there is an image of simulated runners that has a shell, under a tag of this test's own.
pub(crate) async fn image_with_shell(docker: &Docker, instance: &str) -> String {
    let (name, linked) = (format!("{instance}-shell"), [BINARY]);
    let mut root = shell_image::root_with(&["cat"], &linked);
    // More can be added before the two empty blocks at the end.
    root.truncate(root.len() - 1024);
    let mut archive = tar::Builder::new(root);
    let program = fs::read(BINARY).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "dayfly", &program[..]).unwrap();
    shell_image::import_root(docker, REPOSITORY, &name, archive.into_inner().unwrap()).await;
    format!("{REPOSITORY}:{name}")
}

/// The files of an image as a tar archive.
pub(crate) async fn files(docker: &Docker, image: &str) -> Vec<u8> {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["/dayfly".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let files: Vec<Bytes> = docker.export_container(&id).try_collect().await.unwrap();
    docker.remove_container(&id, None::<RemoveContainerOptions>).await.unwrap();
    files.concat()
}

/// Pulls an image as someone else.
pub(crate) async fn pull(docker: &Docker, image: &str) {
    let (name, tag) = image.rsplit_once(':').unwrap();
    let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
    docker.create_image(Some(options), None, None).try_collect::<Vec<_>>().await.unwrap();
}

/// The id of an image, if the engine has it.
pub(crate) async fn image_id(docker: &Docker, image: &str) -> Option<String> {
    match docker.inspect_image(image).await {
        Ok(found) => found.id,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Removes the images that were pulled from a registry into a repository with the instance in its name.
async fn forget_pulled(docker: &Docker, instance: &str) {
    let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
    let names = images.into_iter().flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests));
    let of_registry = |name: &String| name.contains(&format!("/runner-{instance}"));
    for name in names.filter(of_registry) {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = docker.remove_image(&name, Some(options), None).await;
        assert!(is_gone(&removed), "{removed:?}");
    }
}

/// Removes everything of an instance. The image itself goes with the last test that uses it.
pub(crate) async fn clear(at: &TestEngine, instance: &str) {
    let docker = connect(at).await;
    for label in [LABEL_INSTANCE, LABEL_TEST] {
        remove(&docker, "label", &format!("{label}={instance}")).await;
    }
    // Those that jobs make.
    remove(&docker, "name", &format!("^/?{instance}-")).await;
    forget_pulled(&docker, instance).await;
    let mut own = tags(&docker).await;
    own.retain(|tag| tag.contains(instance));
    // The image that all tests share has containers of those that are running.
    let shared = image_id(&docker, &format!("{REPOSITORY}:{instance}")).await;
    for tag in &own {
        if image_id(&docker, tag).await != shared {
            remove(&docker, "ancestor", tag).await;
        }
    }
    for (key, value) in [("label", format!("{LABEL_INSTANCE}={instance}")), ("name", instance.to_owned())] {
        let options = ListNetworksOptionsBuilder::new().filters(&HashMap::from([(key, vec![value])])).build();
        for network in docker.list_networks(Some(options)).await.unwrap() {
            docker.remove_network(&network.id.unwrap()).await.unwrap();
        }
    }
    for label in [LABEL_INSTANCE, LABEL_TEST] {
        let filter = HashMap::from([("label", vec![format!("{label}={instance}")])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
        for volume in docker.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default() {
            docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await.unwrap();
        }
    }
    let _turn = turn();
    // An image goes before those that it was built from, whose names are shorter.
    own.sort_by_key(|tag| Reverse(tag.len()));
    for tag in own {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = docker.remove_image(&tag, Some(options), None).await;
        assert!(is_gone(&removed), "{removed:?}");
    }
    if tags(&docker).await.is_empty() {
        // It is not in use now; the next test creates it again.
        let reference = RUNNER.ensure(&docker, &binary()).await.unwrap();
        // The engine may have gone on making a container for a daemon that was killed.
        remove(&docker, "ancestor", &reference).await;
        own_image::remove(&docker, &reference).await.unwrap();
    }
}

/// Removes all containers that a filter finds.
async fn remove(docker: &Docker, filter: &str, value: &str) {
    let filter = HashMap::from([(filter, vec![value.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    for container in engines::list_containers(docker, options).await.unwrap() {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = docker.remove_container(&container.id.unwrap(), Some(options)).await;
        assert!(is_gone(&removed), "{removed:?}");
    }
}

fn is_gone<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Ok(_) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }))
}

async fn tags(docker: &Docker) -> Vec<String> {
    let filter = HashMap::from([("reference", vec![REPOSITORY.to_owned()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filter).build();
    let images = docker.list_images(Some(options)).await.unwrap();
    let of_ours = |tag: &String| tag.starts_with(&format!("{REPOSITORY}:"));
    images.into_iter().flat_map(|image| image.repo_tags).filter(of_ours).collect()
}

/// One process at a time makes or removes the image. Waits for its turn.
fn turn() -> File {
    turn_of("image")
}

/// Waits until this process alone may do something.
pub(crate) fn turn_of(what: &str) -> File {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("e2e-{what}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.lock().unwrap();
    file
}

/// The binary with a mark at its end, so that its image is not that of the other tests, which
/// remove theirs while these are running.
pub(crate) fn binary() -> PathBuf {
    let modified = fs::metadata(BINARY).unwrap().modified().unwrap();
    let made = modified.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let marked = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dayfly-e2e-{made}"));
    if !marked.exists() {
        for old in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap() {
            let old = old.unwrap();
            if old.file_name().to_string_lossy().starts_with("dayfly-e2e-") {
                fs::remove_file(old.path()).unwrap();
            }
        }
        let part = marked.with_extension("part");
        fs::copy(BINARY, &part).unwrap();
        File::options().append(true).open(&part).unwrap().write_all(b"e2e").unwrap();
        fs::rename(part, &marked).unwrap();
    }
    marked
}
