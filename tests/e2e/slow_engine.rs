//! Engines that hang or refuse do not affect others, and a healthy one gets few requests.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dayfly::simulator::Endpoint;
use tokio::{io::AsyncReadExt as _, net::UnixListener};

use crate::{
    proxy::{Hold, Proxy},
    world::{World, pool, until, within},
};

/// An engine that accepts connections and never responds; counts those that are no longer in use.
fn hanging(path: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let given_up = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&given_up);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                while let Ok(1..) = stream.read(&mut [0; 1024]).await {}
                counter.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    given_up
}

#[tokio::test]
async fn an_engine_that_never_answers_delays_neither_start_nor_end() {
    let mut world = World::new().await;
    let socket = world.path("hanging.sock");
    let given_up = hanging(&socket);
    let hanging = format!("\nhosts.hanging.endpoint = \"unix://{}\"", socket.display());
    world.extra.push_str(&hanging);
    let healthy = pool("healthy", "acme").policy("host = \"local\"");
    let stuck = pool("stuck", "acme").policy("host = \"hanging\"");
    world.configure(&[&healthy, &stuck]);
    world.start().await;
    assert_eq!(given_up.load(Ordering::SeqCst), 0, "the start waited until it gave the engine up");
    world.idle("healthy", 1).await;
    let (ended, took) = world.terminate().await;
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_launch_takes_three_requests_and_the_next_list_one() {
    let mut world = World::new().await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    // An engine that cannot set the usual limit is tried once with it.
    let pool = pool("linux", "acme").container("ulimits = { nofile = 1024 }");
    world.configure_at(socket.to_str().unwrap(), &[&pool]);
    world.start().await;
    let [runner] = &world.idle("linux", 1).await[..] else { panic!("one runner") };
    let lists = || proxy.seen().iter().filter(|seen| seen.line.starts_with("GET /containers/json")).count();
    let before = lists();
    until("it is listed twice", async || (lists() >= before + 2).then_some(())).await;
    let concerns = |line: &str| line.contains(&runner.id) || line.contains(&runner.runner);
    let seen = proxy.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).filter(|line| concerns(line)).collect();
    let [create, start, logs] = lines[..] else { panic!("{lines:#?}") };
    assert!(create.starts_with("POST /containers/create?"), "{create}");
    assert!(start.starts_with("POST ") && start.ends_with("/start"), "{start}");
    assert!(logs.contains("/logs?"), "{logs}");
}

#[tokio::test]
async fn an_engine_that_refuses_to_inspect_images_is_reported_once_and_by_name() {
    let mut world = World::new().await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    proxy.hold(Some(Hold::Refuse("/images/")));
    let pool = pool("linux", "acme");
    world.configure_at(socket.to_str().unwrap(), &[&pool]);
    world.start().await;
    world.until("it is held", |status| status.held("linux") == Some("image_unknown")).await;
    until("it was refused again", async || (proxy.stuck() >= 3).then_some(())).await;
    let words = ["\"level\":\"WARN\"", "inspect image: forbidden by a proxy (HTTP status 403)"];
    let reported = world.until_logged(1, &words).await;
    assert_eq!(reported.len(), 1, "{reported:?}");
    proxy.hold(None);
    // The retries back off, up to once a minute.
    within(Duration::from_mins(3), "its runner comes", async || {
        (world.status().await.count("linux", "idle") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_minted_for_an_engine_that_stops_answering() {
    let mut world = World::new().await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    let pool = pool("linux", "acme");
    world.configure_at(socket.to_str().unwrap(), &[&pool]);
    world.start().await;
    world.idle("linux", 1).await;

    // Every request: a list has half a minute for its answer.
    proxy.hold(Some(Hold::Request("/")));
    let reported = world.until_logged(1, &["host local cannot be used", "ping the engine"]).await;
    assert!(reported[0].contains("did not respond within 3 s"), "{reported:?}");
    let minted = world.github.count(Endpoint::Mint);
    world.github.enqueue(pool.job());
    // The idle runner takes it, and gets no replacement.
    world.github_until("the job is served", |now| now.succeeded == 1).await;
    world
        .until("launches are paused", |status| {
            status.held("linux") == Some("host_unreachable") && status.count("linux", "idle") == 0
        })
        .await;
    assert_eq!(world.github.count(Endpoint::Mint), minted);

    proxy.hold(None);
    world.until("the host is back", |status| status.hosts[0].up).await;
    world.idle("linux", 1).await;
}
