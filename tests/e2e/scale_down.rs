//! Scaling down: in the one safe order, and never a runner with a job, even if GitHub reports it as idle.

use std::time::Duration;

use dayfly::{
    fleet::Timestamp,
    simulator::{Endpoint, Fault, FaultKind, Settings},
};

use crate::{
    proxy::Proxy,
    world::{Pool, World, pool, quick, until},
};

/// How long a job that was on its way at the deregistration has to show.
const SETTLE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn surplus_runners_are_asked_deregistered_asked_again_and_stopped() {
    // Their next poll comes too late for them to notice by themselves.
    let settings = Settings { poll_cycle: Duration::from_secs(45), ..quick() };
    let mut world = World::with(settings).await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    let sized = |min_idle| patient(pool("linux", "acme").sized(min_idle, 4));
    world.configure_at(socket.to_str().unwrap(), &[&sized(3)]);
    world.start().await;
    let before = world.idle("linux", 3).await;
    assert!(world.terminate().await.0.success());
    world.configure_at(socket.to_str().unwrap(), &[&sized(1)]);
    world.start().await;
    until("two are gone", async || (world.containers().await.len() == 1).then_some(())).await;
    world.until_exits("linux", "daemon_stop", 2).await;
    let after = world.idle("linux", 1).await;
    assert!(before.contains(&after[0]), "the third stays");
    assert_eq!(world.github.snapshot().runners.len(), 1);
    assert_eq!(world.metric("dayfly_runners_removed_total{pool=\"linux\",reason=\"surplus\"}").await, 2);

    for gone in before.iter().filter(|container| container.id != after[0].id) {
        let path = format!("/runners/{}", gone.registration);
        let requests = world.github.requests();
        let deregistered: Vec<_> =
            requests.iter().filter(|r| r.method == "DELETE" && r.path.ends_with(&path)).collect();
        assert_eq!(deregistered.len(), 1);
        let deregistered = deregistered[0].at;
        let asked = |word: &str| -> Vec<Timestamp> {
            let of = |line: &str| line.contains(&gone.id) && line.contains(word);
            proxy.seen().iter().filter(|seen| of(&seen.line)).map(|seen| seen.at).collect()
        };
        let (top, stop) = (asked("/top"), asked("/stop"));
        let removed = asked("DELETE ");
        assert_eq!((stop.len(), removed.len()), (1, 1));
        assert!(top.iter().any(|&at| at <= deregistered), "asked first");
        assert!(stop[0].since(deregistered) >= SETTLE, "a late job had its time");
        assert!(top.iter().any(|&at| at.since(deregistered) >= SETTLE && at <= stop[0]), "asked again");
        assert!(stop[0] <= removed[0]);
    }
}

#[tokio::test]
async fn a_runner_with_a_job_is_not_stopped_although_github_says_that_it_is_idle() {
    let mut world = World::new().await;
    // Neither GitHub nor their logs show that they have a job; their processes do.
    let silent = |min_idle| patient(pool("linux", "acme").sized(min_idle, 4).that("silent"));
    world.github.fault(Fault::new(FaultKind::BusyLies));
    let many = silent(3);
    world.configure(&[&many]);
    world.start().await;
    let before = world.idle("linux", 3).await;
    for number in 0..3 {
        world.github.enqueue(many.job().named(format!("job {number}")).lasting(Duration::from_secs(45)));
    }
    world.github_until("all jobs run", |now| now.in_progress == 3).await;
    world.kill();
    world.configure(&[&silent(1)]);
    world.start().await;
    let vetoed = "dayfly_scale_down_vetoed_total{pool=\"linux\",reason=\"local_busy\"}";
    until("two would go, and their containers say no", async || {
        (world.metric(vetoed).await >= 2).then_some(())
    })
    .await;
    assert_eq!(world.running().await, before);
    assert_eq!(world.github.count(Endpoint::DeleteRunner), 0, "not even deregistered");
    let now = world.github_until("all jobs end", |now| now.completed() == 3).await;
    assert_eq!((now.succeeded, now.failed, now.lost), (3, 0, 0));
    world.until_exits("linux", "completed", 2).await;
}

fn patient(pool: Pool) -> Pool {
    pool.policy("idle_timeout = \"3s\"").policy("idle_confirmation = \"2s\"")
}
