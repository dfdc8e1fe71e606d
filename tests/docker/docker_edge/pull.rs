//! Looking images up, pulling them from a registry that fits in a test, and removing them.

use std::{env, fs, os::unix::fs::PermissionsExt, process::Command};

use base64::Engine as _;
use bollard::{
    errors::Error,
    query_parameters::{RemoveImageOptions, RemoveImageOptionsBuilder, TagImageOptionsBuilder},
};
use dayfly::host::{Host, HostError, RegistryLogin};

use super::stand::{IDLE, Stand};
use crate::{registry::Registry, shell_image};

#[tokio::test]
async fn an_image_is_there_or_it_is_not() {
    let stand = Stand::new().await;
    let id = stand.docker.image(&stand.image).await.unwrap().unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(stand.docker.image(&format!("{}:latest", stand.image)).await.unwrap(), Some(id));
    assert_eq!(stand.docker.image("dayfly-edge-no-such-image").await.unwrap(), None);
    for text in ["../containers/json", "a/../../info", "a?b=c", ""] {
        assert!(matches!(stand.docker.image(text).await, Err(HostError::Refused(_))), "{text}");
        assert!(matches!(stand.docker.pull(text, None, |_| {}).await, Err(HostError::Refused(_))), "{text}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_error_also_when_the_image_is() {
    let stand = Stand::new().await;
    let name = format!("127.0.0.1:1/{}", stand.image);
    let tag = bollard::query_parameters::TagImageOptionsBuilder::new().repo(&name).tag("latest").build();
    stand.engine.tag_image(&stand.image, Some(tag)).await.unwrap();
    let error = stand.docker.pull(&name, None, |_| {}).await.unwrap_err();
    let there = stand.docker.image(&name).await.unwrap();
    stand.engine.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
    // Podman does not say where.
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") || text.contains("pull image: connection refused"), "{text}");
    assert!(there.is_some());
}

/// A password whose base64 has characters that only one of the two alphabets has.
const LOGIN: &str = "me:???>>>~~~:x";

/// The tests' own process cannot change its environment, so a second one pulls.
#[tokio::test]
async fn a_pull_uses_the_credentials_of_the_pool_or_of_dockers_configuration_and_its_helpers() {
    const INNER: &str = "DAYFLY_TEST_PULL";
    const OWN: &str = "DAYFLY_TEST_PASSWORD_FILE";
    if let Ok(name) = env::var(INNER) {
        let stand = Stand::new().await;
        let own = env::var(OWN)
            .ok()
            .map(|file| RegistryLogin { username: "me".to_owned(), password_file: file.into() });
        let id = stand.docker.pull(&name, own.as_ref(), |_| {}).await.unwrap();
        let found = stand.docker.image(&name).await.unwrap();
        stand.engine.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
        assert_eq!(found, Some(id));
        let error = stand.docker.pull(&format!("{name}-missing"), own.as_ref(), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("unknown"), "{error}");
        return;
    }

    let is_podman = Stand::new().await.is_podman().await;
    let registry = Registry::start(false, shell_image::root()).await;
    let name = registry.push("runner", "v1", "");
    let address = &registry.address;
    let auth = base64::engine::general_purpose::STANDARD.encode(LOGIN);
    let (user, password) = LOGIN.split_once(':').unwrap();
    let in_file = format!(r#"{{"auths": {{"{address}": {{"auth": "{auth}"}}}}}}"#);
    let by_helper = |name: &str| format!(r#"{{"credHelpers": {{"{address}": "{name}"}}}}"#);
    let stored = r#"{"credsStore": "none"}"#.to_owned();
    let uninstalled = r#"{"credsStore": "uninstalled"}"#.to_owned();
    for (config, own, refused) in [
        (in_file.clone(), false, None),
        (by_helper("works"), false, None),
        ("{}".to_owned(), true, None),
        // The pool's own count more.
        (by_helper("fails"), true, None),
        ("{}".to_owned(), false, Some("no basic auth credentials")),
        (by_helper("fails"), false, Some("docker-credential-fails: the session has expired; to see it fail")),
        (by_helper("uninstalled"), false, Some("is not installed; install it")),
        (stored, false, Some("docker-credential-none has no credentials for")),
        (uninstalled, false, Some("docker-credential-uninstalled, which is not installed")),
    ] {
        registry.logins.lock().unwrap().clear();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), &config).unwrap();
        fs::write(dir.path().join("password"), password).unwrap();
        let works = format!(
            "read -r asked; [ \"$asked\" = '{address}' ] && echo '{{\"Username\": \"{user}\", \"Secret\": \"{password}\"}}'"
        );
        for (helper, script) in [
            ("works", works.as_str()),
            ("fails", "echo 'the session has expired'; exit 1"),
            ("none", "echo 'credentials not found in native keychain'; exit 1"),
        ] {
            let path = dir.path().join(format!("docker-credential-{helper}"));
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut pull = Command::new(env::current_exe().unwrap());
        pull.args([
            "--exact",
            "docker_edge::pull::a_pull_uses_the_credentials_of_the_pool_or_of_dockers_configuration_and_its_helpers",
            "--nocapture",
        ])
        .env("DOCKER_CONFIG", dir.path())
        .env("PATH", format!("{}:{}", dir.path().display(), env::var("PATH").unwrap()))
        .env(INNER, &name);
        if own {
            pull.env(OWN, dir.path().join("password"));
        }
        let output = tokio::task::spawn_blocking(move || (pull.output().unwrap(), dir)).await.unwrap().0;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!text.contains(password), "{config}: {text}");
        match refused {
            None => {
                assert!(output.status.success(), "{config}: {text}");
                let logins = registry.logins.lock().unwrap();
                assert!(logins.iter().any(|login| login == LOGIN), "{config}: {logins:?}");
            }
            // Podman's pull succeeds after one with credentials.
            Some("no basic auth credentials") if is_podman => {
                crate::engines::skipped("a pull without credentials");
            }
            Some(why) => {
                assert!(!output.status.success() && text.contains(why), "{config}: {text}");
                assert!(registry.logins.lock().unwrap().is_empty(), "{config}");
            }
        }
    }
}

/// A reference in this registry whose images go with the test.
async fn forget(stand: &Stand, names: &[&str]) {
    for name in names {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = stand.engine.remove_image(name, Some(options), None).await;
        assert!(
            matches!(removed, Ok(_) | Err(Error::DockerResponseServerError { status_code: 404, .. })),
            "{removed:?}"
        );
    }
}

#[tokio::test]
async fn a_pull_reports_its_layers_and_bytes() {
    let (stand, registry) = (Stand::new().await, Registry::start(true, shell_image::root()).await);
    let name = registry.push(&stand.image, "v1", "");
    let mut reported = Vec::new();
    stand.docker.pull(&name, None, |progress| reported.push(progress)).await.unwrap();
    forget(&stand, &[&name]).await;
    let (first, last) = (reported.first().unwrap(), reported.last().unwrap());
    assert_eq!((first.layers, last.layers, first.since), (0, 1, last.since));
    // The layer may be there already, from another test of the same moment.
    assert_eq!(last.layers_done, 1, "{reported:?}");
    assert_eq!(last.bytes, last.bytes_known, "{reported:?}");
}

#[tokio::test]
async fn a_replaced_image_is_removed_once_nothing_uses_it() {
    let (stand, registry) = (Stand::new().await, Registry::start(true, shell_image::root()).await);
    let name = registry.push(&stand.image, "v1", "old");
    let pull = async || stand.docker.pull(&name, None, |_| {}).await.unwrap();
    let gone = async |id: &str| stand.docker.remove_replaced(&name, id).await.unwrap();
    let exists = async |id: &str| stand.docker.image(id).await.unwrap().is_some();

    let old = pull().await;
    assert!(!gone(&old).await && exists(&old).await, "it still has its tag");
    let (_, container) = stand.create(&stand.pool_of(&old, IDLE)).await.unwrap();
    registry.push(&stand.image, "v1", "new");
    let new = pull().await;
    assert_ne!(old, new);
    assert!(!gone(&old).await && exists(&old).await, "a container uses it");
    stand.docker.remove(&container).await.unwrap();
    assert!(gone(&old).await && !exists(&old).await, "nothing uses it");
    assert!(gone(&old).await, "it was gone already");
    assert_eq!(stand.docker.image(&name).await.unwrap(), Some(new));
    forget(&stand, &[&name]).await;
}

#[tokio::test]
async fn a_replaced_image_that_has_another_name_is_left_alone() {
    let (stand, registry) = (Stand::new().await, Registry::start(true, shell_image::root()).await);
    let name = registry.push(&stand.image, "v1", "old");
    let other = registry.push(&format!("{}-other", stand.image), "v1", "old");
    let old = stand.docker.pull(&name, None, |_| {}).await.unwrap();
    // A tag in the same repository; another repository, by digest alone.
    let tag = TagImageOptionsBuilder::new().repo(name.trim_end_matches(":v1")).tag("mine").build();
    stand.engine.tag_image(&name, Some(tag)).await.unwrap();
    registry.push(&stand.image, "v1", "new");
    stand.docker.pull(&name, None, |_| {}).await.unwrap();
    assert!(!stand.docker.remove_replaced(&name, &old).await.unwrap());
    assert_eq!(stand.docker.image(&name.replace(":v1", ":mine")).await.unwrap().as_ref(), Some(&old));

    assert_eq!(stand.docker.pull(&other, None, |_| {}).await.unwrap(), old);
    forget(&stand, &[&name.replace(":v1", ":mine")]).await;
    registry.push(&format!("{}-other", stand.image), "v1", "newer");
    stand.docker.pull(&other, None, |_| {}).await.unwrap();
    let facts = stand.docker.image_facts(&old).await.unwrap().unwrap();
    assert_eq!((facts.references.len(), facts.digests.is_empty()), (0, false));
    assert!(!stand.docker.remove_replaced("r.example/another", &old).await.unwrap());
    assert_eq!(stand.docker.image(&old).await.unwrap().as_ref(), Some(&old));
    forget(&stand, &[&old, &name, &other]).await;
}
