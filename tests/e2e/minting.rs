//! Mints that go wrong: what GitHub may have registered all the same is found and removed.

use dayfly::simulator::{Endpoint, Fault, FaultKind};

use crate::world::{World, pool, until};

#[tokio::test]
async fn a_mint_without_a_usable_answer_leaves_nothing_behind() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    // Registered, and the name never learnt; registered, and nothing to connect with.
    for kind in [FaultKind::DropsAfterTheDeed, FaultKind::EmptyJitConfig] {
        world.github.fault(Fault::new(kind).on(Endpoint::Mint).times(1));
    }
    world.start().await;
    let first = world.idle("linux", 1).await;
    let now = world.github_until("only what runs is registered", |now| now.runners.len() == 1).await;
    assert_eq!(now.runners[0].name, first[0].runner);
    let names: Vec<_> = world
        .github
        .requests()
        .iter()
        .filter(|request| request.endpoint == Endpoint::Mint)
        .map(|request| request.body.as_ref().unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in &names[..names.len() - 1] {
        assert_ne!(*name, first[0].runner, "a fresh name for every attempt");
        assert!(world.logged(&[name.as_str(), "\"launched runner"]).is_empty(), "nothing was started");
    }
    let failed = "dayfly_launch_failures_total{pool=\"linux\",reason=\"github_failed\"}";
    assert_eq!(world.metric(failed).await, names.len() - 1);
}

#[tokio::test]
async fn a_pool_that_may_not_mint_is_held_alone_and_goes_on_when_it_may() {
    let mut world = World::new().await;
    let (healthy, full) = (pool("healthy", "acme"), pool("full", "acme/widgets"));
    world.configure(&[&full, &healthy]);
    world.github.fault(Fault::new(FaultKind::GroupFull).within("acme/widgets"));
    world.start().await;
    world.until("it is held", |status| status.held("full") == Some("registration_limit")).await;
    world.idle("healthy", 1).await;
    world.github.enqueue(healthy.job());
    world.github_until("the other pool serves", |now| now.succeeded == 1).await;
    assert_eq!(world.asked(Endpoint::Mint, "acme/widgets"), 1, "asked once, and not again soon");
    world.github.clear_faults();
    world.idle("full", 1).await;
    until("nothing holds it", async || world.status().await.held("full").is_none().then_some(())).await;
}
