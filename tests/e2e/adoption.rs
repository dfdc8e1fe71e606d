//! Restarts: the daemon stops or is killed, its runners go on, and the next start takes them over.

use std::{process::Stdio, time::Duration};

use dayfly::simulator::Endpoint;

use crate::{
    daemon,
    world::{World, pool, until},
};

const MANY: usize = 50;

#[tokio::test]
async fn a_killed_daemon_finds_all_its_runners_again() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme").sized(MANY, MANY);
    world.configure(&[&pool]);
    world.start().await;
    let before = world.idle("linux", MANY).await;
    assert_eq!(before.len(), MANY);
    world.kill();
    world.start().await;
    let after = world.idle("linux", MANY).await;
    assert_eq!(after, before, "the same containers of the same runners");
    assert_eq!(world.github.count(Endpoint::Mint), MANY as u64, "no new mint");
    assert_eq!(world.github.count(Endpoint::DeleteRunner), 0);
    assert_eq!(world.github.snapshot().runners.len(), MANY);
    assert_eq!(world.until_logged(MANY, &["adopted runner"]).await.len(), MANY);
    assert_eq!(world.metric("dayfly_runners_launched_total{pool=\"linux\"}").await, 0);
}

#[tokio::test]
async fn a_terminated_daemon_leaves_its_runners_to_the_next_one() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(pool.job().named("meanwhile").lasting(Duration::from_secs(12)));
    world.until("the job runs", |status| status.count("linux", "busy") == 1).await;
    let idle = world.idle("linux", 1).await;
    let before = world.running().await;
    assert_eq!(before.len(), 2);
    let busy = before.iter().find(|container| !idle.contains(container)).unwrap();

    let (ended, took) = world.terminate().await;
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(world.running().await, before, "all go on");
    let now = world.github_until("the job ends meanwhile", |now| now.completed() == 1).await;
    assert_eq!((now.succeeded, now.runners.len()), (1, 1));
    until("its container has exited", async || {
        world.containers().await.iter().any(|c| c.id == busy.id && c.state == "exited").then_some(())
    })
    .await;

    world.start().await;
    world.until_exits("linux", "completed", 1).await;
    assert_eq!(world.idle("linux", 1).await, idle, "the idle one was adopted");
    until("the ended one is removed", async || (world.containers().await.len() == 1).then_some(())).await;
    assert_eq!(world.github.count(Endpoint::Mint), 2, "no new mint");
    assert_eq!(world.github.count(Endpoint::DeleteRunner), 0);
    world.until_logged(1, &[&busy.runner, "\"job\":\"meanwhile\"", "\"reason\":\"completed\""]).await;
}

#[tokio::test]
async fn a_second_daemon_of_the_instance_refuses_to_start_in_one_line() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    world.start().await;
    world.idle("linux", 1).await;
    for elsewhere in [None, Some(world.path("elsewhere"))] {
        let mut second = daemon::command(&world.config());
        if let Some(state_dir) = &elsewhere {
            second.env("DAYFLY_STATE_DIR", state_dir);
        }
        let second = second.stdin(Stdio::null()).output();
        let second = second.unwrap();
        let reported = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(2), "{reported}");
        assert_eq!(reported.lines().count(), 1, "{reported}");
        assert!(reported.contains(&format!("another daemon of instance {}", world.instance)), "{reported}");
    }
    assert_eq!(world.idle("linux", 1).await.len(), 1, "the first is not disturbed");
    assert_eq!(world.github.count(Endpoint::Mint), 1);
}
