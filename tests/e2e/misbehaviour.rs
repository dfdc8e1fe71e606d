//! Runners that never come online, exit at once, or are refused by GitHub: replaced with increasing delays,
//! without affecting others.

use std::time::{Duration, Instant};

use dayfly::simulator::Request;

use crate::world::{World, pool, until};

#[tokio::test]
async fn failing_pools_fail_alone_and_slowly() {
    let mut world = World::new().await;
    let healthy = pool("healthy", "acme").sized(2, 3);
    let dead = pool("dead", "acme").policy("boot_timeout = \"3s\"").that("never_boots");
    let hasty = pool("hasty", "acme").that("exits_at_once");
    let mute = pool("mute", "acme").policy("boot_timeout = \"3s\"").that("never_listens");
    let old = pool("old", "acme/widgets").that("deprecated");
    world.configure(&[&dead, &healthy, &hasty, &mute, &old]);
    let began = Instant::now();
    world.start().await;
    let first = world.idle("healthy", 2).await;
    world.until("the version is refused", |status| status.held("old") == Some("version_deprecated")).await;
    world.until_exits("old", "version_deprecated", 1).await;
    world.until_exits("hasty", "quick_exit", 3).await;
    world.until("its pool is held back", |status| status.held("hasty") == Some("backing_off")).await;
    for pool in ["dead", "mute"] {
        world.until_exits(pool, "boot_timeout", 2).await;
    }
    assert_eq!(world.idle("healthy", 2).await, first, "not disturbed");
    for _ in 0..3 {
        world.github.enqueue(healthy.job());
    }
    world.github_until("the healthy pool serves", |now| now.succeeded == 3).await;
    world.until_exits("healthy", "completed", 3).await;

    // The second at once after the first has failed, the others after 5, 10, 20, 40 s and so on: how
    // many fit into the time.
    let fit = 2 + (0..10).take_while(|&n| Duration::from_secs(5 * ((2 << n) - 1)) < began.elapsed()).count();
    for pool in ["dead", "mute", "hasty"] {
        let minted = minted(&world.github.requests(), pool);
        assert!((2..=fit).contains(&minted), "pool {pool} minted {minted}, of {fit} that fit");
    }
    assert_eq!(minted(&world.github.requests(), "old"), 1, "the next try is ten minutes off");
    assert_eq!(world.status().await.held("old"), Some("version_deprecated"));
    world.until("nothing holds the healthy pool", |status| status.held("healthy").is_none()).await;
    until("what failed is cleared away", async || {
        let now = world.github.snapshot();
        let left = now.runners.iter().filter(|runner| runner.name.starts_with("dayfly-old-")).count();
        (left == 0).then_some(())
    })
    .await;
}

fn minted(requests: &[Request], pool: &str) -> usize {
    let prefix = format!("dayfly-{pool}-");
    let name = |request: &Request| Some(request.body.as_ref()?.get("name")?.as_str()?.to_owned());
    requests.iter().filter(|request| name(request).is_some_and(|name| name.starts_with(&prefix))).count()
}
