//! Images that are not there: nothing is minted for a container that cannot be made.

use std::time::Duration;

use dayfly::simulator::Endpoint;

use crate::{
    engine,
    registry::Registry,
    world::{World, pool, within},
};

/// The daemon removes a replaced image after a minute, and checks whether it is still in use after one and two more.
const REMOVED: Duration = Duration::from_mins(6);

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
    let words = ["\"level\":\"WARN\"", "\"pool\":\"waiting\"", &later, "\\\"never\\\""];
    let reported = world.until_logged(1, &words).await;
    assert_eq!(reported.len(), 1, "once, with why: {reported:?}");

    engine::tag(&world.engine, &world.image, &later).await;
    world.github.enqueue(waiting.job());
    within(FOUND, "the pool starts by itself", async || {
        (world.github.snapshot().succeeded == 2).then_some(())
    })
    .await;
    world.until("nothing holds it", |status| status.held("waiting").is_none()).await;
}

#[tokio::test]
async fn a_newer_image_replaces_idle_runners_one_by_one_and_the_old_image_is_removed() {
    let mut world = World::new().await;
    let registry = Registry::start(true, engine::files(&world.engine, &world.image).await).await;
    let repository = format!("runner-{}", world.instance);
    let image = registry.push(&repository, "v1", "old");
    // Of the same registry and with the same content, but not this daemon's.
    let foreign = registry.push(&format!("{repository}-foreign"), "v1", "foreign");
    let pool = pool("linux", "acme").sized(2, 4).policy("idle_confirmation = \"1s\"");
    let pool = pool.image(image.clone()).container("pull = \"always\"");
    world.configure(&[&pool]);
    world.start().await;
    world.idle("linux", 2).await;
    let old = engine::image_id(&world.engine, &image).await.unwrap();
    world.terminate().await;

    engine::pull(&world.engine, &foreign).await;
    registry.push(&repository, "v1", "new");
    world.start().await;
    within(REMOVED, "all runners have the new image", async || {
        let (mut running, mut replaced) = (0, 0);
        for container in world.running().await {
            // It may be gone by now.
            let Ok(found) = world.engine.inspect_container(&container.id, None).await else { continue };
            running += 1;
            replaced += u32::from(found.image.unwrap() != old);
        }
        assert!(running >= 1, "the pool can take a job at any time");
        (running == 2 && replaced == 2).then_some(())
    })
    .await;
    world.idle("linux", 2).await;
    within(REMOVED, "the old image is removed", async || {
        engine::image_id(&world.engine, &old).await.is_none().then_some(())
    })
    .await;
    assert!(registry.logins.lock().unwrap().is_empty(), "an open registry gets no credentials");
    assert!(engine::image_id(&world.engine, &foreign).await.is_some());
    assert_ne!(engine::image_id(&world.engine, &image).await, Some(old));
    let removed = world.until_logged(1, &["removed the image that a newer one has replaced"]).await;
    assert_eq!(removed.len(), 1, "{removed:?}");
}
