//! What a container gets of its host: variables and profiles from files, hooks, a proxy, certificates, devices;
//! and a root that cannot be written to.

use std::fs;

use dayfly::{
    fleet::{Device, Hooks, Proxy},
    host::{Host, HostError, TemplateFiles},
};

use super::stand::{Stand, environment};

#[tokio::test]
async fn the_strongest_value_of_a_variable_wins_and_a_changed_file_is_used_at_the_next_launch() {
    let stand = Stand::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    let mut pool = stand.pool("echo \"$FILE $BOTH $http_proxy $HTTPS_PROXY $no_proxy\"");
    pool.template.env_file = Some(path.clone());
    pool.template.env = environment(&[("BOTH", "template")]);
    pool.template.proxy = Proxy {
        http: Some("http://proxy:1".to_owned()),
        https: Some("http://proxy:2".to_owned()),
        no_proxy: Some("localhost".to_owned()),
    };
    let mut labels = Vec::new();
    for (content, said) in [
        ("FILE=one\nBOTH=file\n", "one template http://proxy:1 http://proxy:2 localhost"),
        ("FILE=two\nhttp_proxy=\n", "two template  http://proxy:2 localhost"),
    ] {
        fs::write(&path, content).unwrap();
        let files = TemplateFiles::read(&pool.template).await.unwrap();
        let (runner, id) = stand.run_pool(&pool).await;
        let exit = stand.ended(&id).await;
        assert_eq!(exit.log_tail.lines().next(), Some(said));
        let label = stand.listed(&runner).await.unwrap().template;
        assert_eq!(label, pool.template.digest_with(files.digest()));
        labels.push(label);
    }
    assert_ne!(labels[0], labels[1]);
}

#[tokio::test]
async fn hooks_and_certificates_are_mounted_and_cannot_be_written_to() {
    let stand = Stand::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (hook, authority) = (folder.path().join("start.sh"), folder.path().join("ca.pem"));
    fs::write(&hook, "echo hook ran\n").unwrap();
    fs::write(&authority, "certificate\n").unwrap();
    let mut pool = stand.pool(
        "/bin/sh $ACTIONS_RUNNER_HOOK_JOB_STARTED; read -r ca < $NODE_EXTRA_CA_CERTS; \
         echo \"$ca $RUNNER_UPDATE_CA_CERTS $ACTIONS_RUNNER_HOOK_JOB_COMPLETED.\"; \
         echo x >> $ACTIONS_RUNNER_HOOK_JOB_STARTED || echo kept",
    );
    pool.template.hooks = Hooks { job_started: Some(text(&hook)), job_completed: None };
    pool.template.ca_file = Some(text(&authority));
    let (_, id) = stand.run_pool(&pool).await;
    let exit = stand.ended(&id).await;
    for line in ["hook ran", "certificate 1 .", "kept"] {
        assert!(exit.log_tail.lines().any(|said| said == line), "{line:?} is not in\n{}", exit.log_tail);
    }

    pool.template.hooks.job_completed = Some(text(&folder.path().join("none.sh")));
    let error = stand.create(&pool).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains("none.sh")), "{error}");
}

#[tokio::test]
async fn a_read_only_root_leaves_the_runners_folder_and_the_temporary_ones_writable() {
    let stand = Stand::new().await;
    let mut pool = stand.pool(
        "for f in /x /etc/x /tmp/x /var/tmp/x /run/x /home/runner/x; do (echo 1 > $f) && echo \"wrote $f\"; done; \
         read -r kept < /home/runner/kept; echo \"$kept\"; \
         while read -r l; do case $l in *' /tmp '*) echo \"$l\";; esac; done < /proc/self/mounts",
    );
    pool.template.read_only = true;
    pool.template.writable = vec!["/home/runner".to_owned()];
    let (_, id) = stand.run_pool(&pool).await;
    let exit = stand.ended(&id).await;
    let wrote: Vec<_> = exit.log_tail.lines().filter_map(|line| line.strip_prefix("wrote ")).collect();
    assert_eq!(wrote, ["/tmp/x", "/var/tmp/x", "/run/x", "/home/runner/x"], "{}", exit.log_tail);
    assert!(exit.log_tail.lines().any(|line| line == "of the image"), "{}", exit.log_tail);
    let tmp = exit.log_tail.lines().find(|line| line.contains(" /tmp ")).unwrap();
    assert!(tmp.contains("nosuid") && !tmp.contains("noexec"), "{tmp}");

    let volumes = stand.volumes_of(&id).await;
    assert_eq!(volumes.len(), 2, "that of the image, and the runner's folder: {volumes:?}");
    stand.docker.remove(&id).await.unwrap();
    for volume in volumes {
        assert!(stand.engine.inspect_volume(&volume).await.is_err(), "{volume} is left");
    }
}

#[tokio::test]
async fn a_seccomp_profile_is_applied_by_its_content() {
    let stand = Stand::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.json");
    // Everything is allowed but to set the mask of new files.
    fs::write(
        &path,
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["umask"], "action": "SCMP_ACT_ERRNO" }] }"#,
    )
    .unwrap();
    let script = "while read -r l; do echo \"$l\"; done < /proc/self/status; umask 077; umask";
    let mut pool = stand.pool(script);
    pool.template.seccomp_profile = Some(path);
    let (_, id) = stand.run_pool(&pool).await;
    let exit = stand.ended(&id).await;
    assert!(exit.log_tail.lines().any(|line| line == "Seccomp:\t2"), "{}", exit.log_tail);
    assert_ne!(exit.log_tail.lines().last(), Some("0077"), "the call had an effect: {}", exit.log_tail);
}

#[tokio::test]
async fn a_shared_device_is_there_with_its_permissions() {
    let stand = Stand::new().await;
    let mut pool =
        stand.pool("read -r l < /dev/nothing || echo end; (echo x > /dev/nothing) || echo refused");
    let device = |permissions: &str| Device {
        source: "/dev/null".to_owned(),
        target: "/dev/nothing".to_owned(),
        permissions: permissions.to_owned(),
    };
    pool.template.shared_devices = vec![device("rwm")];
    let (_, id) = stand.run_pool(&pool).await;
    assert_eq!(stand.ended(&id).await.log_tail.trim(), "end");
    pool.template.shared_devices = vec![Device { source: "/dev/none".to_owned(), ..device("r") }];
    let created = stand.create(&pool).await;
    let error = match created {
        Ok((_, id)) => stand.docker.start(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("/dev/none"), "{error}");
}

#[tokio::test]
async fn a_network_is_known_to_have_a_way_out_or_none() {
    let stand = Stand::new().await;
    let facts = async |name: &str| stand.docker.network(name).await.unwrap().map(|facts| facts.is_internal);
    assert_eq!(facts("bridge").await, Some(false));
    assert_eq!(facts(&format!("none-{}", stand.instance)).await, None);
    assert_eq!(facts("../containers/json").await, None);
}

fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}
