//! The files in `config/`: they load, and say what they are said to.

use std::{fs, path::Path};

use dayfly::host::Endpoint;

use super::{SOUND, Written};

/// A file in `config/`, with the token taken from the environment and an App's key from beside it:
/// what is in `/etc/dayfly` is not on the machine that runs the tests.
fn shipped(name: &str) -> Written {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(path).expect("the shipped file");
    let changed = text.replace("token_file = \"/etc/dayfly/token\"", "token_env = \"GITHUB_TOKEN\"");
    let changed =
        changed.replace("\nprivate_key_file = \"/etc/dayfly/app.pem\"", "\nprivate_key_file = \"app.pem\"");
    assert_ne!(text, changed, "{name} names neither a token file nor a key");
    let written = Written::new(changed.replace("/etc/dayfly/webhook-secret", "webhook-secret"));
    written.secret("app.pem");
    written.secret("webhook-secret");
    written
}

#[test]
fn the_commented_file_loads_and_says_the_defaults() {
    let commented = shipped("dayfly.toml").load();
    assert_eq!(commented.warnings, []);
    let smallest = Written::new(SOUND.replace("\"linux\"]", "\"linux\", \"x64\"]")).load();
    assert_eq!(commented.pools[0].pool, smallest.pools[0].pool);
    assert_eq!(commented.hosts[0].host, smallest.hosts[0].host);
    assert!(matches!(&commented.hosts[0].endpoint, Endpoint::Unix(path) if path.ends_with("docker.sock")));
    assert_eq!(
        (commented.listen, commented.poll_interval, commented.hosts[0].min_free_disk),
        (smallest.listen, smallest.poll_interval, smallest.hosts[0].min_free_disk)
    );
}

#[test]
fn every_example_loads_without_a_warning() {
    const NAMES: [&str; 11] = [
        "enterprise.toml",
        "ghes.toml",
        "github-app.toml",
        "organization.toml",
        "queue.toml",
        "repository.toml",
        "scale-set.toml",
        "several-hosts.toml",
        "several-pools.toml",
        "swarm.toml",
        "webhook.toml",
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, NAMES);
    for name in names {
        assert_eq!(shipped(&format!("examples/{name}")).warnings(), [""; 0], "{name}");
    }
}
