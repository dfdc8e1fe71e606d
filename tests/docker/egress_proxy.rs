//! The egress proxy in a container of the image that is made of the program: as a runner reaches it.

use std::{
    collections::HashMap,
    io::Write as _,
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    errors::Error,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StopContainerOptionsBuilder, TagImageOptionsBuilder,
    },
};
use dayfly::{
    egress::{Line, Report, Verdict},
    host::own_image::{self, EGRESS_PROXY, OwnImage},
};
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::engines::TestEngine;

const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");
const DEADLINE: Duration = Duration::from_mins(1);

/// The image under a name of this test's own, which it can remove.
const IMAGE: OwnImage = OwnImage { repository: "dayfly-test-egress-proxy", ..EGRESS_PROXY };

#[tokio::test]
async fn the_proxy_answers_in_a_container_without_any_rights_and_stops_at_once() {
    let at = TestEngine::usual();
    let docker = Docker::connect_with_unix(&at.socket, 120, bollard::API_DEFAULT_VERSION)
        .expect("a Docker Engine is needed for this test");
    let reference = IMAGE.ensure(&docker, BINARY.as_ref()).await.unwrap();
    let version = concat!("dayfly-test-egress-proxy:", env!("CARGO_PKG_VERSION"), "-");
    assert!(reference.starts_with(version), "{reference}");
    assert_eq!(IMAGE.ensure(&docker, BINARY.as_ref()).await.unwrap(), reference, "used again");
    // One of an earlier version is removed when it is old enough.
    let old = TagImageOptionsBuilder::new().repo(IMAGE.repository).tag("0.0.1-earlier").build();
    docker.tag_image(&reference, Some(old)).await.unwrap();
    let is_there = async |tag: &str| docker.inspect_image(tag).await.is_ok();
    for (age, stays) in [(Duration::from_hours(1), true), (Duration::ZERO, false)] {
        IMAGE.remove_older(&docker, &reference, age).await.unwrap();
        assert_eq!(is_there("dayfly-test-egress-proxy:0.0.1-earlier").await, stays, "{age:?}");
    }
    assert!(is_there(&reference).await);
    let body = ContainerCreateBody {
        image: Some(reference.clone()),
        cmd: Some(
            ["egress-proxy", "--mode", "enforce", "--allow", "unknown.invalid"].map(str::to_owned).into(),
        ),
        labels: Some(HashMap::from([("dev.dayfly.test".to_owned(), "egress-proxy".to_owned())])),
        host_config: Some(HostConfig {
            memory: Some(64 << 20),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(64),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let life = timeout(DEADLINE, used(&docker, &id, at.host.is_loopback())).await;
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(&id, Some(force)).await.unwrap();
    own_image::remove(&docker, &reference).await.unwrap();
    let (responses, log) = life.expect("it answers in time").unwrap();

    assert_eq!(log[0], Report::Listening { listening: "0.0.0.0:3128".parse().unwrap() });
    let Some((refused, unresolved)) = responses else { return };
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("add \"evil.example\" to [pool.container.egress] allow"), "{refused}");
    // The C library finds its resolver: "not known", or no answer where there is no network.
    assert!(
        unresolved.starts_with("HTTP/1.1 502 ") || unresolved.starts_with("HTTP/1.1 504 "),
        "{unresolved}"
    );
    assert!(unresolved.contains("unknown.invalid could not be resolved"), "{unresolved}");
    let reported = |host: &str, verdict| {
        Report::Destination(Line { host: host.to_owned(), port: 443, verdict, count: 1 })
    };
    assert_eq!(
        log[1..],
        [reported("evil.example", Verdict::Refused), reported("unknown.invalid", Verdict::Allowed)]
    );
}

/// Starts a container of the proxy, sends requests to it where this machine reaches it, and stops it. Returns the
/// responses and the log.
async fn used(
    docker: &Docker,
    id: &str,
    is_reached: bool,
) -> Result<(Option<(String, String)>, Vec<Report>), Error> {
    docker.start_container(id, None).await?;
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).build();
    let mut log = docker.logs(id, Some(options));
    let mut reports = vec![parse(&log.next().await.unwrap()?.to_string())];
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await?;
    let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let address = networks.into_values().find_map(|network| network.ip_address).unwrap();
    let responses = if is_reached {
        Some((ask(&address, "evil.example:443").await, ask(&address, "unknown.invalid:443").await))
    } else {
        // Not a print macro: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "skipped: requests to a proxy in the network of another engine");
        None
    };
    let began = Instant::now();
    let options = StopContainerOptionsBuilder::new().t(30).build();
    docker.stop_container(id, Some(options)).await?;
    assert!(began.elapsed() < Duration::from_secs(10), "it was killed after {:?}", began.elapsed());
    while let Some(line) = log.next().await {
        reports.push(parse(&line?.to_string()));
    }
    let state = docker.inspect_container(id, None::<InspectContainerOptions>).await?.state;
    assert_eq!(state.and_then(|state| state.exit_code), Some(0));
    Ok((responses, reports))
}

fn parse(line: &str) -> Report {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

async fn ask(address: &str, destination: &str) -> String {
    let mut stream = TcpStream::connect((address, 3128)).await.unwrap();
    let request =
        format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}
