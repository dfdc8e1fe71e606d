//! A runner on a volume, in an image that has none, as docs/how-to/runner-image.md describes it.

use bollard::{
    body_full,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use dayfly::{
    fleet::{Mount, Network, Pool, RegistrationId},
    host::{Host, Launch},
    simulator::{Job, Settings, Simulator},
};
use secrecy::SecretString;
use serde_json::json;

use super::stand::{Given, Stand};
use crate::{engines::TestEngine, shell_image, wire};

const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");
const DIRECTORY: &str = "/opt/actions-runner";

/// Starts as the real one does: in its own directory, which it writes to, with its programs in `bin` and their tools in
/// `externals`.
const RUN: &str = "#!/bin/sh
echo here > .runner || exit 8
read -r tool < ./externals/tool && [ \"$tool\" = node ] || exit 9
exec ./bin/Runner.Listener simulated-runner
";

/// The settings of the page.
fn settings() -> toml::Table {
    let page = include_str!("../../../docs/how-to/runner-image.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block =
        blocks.into_iter().find(|block| block.contains(DIRECTORY)).expect("the page has the settings");
    let file: toml::Table = block.parse().expect("the settings are TOML");
    file["pool"]["container"].as_table().unwrap().clone()
}

/// Unpacks a runner into the volume.
async fn fill(stand: &Stand, image: &str, volume: &str) {
    let mut archive = tar::Builder::new(Vec::new());
    let file = tar::EntryType::Regular;
    for directory in ["bin/", "externals/"] {
        shell_image::put(&mut archive, directory, tar::EntryType::Directory, 0o755, &[]);
    }
    shell_image::put(&mut archive, "run.sh", file, 0o755, RUN.as_bytes());
    shell_image::put(&mut archive, "externals/tool", file, 0o644, b"node\n");
    shell_image::put(&mut archive, "bin/Runner.Listener", file, 0o755, &std::fs::read(BINARY).unwrap());
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["/bin/sh".to_owned()]),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{volume}:{DIRECTORY}")]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = stand.engine.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let options = UploadToContainerOptionsBuilder::new().path(DIRECTORY).build();
    let body = body_full(archive.into_inner().unwrap().into());
    let uploaded = stand.engine.upload_to_container(&id, Some(options), body).await;
    // The image has a volume of its own.
    let options = RemoveContainerOptionsBuilder::new().v(true).build();
    stand.engine.remove_container(&id, Some(options)).await.unwrap();
    uploaded.unwrap();
}

#[tokio::test]
async fn runners_on_one_volume_serve_jobs_in_an_image_without_a_runner() {
    let at = TestEngine::usual();
    let stand = Stand::on(&at).await;
    let (image, volume) = (format!("{}-tools", stand.image), stand.image.clone());
    let root = shell_image::root_with(&["cp", "ln", "mkdir"], &[BINARY]);
    shell_image::import_root(&stand.engine, &image, "latest", root).await;
    fill(&stand, &image, &volume).await;

    let simulator = Simulator::start(at.reached_by(Settings::default())).await.unwrap();
    let settings = settings();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let mut pool: Pool = stand.pool_of(&image, "");
    let template = &mut pool.template;
    template.network = Network::Named("host".to_owned());
    template.command = settings["command"].as_array().unwrap().iter().map(text).collect();
    template.env =
        settings["env"].as_table().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let mount = text(&settings["mounts"][0]);
    assert!(mount.ends_with(&format!(":{DIRECTORY}:ro")), "{mount}");
    template.mounts = vec![Mount { source: volume, target: DIRECTORY.to_owned(), read_only: true }];

    let (mut containers, given) = (Vec::new(), Given::default());
    for number in 0..2 {
        simulator.enqueue(Job::new("acme", &["self-hosted"]).lasting(std::time::Duration::ZERO));
        let runner = stand.name();
        let body = json!({ "name": runner.as_str(), "runner_group_id": 1, "labels": ["self-hosted"] });
        let minted = wire::post(&simulator, "/orgs/acme/actions/runners/generate-jitconfig", &body).await;
        let jit = minted.json().unwrap()["encoded_jit_config"].as_str().unwrap().to_owned();
        let launch = Launch {
            registration: RegistrationId(number),
            image: &image,
            jit: &SecretString::from(jit),
            ..stand.launch(&runner, &pool, &given)
        };
        containers.push(stand.docker.launch(launch).await.unwrap());
    }
    let mut ends = Vec::new();
    for id in &containers {
        ends.push(stand.ended(id).await);
        stand.docker.remove(id).await.unwrap();
    }
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    stand.engine.remove_image(&image, Some(options), None).await.unwrap();
    for end in ends {
        assert_eq!(end.code, 0, "{}", end.log_tail);
        assert!(end.log_tail.contains("completed with result: Succeeded"), "{}", end.log_tail);
    }
    assert_eq!(simulator.snapshot().succeeded, 2);
}
