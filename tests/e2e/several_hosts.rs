//! Pools over several hosts, of which one hangs or fails: the rest goes on.

use std::{fmt::Write as _, time::Duration};

use dayfly::simulator::Endpoint;

use crate::{
    daemon::Status,
    engine,
    engines::TestEngine,
    proxy::{Hold, Proxy},
    world::{Pool, World, clear, pool, quick},
};

/// Removes everything of an instance from an engine beside the environment's own, also while a test fails.
pub(crate) struct Cleared(pub(crate) TestEngine, pub(crate) String);

impl Drop for Cleared {
    fn drop(&mut self) {
        clear(&self.0, &self.1);
    }
}

/// One more host, whose engine is reached through a proxy.
fn add_host(world: &mut World, name: &str, engine: &TestEngine) -> Proxy {
    let socket = world.path(&format!("{name}.sock"));
    write!(world.extra, "\nhosts.{name}.endpoint = \"unix://{}\"", socket.display()).unwrap();
    Proxy::before(engine, &socket)
}

/// An environment with one more host, `hung`, whose engine accepts connections and never answers.
async fn with_a_hung_host() -> (World, Proxy) {
    let mut world = World::new().await;
    let proxy = add_host(&mut world, "hung", &TestEngine::usual());
    proxy.hold(Some(Hold::Request("/")));
    (world, proxy)
}

fn from_nothing(name: &str, host: &str) -> Pool {
    pool(name, "acme")
        .sized(0, 6)
        .policy("demand = [\"queue\"]")
        .policy("repositories = [\"widgets\"]")
        .policy(&format!("host = {host}"))
}

/// Six jobs are served by runners of pools, with not one mint for the host that hangs.
async fn all_are_served(world: &mut World, pools: &[&Pool]) {
    world.configure(pools);
    world.start().await;
    for _ in 0..6 {
        world.github.enqueue(pools[0].job().of("acme/widgets"));
    }
    let now = world.github_until("all jobs are served", |now| now.succeeded == 6).await;
    assert_eq!((now.lost, now.failed), (0, 0));
    assert_eq!(world.github.count(Endpoint::Mint), 6);
    world.until("nothing is queued", |status| status.pools.iter().all(|pool| pool.queued == 0)).await;
}

#[tokio::test]
async fn a_host_that_hangs_leaves_the_rest_of_its_pool_serving() {
    let (mut world, _proxy) = with_a_hung_host().await;
    let pool = from_nothing("linux", "[\"hung\", \"local\"]").policy("placement = \"ordered\"");
    all_are_served(&mut world, &[&pool]).await;
    let status = world.status().await;
    let hung = status.hosts.iter().find(|host| host.name == "hung").unwrap();
    assert!(!hung.up);
}

#[tokio::test]
async fn jobs_of_a_pool_whose_host_hangs_go_to_another_pool_with_the_same_labels() {
    let (mut world, _proxy) = with_a_hung_host().await;
    let first = from_nothing("a-first", "\"hung\"").labelled("linux");
    let second = from_nothing("b-second", "\"local\"").labelled("linux");
    all_are_served(&mut world, &[&first, &second]).await;
    assert_eq!(world.status().await.held("a-first"), None, "nothing waits there any more");
    world.until_exits("b-second", "completed", 6).await;
    assert!(world.logged(&["labels: are the same"]).is_empty(), "that is what they are for");
}

#[tokio::test]
async fn a_host_that_is_lost_with_its_runners_is_made_up_for_and_comes_back() {
    let test = "a host that is lost with its runners is made up for and comes back";
    let Some(other) = TestEngine::privileged(test) else { return };
    // Dropped after the daemon.
    let _cleared;
    // A GitHub that runners on both engines can reach.
    let mut world = World::on(TestEngine::usual(), other.reached_by(quick())).await;
    let (image, remote) = (world.image.clone(), engine::connect(&other).await);
    _cleared = Cleared(other.clone(), world.instance.clone());
    engine::image(&remote, &world.instance).await;
    let proxy = add_host(&mut world, "other", &other);
    let pool = pool("linux", "acme").sized(2, 12).policy("host = [\"local\", \"other\"]").image(image);
    world.configure(&[&pool]);
    world.start().await;
    world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    for _ in 0..4 {
        world.github.enqueue(pool.job().lasting(Duration::from_secs(40)));
    }
    let counted = |status: &Status| (status.count("linux", "busy"), status.count("linux", "idle"));
    world.until("all have jobs, and two more are idle", |status| counted(status) == (4, 2)).await;
    let here = engine::containers(&world.engine, &world.instance).await;
    let there = engine::containers(&remote, &world.instance).await;
    assert_eq!((here.len(), there.len()), (3, 3), "they are spread");

    proxy.cut(true);
    world.until("it is lost", |status| status.hosts.iter().any(|host| !host.up)).await;
    for _ in 0..2 {
        world.github.enqueue(pool.job());
    }
    world.github_until("jobs go on", |now| now.succeeded >= 2).await;
    assert_eq!(world.status().await.held("linux"), None);
    proxy.cut(false);
    let now = world.github_until("all six end", |now| now.completed() == 6).await;
    assert_eq!((now.succeeded, now.lost), (6, 0), "also what ran on the lost host");
    world.until("all is as before", |status| status.count("linux", "idle") == 2).await;
}
