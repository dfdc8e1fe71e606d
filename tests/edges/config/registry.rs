//! A pool's own credentials for the registry of its image.

use std::{fs, os::unix::fs::PermissionsExt};

use dayfly::host::RegistryLogin;

use super::{SOUND, Written, pool};

fn line(line: usize, key: &str, reported: &str) -> [String; 1] {
    [format!("dayfly.toml:{line}: pool \"linux\": container.{key}: {reported}")]
}

#[test]
fn a_user_and_the_file_of_its_password_belong_together() {
    for (keys, key, reported) in [
        (
            "container.registry_username = \"ci\"",
            "registry_username",
            "has no password; set registry_password_file to the file that contains it",
        ),
        (
            "container.registry_password_file = \"x\"",
            "registry_password_file",
            "has no user; set registry_username",
        ),
        (
            "container = { registry_username = \"ci\", registry_password_file = \"ghp_canary\" }",
            "registry_password_file",
            "contains a token; don't put tokens in this file; put the token in a separate file with mode 0600, set \
             token_file to its path, and revoke this token",
        ),
    ] {
        assert_eq!(pool(keys), line(6, key, reported), "{keys}");
    }
}

#[test]
fn a_password_file_is_checked_but_not_read_and_reaches_the_images_of_its_host() {
    let keys = "registry_username = \"ci\"\nregistry_password_file = \"password\"";
    let second =
        "[[pool]]\nname = \"second\"\nurl = \"https://github.com/acme\"\nlabels = [\"self-hosted\", \"b\"]\n";
    let written = Written::new(format!("{SOUND}[pool.container]\n{keys}\n{second}"));
    let password = written.directory.path().join("password");
    let problems = written.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("; put the password there, owned by"),
        "{problems:?}"
    );
    fs::write(&password, "pw-canary\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = written.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("other users can read (mode 0644)"), "{warnings:?}");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let config = written.load();
    assert_eq!(config.warnings, []);
    assert!(!format!("{config:?}").contains("canary"));
    let images = config.images();
    assert_eq!(images.len(), 1, "both pools use the same image");
    let login = RegistryLogin { username: "ci".to_owned(), password_file: password };
    assert_eq!(images.values().next().unwrap().login, Some(login));
}

#[test]
fn an_image_is_pulled_with_one_login() {
    let of = |name: &str| {
        format!("[pool.container]\nregistry_username = \"{name}\"\nregistry_password_file = \"password\"\n")
    };
    let second =
        "[[pool]]\nname = \"second\"\nurl = \"https://github.com/acme\"\nlabels = [\"self-hosted\", \"b\"]\n";
    let written = Written::new(format!("{SOUND}{}{second}{}", of("a"), of("b")));
    let password = written.directory.path().join("password");
    fs::write(&password, "pw").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let problems = written.problems();
    let expected = "pool \"second\": container.registry_username: and its password must be as in pool \"linux\": the \
                    image of both is pulled once for their host; set the same in both, or leave both keys out in one";
    assert!(problems.len() == 1 && problems[0].ends_with(expected), "{problems:?}");
}
