//! What is made for a runner beside its container.

use dayfly::{
    fleet::{AttachmentKind, Devices, Network, Pool, RunnerName},
    host::{Host, Preparation, Prepared},
};

use super::stand::{IDLE, Stand};

async fn prepare(stand: &Stand, runner: &RunnerName, pool: &Pool) -> Prepared {
    let devices = &Devices::default();
    let preparation = Preparation { instance: &stand.instance, runner, pool, devices };
    stand.docker.prepare(preparation).await.unwrap()
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
    let found = stand.engine.inspect_container(&id.0, None).await.unwrap();
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
