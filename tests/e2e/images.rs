//! Images that are not there: nothing is minted for a container that cannot be made.

use std::time::Duration;

use dayfly::simulator::Endpoint;

use crate::{
    engine,
    world::{World, pool, within},
};

/// The daemon checks for an image once a minute.
const FOUND: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_pool_without_its_image_mints_nothing_and_starts_by_itself_once_it_is_there() {
    let mut world = World::new().await;
    let later = format!("{}-later", world.instance);
    let (healthy, waiting) = (pool("healthy", "acme"), pool("waiting", "acme/widgets"));
    let waiting = waiting.image(format!("dayfly-e2e:{later}"));
    world.configure(&[&healthy, &waiting]);
    world.start().await;
    world.until("it is held", |status| status.held("waiting") == Some("image_missing")).await;
    world.idle("healthy", 1).await;
    world.github.enqueue(healthy.job());
    world.github_until("the other pool serves jobs", |now| now.succeeded == 1).await;
    world.idle("healthy", 1).await;
    assert_eq!(world.asked(Endpoint::Mint, "acme/widgets"), 0);
    assert_eq!(world.status().await.held("waiting"), Some("image_missing"));
    assert_eq!(world.metric("dayfly_pool_held{pool=\"waiting\",reason=\"image_missing\"}").await, 1);
    let reported = world.logged(&["\"level\":\"WARN\"", "\"pool\":\"waiting\"", &later, "\\\"never\\\""]);
    assert_eq!(reported.len(), 1, "once, with why: {reported:?}");

    engine::tag(&world.engine, &world.image, &later).await;
    world.github.enqueue(waiting.job());
    within(FOUND, "the pool starts by itself", async || {
        (world.github.snapshot().succeeded == 2).then_some(())
    })
    .await;
    world.until("nothing holds it", |status| status.held("waiting").is_none()).await;
}
