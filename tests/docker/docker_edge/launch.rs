//! Making a container: what it really gets, and what is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use base64::Engine as _;
use bollard::{
    models::{MountType, RestartPolicyNameEnum},
    query_parameters::RemoveImageOptions,
};
use dayfly::{
    fleet::{Mount, Network, Pool, Resources},
    host::{Docker, Host, HostError, LOG_CAPS, Launch},
    text::chain,
};
use secrecy::SecretString;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::engines;

use super::stand::{Given, IDLE, JIT, Stand, bind, docker_at, environment};
use crate::shell_image;

#[tokio::test]
async fn a_container_gets_what_its_template_says() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let volume = stand.image.clone();
    let mut pool = stand.pool("read name < /proc/1/comm; echo \"first: $name\"; ulimit -n; while read -r l; do echo \"$l\"; done < /proc/self/status");
    let template = &mut pool.template;
    template.env = environment(&[
        ("COLOUR", "red = blue"),
        ("ACTIONS_RUNNER_INPUT_JITCONFIG", "not this"),
        ("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "true"),
        ("ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING", "1"),
    ]);
    template.resources = Resources { memory: 64 << 20, cpu_millis: 1500 };
    template.pids = Some(77);
    template.shm_size = Some(8 << 20);
    template.mounts = vec![
        bind(dir.path(), "/host"),
        Mount { source: volume.clone(), target: "/cache".to_owned(), read_only: true },
    ];
    template.user = Some("1001:1002".to_owned());
    template.runtime = Some("runc".to_owned());
    template.extra_hosts = vec!["cache.example:10.0.0.1".to_owned()];
    template.dns = vec!["10.0.0.53".to_owned()];
    template.ulimits.insert("nofile".to_owned(), (512, 1024));
    template.cap_drop = vec!["ALL".to_owned()];
    template.cap_add = vec!["CHOWN".to_owned()];
    template.security_opt = vec!["no-new-privileges".to_owned()];

    let (runner, id) = stand.run_pool(&pool).await;
    let exit = stand.ended(&id).await;
    let found = engines::inspect_container(&stand.engine, &id.0).await.unwrap();
    stand.docker.remove(&id).await.unwrap();

    let podman = stand.is_podman().await;
    for line in [
        "first: docker-init",
        "512",
        "Uid:\t1001\t1001\t1001\t1001",
        "Gid:\t1002\t1002\t1002\t1002",
        "NoNewPrivs:\t1",
        // CHOWN is capability 0.
        "CapBnd:\t0000000000000001",
    ] {
        let line = if podman { line.replace("docker-init", "podman-init") } else { line.to_owned() };
        assert!(exit.log_tail.lines().any(|said| said == line), "{line:?} is not in\n{}", exit.log_tail);
    }
    assert_eq!(found.name.unwrap(), format!("/{runner}"));
    let config = found.config.unwrap();
    let env = config.env.unwrap();
    assert!(env.contains(&"COLOUR=red = blue".to_owned()));
    assert!(env.contains(&format!("ACTIONS_RUNNER_INPUT_JITCONFIG={JIT}")));
    assert!(env.contains(&"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1".to_owned()));
    assert!(env.contains(&"ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING=false".to_owned()));
    assert_eq!(env.iter().filter(|entry| entry.starts_with("ACTIONS_RUNNER_")).count(), 3);
    assert_eq!(config.stop_timeout, Some(60));
    let expected: HashMap<String, String> = [
        ("dev.dayfly.instance", stand.instance.as_str()),
        ("dev.dayfly.pool", "edge"),
        ("dev.dayfly.runner", runner.as_str()),
        ("dev.dayfly.registration", "23"),
        ("dev.dayfly.scope", "https://github.com/acme"),
        ("dev.dayfly.template", &pool.template.digest().0),
        ("dev.dayfly.image", &stand.image),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    assert_eq!(config.labels.unwrap(), expected);

    let host = found.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(77)));
    assert_eq!((host.shm_size, host.init, host.auto_remove), (Some(8 << 20), Some(true), Some(false)));
    assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
    let runtime = if podman { "oci" } else { "runc" };
    assert_eq!((host.network_mode.as_deref(), host.runtime.as_deref()), (Some("none"), Some(runtime)));
    assert_eq!(host.extra_hosts.unwrap(), ["cache.example:10.0.0.1"]);
    assert_eq!(host.dns.unwrap(), ["10.0.0.53"]);
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    if podman {
        // It returns neither the limits of the log nor the mounts as they were requested.
        return;
    }
    let limits = log.config.unwrap();
    assert_eq!((limits["max-size"].as_str(), limits["max-file"].as_str()), ("10m", "2"));
    let mounts = host.mounts.unwrap();
    assert_eq!((mounts[0].typ, mounts[0].read_only), (Some(MountType::BIND), None));
    assert_eq!((mounts[1].typ, mounts[1].read_only), (Some(MountType::VOLUME), Some(true)));
}

#[tokio::test]
async fn a_container_runs_the_image_that_was_seen_though_its_tag_has_moved() {
    let stand = Stand::new().await;
    let seen = stand.docker.image(&stand.image).await.unwrap().unwrap();
    // Each import makes another image.
    shell_image::import(&stand.engine, &stand.image, "latest").await;
    let now = stand.docker.image(&stand.image).await.unwrap().unwrap();
    let (pool, runner, given) = (stand.pool(IDLE), stand.name(), Given::default());
    let launch = Launch { image: &seen, ..stand.launch(&runner, &pool, &given) };
    let id = stand.docker.launch(launch).await.unwrap();
    let found = stand.engine.inspect_container(&id.0, None).await.unwrap();
    let listed = stand.docker.list().await.unwrap().containers.pop().unwrap();
    stand.docker.stop(&id, Duration::ZERO).await.unwrap();
    stand.docker.remove(&id).await.unwrap();
    stand.engine.remove_image(&seen, None::<RemoveImageOptions>, None).await.unwrap();
    assert_ne!(seen, now);
    assert_eq!((found.image.as_deref(), listed.image.as_deref()), (Some(seen.as_str()), Some(seen.as_str())));
    assert_eq!(found.config.unwrap().labels.unwrap()["dev.dayfly.image"], stand.image);

    let error = stand.docker.launch(launch).await.unwrap_err();
    assert!(error.container.is_none());
    let text = error.error.to_string();
    assert!(matches!(error.error, HostError::ImageMissing(_)) && text.contains(&stand.image), "{text}");
}

/// Whether the engine can start a container with this limit of open files.
async fn can_limit_files(stand: &Stand) -> bool {
    let mut pool = stand.pool("exit 0");
    pool.template.ulimits.insert("nofile".to_owned(), (65_536, 524_288));
    let (_, id) = stand.create(&pool).await.unwrap();
    let started = stand.docker.start(&id).await;
    stand.docker.stop(&id, Duration::ZERO).await.unwrap();
    stand.docker.remove(&id).await.unwrap();
    started.is_ok()
}

#[tokio::test]
async fn a_launch_limits_open_files_as_far_as_the_engine_can() {
    let stand = Stand::new().await;
    let possible = can_limit_files(&stand).await;
    let open_files = async |pool: &Pool| {
        let id = stand.docker.launch(stand.launch(&stand.name(), pool, &Given::default())).await.unwrap();
        let said = stand.ended(&id).await.log_tail;
        let containers = stand.docker.list().await.unwrap().containers.len();
        stand.docker.remove(&id).await.unwrap();
        assert_eq!(containers, 1, "nothing is left of an attempt that failed");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let usual = stand.pool("ulimit -n; ulimit -Hn");
    for _ in 0..2 {
        let limits = open_files(&usual).await;
        assert_eq!(limits == ["65536", "524288"], possible, "{limits:?}");
    }
    let creates = stand.reports.lock().unwrap().iter().filter(|report| report.operation == "create").count();
    assert_eq!(creates, if possible { 3 } else { 4 }, "only the first launch finds out");
    let mut own = usual.clone();
    own.template.ulimits.insert("nofile".to_owned(), (512, 1024));
    assert_eq!(open_files(&own).await, ["512", "1024"]);
}

#[tokio::test]
async fn a_missing_mount_source_is_refused_and_not_made() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let mut pool = stand.pool(IDLE);
    pool.template.mounts = vec![bind(&missing, "/host")];
    if stand.is_podman().await {
        engines::skipped("Podman makes a missing mount source");
        return;
    }
    let error = stand.create(&pool).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains(missing.to_str().unwrap())), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_refused_with_its_reason() {
    let stand = Stand::new().await;
    let (runner, _) = stand.create(&stand.pool(IDLE)).await.unwrap();
    let error = stand.create_as(&runner, &stand.pool(IDLE)).await.unwrap_err();
    let podman = stand.is_podman().await;
    // Podman answers that its server failed.
    assert!(podman || matches!(&error, HostError::Refused(_)), "{error}");
    assert!(error.to_string().contains(runner.as_str()), "{error}");

    let mut pool = stand.pool(IDLE);
    pool.template.image = format!("dayfly-edge-missing-{}", stand.instance);
    let error = stand.create(&pool).await.unwrap_err();
    assert!(matches!(&error, HostError::ImageMissing(image) if *image == pool.template.image), "{error}");

    let mut pool = stand.pool(IDLE);
    pool.template.runtime = Some("no-such-runtime".to_owned());
    let created = stand.create(&pool).await;
    // Podman ignores the runtime.
    assert!(
        podman || matches!(&created, Err(HostError::Refused(why)) if why.contains("no-such-runtime")),
        "{created:?}"
    );

    for image in ["../containers/json", "a b", ""] {
        let mut pool = stand.pool(IDLE);
        image.clone_into(&mut pool.template.image);
        let error = stand.create(&pool).await.unwrap_err();
        assert!(matches!(&error, HostError::Refused(why) if why.contains("image reference")), "{error}");
    }

    let mut pool = stand.pool(IDLE);
    pool.template.env = environment(&[("", "hush")]);
    let error = stand.create(&pool).await.unwrap_err().to_string();
    assert!(error.contains("environment variable") && !error.contains("hush"), "{error}");

    let mut pool = stand.pool(IDLE);
    pool.template.mounts = vec![Mount { source: "./here".into(), target: "/x".into(), read_only: false }];
    let error = stand.create(&pool).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains("./here")), "{error}");

    let mut pool = stand.pool(IDLE);
    pool.template.network = Network::Named("no-such-network".to_owned());
    // Podman refuses to create it.
    let error = match stand.create(&pool).await {
        Ok((_, id)) => stand.docker.start(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(podman || matches!(&error, HostError::Refused(_)), "{error}");
    assert!(error.to_string().contains("no-such-network"), "{error}");
}

#[tokio::test]
async fn the_jit_config_is_in_no_log_under_the_caps() {
    let stand = Stand::new().await;
    let loud = everything_logged(&stand, &["trace"]).await;
    assert!(loud.contains(JIT), "without the caps bollard logs it; if not, the caps are needless");
    let mut filter = vec!["trace"];
    filter.extend(LOG_CAPS);
    let capped = everything_logged(&stand, &filter).await;
    assert!(capped.contains("hyper_util"), "others still log at TRACE");
    assert!(!capped.contains(JIT), "{capped}");
}

/// Something before the engine that answers a request to make a container with the request itself.
async fn echoing(answer: fn(&str) -> (u16, String)) -> Docker {
    let app = Router::new().route("/version", get(async || r#"{"ApiVersion": "1.41"}"#)).route(
        "/containers/create",
        post(move |body: String| async move {
            let (status, body) = answer(&body);
            (http::StatusCode::from_u16(status).unwrap(), body)
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    docker_at(&endpoint, &"ci1".parse().unwrap(), &Arc::default())
}

#[tokio::test]
async fn an_echoed_request_shows_nothing_of_the_jit_config() {
    let stand = Stand::new().await;
    let jit: String = (0..2000_u32).map(|n| char::from(b'A' + (n * n * 7 % 26).to_le_bytes()[0])).collect();
    let json = |text: &str| serde_json::to_string(text).unwrap();
    for answer in [
        (|body| (403, body.to_owned())) as fn(&str) -> (u16, String),
        |body| (500, format!("{{\"message\": {}}}", serde_json::to_string(body).unwrap())),
        |body| (400, base64::engine::general_purpose::STANDARD.encode(body)),
        |body| (201, serde_json::to_string(body).unwrap()),
        |body| (201, format!("{{\"Id\": {}}}", serde_json::to_string(body).unwrap())),
        |body| {
            (
                201,
                format!(
                    "{{\"Id\": {:?}, \"Warnings\": []}}",
                    &body[body.find("JITCONFIG=").unwrap() + 10..][..64]
                ),
            )
        },
        |body| (201, format!("{{\"Id\": \"c\", \"Warnings\": [{}]}}", serde_json::to_string(body).unwrap())),
    ] {
        let docker = echoing(answer).await;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(format!("trace,{}", LOG_CAPS.join(","))).unwrap())
            .with_writer(move || writer.clone())
            .finish();
        crate::subscribers::allow_several();
        let guard = subscriber.set_default();
        let (runner, pool, secret) = (stand.name(), stand.pool(IDLE), SecretString::from(jit.clone()));
        let given = Given::default();
        let outcome = docker.create(Launch { jit: &secret, ..stand.launch(&runner, &pool, &given) }).await;
        drop(guard);
        let mut shown = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        match outcome {
            Ok(id) => assert_eq!(&*id.0, "c"),
            Err(error) => {
                let text = chain(&error);
                assert!(text.contains("create container"), "{text}");
                shown += &text;
            }
        }
        let pieces = jit.as_bytes().windows(16).map(|piece| std::str::from_utf8(piece).unwrap());
        let leaked = pieces.filter(|piece| shown.contains(piece)).count();
        assert_eq!(leaked, 0, "{}", json(&shown));
    }
}

async fn everything_logged(stand: &Stand, filter: &[&str]) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter.join(",")).unwrap())
        .with_writer(move || writer.clone())
        .finish();
    crate::subscribers::allow_several();
    let guard = subscriber.set_default();
    let (_, id) = stand.run(IDLE).await;
    stand.docker.list().await.unwrap();
    stand.docker.exit(&id).await.unwrap();
    drop(guard);
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

/// A log that is kept in memory.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
