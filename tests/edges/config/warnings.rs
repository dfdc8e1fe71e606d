//! Warnings.

use super::{SOUND, Written, pool_warnings};

#[test]
fn labels_that_may_surprise_are_warned_of() {
    assert_eq!(
        Written::new(SOUND.replace("self-hosted", "mine")).warnings(),
        [
            r#"dayfly.toml:5: pool "linux": labels: do not include "self-hosted": jobs that ask for it do not run here, since a runner gets exactly these labels; add "self-hosted""#
        ]
    );
    let other = |name: &str, path: &str, labels: &str| {
        format!("[[pool]]\nname = \"{name}\"\nurl = \"https://github.com/{path}\"\nlabels = {labels}\n")
    };
    assert_eq!(
        pool_warnings(&other("gpu", "ACME", r#"["Self-Hosted", "LINUX", "gpu"]"#)),
        [
            r#"dayfly.toml:5: pool "linux": labels: are all labels of pool "gpu" too, which may take this pool's jobs; give each pool a label of its own"#
        ]
    );
    assert_eq!(
        pool_warnings(&other("twin", "acme", r#"["linux", "self-hosted"]"#)),
        [
            r#"dayfly.toml:9: pool "twin": labels: are the same as those of pool "linux", and each may take the other's jobs; give each pool a label of its own"#
        ]
    );
    assert_eq!(pool_warnings(&other("away", "acme/widgets", r#"["self-hosted", "linux"]"#)), [""; 0]);
    assert_eq!(pool_warnings(&other("apart", "acme", r#"["self-hosted", "arm64"]"#)), [""; 0]);
}

#[test]
fn what_is_doubtful_is_a_warning() {
    assert_eq!(
        pool_warnings("max_job_age = \"1h\"\n"),
        [
            r#"dayfly.toml:6: pool "linux": max_job_age: is less than 6h, so jobs are stopped that GitHub would still let run; set "off", or at least 6h"#
        ]
    );
    assert_eq!(pool_warnings("max_job_age = \"6h\"\n"), [""; 0]);
    assert_eq!(
        Written::new(format!("http.listen = \"0.0.0.0:9745\"{SOUND}")).warnings(),
        ["dayfly.toml:1: http.listen: is reachable from other machines, and has no password: anyone who \
             reaches it sees pools, runners and job names; use 127.0.0.1, or protect it with a firewall or \
             a proxy"]
    );
    assert_eq!(Written::new(format!("http.listen = \"[::1]:9745\"{SOUND}")).warnings(), [""; 0]);
    assert_eq!(
        pool_warnings("container.mounts = [\"/var/run/docker.sock:/var/run/docker.sock\"]\n"),
        [
            r#"dayfly.toml:6: pool "linux": container.mounts, item 1: gives every job the engine's socket, and thereby root on the engine's machine"#
        ]
    );
    assert_eq!(
        Written::new(format!("hosts.local.endpoint = \"tcp://10.0.0.7:2375\"{SOUND}")).warnings(),
        ["dayfly.toml:1: hosts.local.endpoint: has no tls_dir: the engine cannot authenticate its \
             clients, and anyone who reaches it is root on its machine; set up TLS on the engine and set \
             tls_dir, or use ssh://"]
    );
}

#[test]
fn an_instance_derived_inside_a_container_is_warned_of() {
    let mut contained = Written::new(SOUND);
    contained.machine.contained = true;
    let warnings = contained.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("dayfly.toml: instance: is not set"), "{warnings:?}");
    assert_eq!(contained.with("DAYFLY_INSTANCE", "ci1").warnings(), [""; 0]);
}
