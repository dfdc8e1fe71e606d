//! The image of tests with a Docker Engine inside a container does what they rely on.

use std::time::{Duration, Instant};

use bollard::{
    Docker,
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, ExecConfig, HostConfig},
    query_parameters::{
        CreateContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::TryStreamExt as _;

use crate::{dind, engines::TestEngine, wire::DEADLINE};

/// Builds an image of what is in the container, runs it with a folder and a limit, and reaches this machine.
const USE: &str = r#"
set -e
cd "$(mktemp -d)"
cp /usr/bin/bash /usr/lib/*/libc.so.6 /usr/lib/*/libtinfo.so.6 .
loader=$(echo /usr/lib64/ld-linux*)
cp "$loader" .
printf 'FROM scratch\nCOPY bash /bin/bash\nCOPY libc.so.6 libtinfo.so.6 /lib/\n' >Dockerfile
printf 'COPY %s /lib64/\nRUN ["/bin/bash", "-c", "echo built"]\n' "${loader##*/}" >>Dockerfile
docker build --tag inner . >/dev/null 2>&1
docker run --rm --memory 50m --volume "$PWD:/folder" inner /bin/bash -c 'echo /folder/D*'
docker info --format '{{.Driver}}'
docker run --rm inner /bin/bash -c ': </dev/tcp/'"$1"'/'"$2"' && echo reached'
"#;

#[tokio::test]
async fn an_engine_in_a_container_builds_and_runs_and_reaches_this_machine() {
    let Some(at) = TestEngine::privileged("an engine in a container") else { return };
    let docker = Docker::connect_with_unix(&at.socket, 120, bollard::API_DEFAULT_VERSION).unwrap();
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();

    let began = Instant::now();
    let body = ContainerCreateBody {
        image: Some(dind::IMAGE.to_owned()),
        cmd: Some(vec!["dockerd".to_owned(), "--host=unix:///var/run/docker.sock".to_owned()]),
        host_config: Some(HostConfig { privileged: Some(true), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let used = async {
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        while run(&docker, &id, &["docker", "version"]).await?.0 != Some(0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let answered = began.elapsed();
        let (host, port) = (at.host.to_string(), port.to_string());
        run(&docker, &id, &["bash", "-c", USE, "use", &host, &port]).await.map(|end| (answered, end))
    };
    let used = tokio::time::timeout(DEADLINE * 3, used).await;
    let logs = LogsOptionsBuilder::new().stderr(true).tail("20").build();
    let logs: Vec<_> = docker.logs(&id, Some(logs)).try_collect().await.unwrap();
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(&id, Some(options)).await.unwrap();

    let logs: String = logs.iter().map(ToString::to_string).collect();
    let (answered, (code, output)) = used.unwrap_or_else(|_| panic!("it does not answer:\n{logs}")).unwrap();
    assert_eq!((code, output.as_str()), (Some(0), "/folder/Dockerfile\noverlay2\nreached\n"), "{logs}");
    assert!(answered < DEADLINE, "it answered after {answered:?}");
}

/// Runs a command in a container; returns its exit code and what it printed.
async fn run(
    docker: &Docker,
    id: &str,
    command: &[&str],
) -> Result<(Option<i64>, String), bollard::errors::Error> {
    let exec = ExecConfig {
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(id, exec).await?.id;
    let mut text = String::new();
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&exec, None::<StartExecOptions>).await?
    {
        while let Some(frame) = output.try_next().await? {
            text.push_str(&frame.to_string());
        }
    }
    Ok((docker.inspect_exec(&exec).await?.exit_code, text))
}
