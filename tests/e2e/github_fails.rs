//! A GitHub that fails in every way for a while: unknown is not gone, and everything recovers by
//! itself.

use std::time::Duration;

use dayfly::simulator::{Endpoint, Fault, FaultKind, Presence};

use crate::world::{World, pool};

#[tokio::test]
async fn whatever_github_answers_nothing_is_removed() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme").sized(2, 4);
    world.configure(&[&pool]);
    world.start().await;
    for _ in 0..2 {
        world.github.enqueue(pool.job().lasting(Duration::from_mins(10)));
    }
    world.until("both jobs run", |status| status.count("linux", "busy") == 2).await;
    let before = world.idle("linux", 2).await;
    assert_eq!(before.len(), 4);
    let up = format!("dayfly_scope_up{{scope=\"{}\"}}", world.github.scope_url("acme"));

    let second = Duration::from_secs(1);
    for (what, kind) in [
        ("500 as HTML", FaultKind::Html(500)),
        ("502", FaultKind::Status(502)),
        ("404", FaultKind::Status(404)),
        ("401", FaultKind::Status(401)),
        ("half a list", FaultKind::TruncatedJson),
        ("a list that is too short", FaultKind::ShortList),
        ("dropped connections", FaultKind::DropsAfterTheDeed),
        ("no answer", FaultKind::Hangs),
        ("a primary limit", FaultKind::PrimaryLimit(3 * second)),
        ("a secondary limit", FaultKind::SecondaryLimit(2 * second)),
    ] {
        world.github.fault(Fault::new(kind));
        // A list that has not changed would be no list, but 304.
        world.github.register("acme", what, &["self-hosted"], Presence::Offline).unwrap();
        let status = world.until(&format!("{what}: the scope is down"), |status| !status.scopes[0].up).await;
        assert_eq!(world.metric(&up).await, 0, "{what}: {:?}", status.scopes[0].url);
        assert_eq!(status.count("linux", "busy"), 2, "{what}: busy is busy");
        assert_eq!(world.running().await, before, "{what}");
        world.github.clear_faults();
        world.until(&format!("{what}: the scope is up again"), |status| status.scopes[0].up).await;
    }
    world.github.outage(true);
    world.until("an outage is seen", |status| !status.scopes[0].up).await;
    world.github.outage(false);
    world.until("its end is seen", |status| status.scopes[0].up).await;

    // Complete, and wrong: one list proves nothing.
    world.github.fault(Fault::new(FaultKind::EmptyList).on(Endpoint::ListRunners).times(1));
    let listed = world.github.count(Endpoint::ListRunners);
    world
        .github_until("a wrong list has been corrected", |_| {
            world.github.count(Endpoint::ListRunners) >= listed + 4
        })
        .await;
    assert_eq!(world.idle("linux", 2).await, before, "the same four, as they were");
    assert_eq!(world.github.count(Endpoint::DeleteRunner), 0);
    assert_eq!(world.github.count(Endpoint::Mint), 4);
    let now = world.github.snapshot();
    assert_eq!((now.in_progress, now.lost, now.failed), (2, 0, 0));
    assert_eq!(world.metric(&up).await, 1);
}
