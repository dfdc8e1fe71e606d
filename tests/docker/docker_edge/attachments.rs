//! What is made for a runner beside its container.

use std::time::Duration;

use dayfly::{
    fleet::{
        AttachmentKind, Devices, Dind, DockerMode, Egress, EgressMode, Network, Pool, Resources, RunnerName,
    },
    host::{Host, HostError, Preparation, Prepared, own_image::EGRESS_PROXY},
};

use super::stand::{IDLE, Stand};
use crate::{dind, engines::TestEngine};

pub(super) async fn try_prepare(
    stand: &Stand,
    runner: &RunnerName,
    pool: &Pool,
) -> Result<Prepared, HostError> {
    let devices = &Devices::default();
    stand.docker.prepare(Preparation { runner, pool, image: &pool.template.image, devices }).await
}

pub(super) async fn prepare(stand: &Stand, runner: &RunnerName, pool: &Pool) -> Prepared {
    try_prepare(stand, runner, pool).await.unwrap()
}

/// What is left of all runners on the engine.
pub(super) async fn left(stand: &Stand) -> (usize, usize) {
    let listed = stand.docker.list().await.unwrap();
    (listed.containers.len(), listed.attachments.len())
}

fn isolated(stand: &Stand) -> Pool {
    let mut pool = stand.pool(IDLE);
    pool.template.network = Network::Isolated;
    pool
}

#[tokio::test]
async fn an_isolated_runner_has_a_network_of_its_own_that_is_listed_and_removed_with_it() {
    let stand = Stand::new().await;
    let (pool, runner, other) = (isolated(&stand), stand.name(), stand.name());
    let prepared = prepare(&stand, &runner, &pool).await;
    prepare(&stand, &other, &pool).await;
    let id = stand.create_prepared(&runner, &pool, &prepared).await.unwrap();
    stand.docker.start(&id).await.unwrap();

    let attached = |listed: &dayfly::host::Listed| {
        let mut all: Vec<_> = listed.attachments.iter().map(|a| (a.runner.clone(), a.kind)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let listed = stand.docker.list().await.unwrap();
    let mut both = [(runner.clone(), AttachmentKind::Network), (other.clone(), AttachmentKind::Network)];
    both.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(attached(&listed), both);
    assert_eq!(listed.containers.len(), 1);
    let found = crate::engines::inspect_container(&stand.engine, &id.0).await.unwrap();
    let networks = found.network_settings.unwrap().networks.unwrap();
    assert_eq!(networks.keys().collect::<Vec<_>>(), [runner.as_str()]);

    stand.docker.stop(&id, std::time::Duration::ZERO).await.unwrap();
    stand.docker.remove(&id).await.unwrap();
    stand.docker.detach(&runner).await.unwrap();
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(attached(&stand.docker.list().await.unwrap()), [(other.clone(), AttachmentKind::Network)]);
    stand.docker.detach(&other).await.unwrap();
    assert_eq!(attached(&stand.docker.list().await.unwrap()), []);
}

/// What a job does with its engine: builds, mounts its folder, publishes a port and leaves a container behind.
const JOB: &str = r#"
set -e
mkdir /home/runner/_work/repository
cd /home/runner/_work/repository
echo hello >file
cp /usr/bin/bash /usr/bin/sleep /usr/lib/*/libc.so.6 /usr/lib/*/libtinfo.so.6 .
loader=$(echo /usr/lib64/ld-linux*)
cp "$loader" .
printf 'FROM scratch\nCOPY bash sleep /bin/\nCOPY libc.so.6 libtinfo.so.6 /lib/\n' >Dockerfile
printf 'COPY %s /lib64/\n' "${loader##*/}" >>Dockerfile
docker build --tag inner . >/dev/null 2>&1
docker run --rm --volume "$PWD:/x" inner /bin/bash -c 'echo "mounted: $(</x/file)"'
docker run --detach --publish 8080:8080 inner /bin/sleep 1000 >/dev/null
bash -c ': </dev/tcp/127.0.0.1/8080' && echo published
docker run --rm --volume /var/run/docker.sock:/var/run/docker.sock inner /bin/bash -c '[ -S /var/run/docker.sock ] && echo socket'
"#;

fn with_dind(stand: &Stand, script: &str) -> Pool {
    let mut pool = stand.pool(script);
    dind::IMAGE.clone_into(&mut pool.template.image);
    pool.template.network = Network::Default;
    pool.template.user = Some("1001:1001".to_owned());
    pool.template.docker = DockerMode::Dind(Dind {
        image: dind::IMAGE.to_owned(),
        resources: Resources { memory: 1 << 30, cpu_millis: 2000 },
        registry_mirrors: Vec::new(),
        mtu: Some(1400),
        start_timeout: Duration::from_mins(2),
    });
    pool
}

#[tokio::test]
async fn a_job_builds_runs_and_publishes_with_an_engine_of_its_own_which_is_gone_with_it() {
    let Some(engine) = TestEngine::privileged("an engine of the runner's own") else { return };
    let stand = Stand::on(&engine).await;
    let (pool, runner) = (with_dind(&stand, JOB), stand.name());
    let prepared = prepare(&stand, &runner, &pool).await;
    let id = stand.create_prepared(&runner, &pool, &prepared).await.unwrap();
    stand.docker.start(&id).await.unwrap();

    let listed = stand.docker.list().await.unwrap();
    let committed = listed.attachments.iter().map(|attachment| attachment.resources().memory).sum::<u64>();
    assert_eq!((listed.attachments.len(), committed), (5, 1 << 30), "{:?}", listed.attachments);
    let exit = stand.ended(&id).await;
    assert_eq!((exit.code, &*exit.log_tail), (0, "mounted: hello\npublished\nsocket\n"));

    stand.docker.remove(&id).await.unwrap();
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(left(&stand).await, (0, 0));
}

#[tokio::test]
async fn an_engine_of_the_runners_own_has_no_other_way_out_than_the_runner() {
    let Some(engine) = TestEngine::privileged("an engine of the runner's own behind a proxy") else { return };
    let stand = Stand::on(&engine).await;
    let script = r#"
docker version >/dev/null && echo answers
echo "${http_proxy%:*}" | { IFS=/ read -r a b address; bash -c ": </dev/tcp/$address/3128" && echo proxy; }
bash -c ': </dev/tcp/1.1.1.1/443' 2>/dev/null || echo closed
docker pull busybox 2>&1 | while read -r line; do case $line in *Forbidden*) echo refused;; esac; done
"#;
    let mut pool = with_dind(&stand, script);
    let allow = vec!["github.com".to_owned()];
    // Tests are another program.
    let image =
        Some(EGRESS_PROXY.ensure(&stand.engine, env!("CARGO_BIN_EXE_dayfly").as_ref()).await.unwrap());
    pool.template.egress = Some(Egress { mode: EgressMode::Enforce, allow, image });
    let runner = stand.name();
    let prepared = prepare(&stand, &runner, &pool).await;
    let id = stand.create_prepared(&runner, &pool, &prepared).await.unwrap();
    stand.docker.start(&id).await.unwrap();
    let exit = stand.ended(&id).await;
    assert_eq!(&*exit.log_tail, "answers\nproxy\nclosed\nrefused\n");
    stand.docker.remove(&id).await.unwrap();
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(left(&stand).await, (0, 0));
}

#[tokio::test]
async fn an_engine_that_does_not_start_is_an_error_with_its_log_and_can_be_removed() {
    let Some(engine) = TestEngine::privileged("an engine that does not start") else { return };
    let stand = Stand::on(&engine).await;
    let mut pool = with_dind(&stand, IDLE);
    let DockerMode::Dind(dind) = &mut pool.template.docker else { unreachable!() };
    dind.registry_mirrors.push("no mirror".to_owned());
    let runner = stand.name();
    let error = try_prepare(&stand, &runner, &pool).await.unwrap_err();
    let HostError::DindNotReady(text) = error else { panic!("{error:?}") };
    assert!(text.contains("exited") && text.contains("no mirror"), "{text}");
    assert_eq!(left(&stand).await, (0, 5));
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(left(&stand).await, (0, 0));
}
