//! The sources of tokens, and that no secret is ever repeated.

use std::{fs, os::unix::fs::PermissionsExt};

use dayfly::{config::Tokens, github::TokenSource};

use super::{SOUND, Written, head, pool};

#[test]
fn credentials_say_one_place_for_the_token() {
    for (keys, reported) in [
        (
            "",
            r#"1: credentials.default: has no token; write token_file = "…", or for a GitHub App app_id and private_key_file"#,
        ),
        (
            "token_env = \"A\"\ntoken_file = \"b\"",
            "1: credentials.default: has more than one source for the token; keep one of token_file, \
             token_env, token_command",
        ),
        (
            "token_env = \"NOT_SET\"",
            "2: credentials.default.token_env: names a variable that is not set; set it in dayfly's \
             environment, or use token_file",
        ),
        (
            "token_env = \"A B\"",
            r#"2: credentials.default.token_env: must be the name of an environment variable; for example "GITHUB_TOKEN""#,
        ),
        (
            "token_command = []",
            r#"2: credentials.default.token_command: must begin with a program; for example ["gh", "auth", "token"]"#,
        ),
        (
            "token_command = \"gh auth token\"",
            "2: credentials.default.token_command: must be a list in brackets, not a string; write \
             token_command = [\"…\"]",
        ),
    ] {
        assert_eq!(
            head(&format!("[credentials.default]\n{keys}")),
            [format!("dayfly.toml:{reported}")],
            "{keys}"
        );
    }
    assert_eq!(
        head("[credentials]\ntoken_file = \"/x\""),
        ["dayfly.toml:2: credentials.token_file: must be a table, not a string; write it below a name: \
             [credentials.default], then token_file = …"]
    );
    let mut nowhere = Written::new(SOUND);
    nowhere.env.clear();
    assert_eq!(
        nowhere.problems(),
        [
            r#"dayfly.toml: credentials: none is configured, and GITHUB_TOKEN is not set; write [credentials.default] with token_file = "…", or set GITHUB_TOKEN"#
        ]
    );
}

#[test]
fn plain_http_is_for_who_says_so() {
    for (written, allowed) in [("", false), ("\nallow_plain_http = true", true)] {
        let text = SOUND.replace(
            "[[pool]]",
            &format!("[credentials.default]\ntoken_env = \"GITHUB_TOKEN\"{written}\n[[pool]]"),
        );
        let config = Written::new(&text).load();
        assert_eq!(config.credentials["default"].allow_plain_http, allowed);
    }
}

#[test]
fn a_token_file_is_checked_but_not_read() {
    let written = Written::new(format!("[credentials.default]\ntoken_file = \"token\"{SOUND}"));
    let token = written.directory.path().join("token");
    let line = |reported: &str| [format!("dayfly.toml:2: credentials.default.token_file: {reported}")];
    assert_eq!(
        written.problems(),
        line(
            "names a file that cannot be read: No such file or directory (os error 2); put the token there, \
             owned by the user that runs this, with mode 0600"
        )
    );
    // A command that only talks to the daemon needs no token.
    assert!(written.load_with(Tokens::Unneeded).is_ok());
    fs::write(&token, "").unwrap();
    assert_eq!(written.problems(), line("names an empty file; put the token there"));
    fs::write(&token, "ghp_canary\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        written.warnings(),
        line("names a file that other users can read (mode 0644); chmod 0600 token")
    );
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let config = written.load();
    assert_eq!(config.warnings, []);
    assert_eq!(config.credentials["default"], TokenSource::File(token.clone()).into());
    fs::remove_file(&token).unwrap();
    fs::create_dir(&token).unwrap();
    assert_eq!(written.problems(), line("names a directory; set the path of the file in it"));
}

#[test]
fn systemds_credentials_directory_is_put_in_and_nothing_else() {
    for form in ["$CREDENTIALS_DIRECTORY/token", "${CREDENTIALS_DIRECTORY}/token"] {
        let written = Written::new(format!("[credentials.default]\ntoken_file = \"{form}\"{SOUND}"));
        assert_eq!(
            written.problems(),
            ["dayfly.toml:2: credentials.default.token_file: needs CREDENTIALS_DIRECTORY, which is not \
                 set; systemd sets it for a unit with LoadCredential=; elsewhere write the full path"]
        );
        let directory = written.directory.path().to_owned();
        let token = directory.join("token");
        fs::write(&token, "ghp_canary").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o440)).unwrap();
        let written = written.with("CREDENTIALS_DIRECTORY", directory.to_str().unwrap());
        let config = written.load();
        assert_eq!(config.credentials["default"], TokenSource::File(token).into());
        assert_eq!(config.warnings, []);
    }
    let other = Written::new(format!("[credentials.default]\ntoken_file = \"$HOME/token\"{SOUND}"));
    let directory = other.directory.path().to_str().unwrap().to_owned();
    fs::write(other.directory.path().join("token"), "ghp_canary").unwrap();
    assert_eq!(other.with("HOME", &directory).problems().len(), 1);
}

#[test]
fn secrets_in_the_wrong_place_are_never_repeated() {
    let unknown = "[credentials.default]\ntoken = \"ghp_canary\"";
    for text in [
        unknown,
        "[credentials.default]\ntoken_file = \"ghp_canary\"",
        "[credentials.default]\ntoken_file = \"canary\"",
        "[credentials.default]\ntoken_env = \"ghp_canary\"",
        "[credentials.default]\ntoken_env = \"canary-with-hyphens\"",
        "[credentials.default]\ntoken_file = [\"canary\"]",
        "[credentials.default]\ntoken_command = \"canary\"",
        "[credentials.default]\napp_id = \"canary\"",
        "[credentials]\ndefault = \"canary\"",
        "credentials = \"canary\"",
        "http.webhook_secret_file = \"canary\"",
        "http.listen = \"canary\"",
        "hosts.local.endpoint = \"canary\"",
        "[credentials.default]\ntoken_env = \"GITHUB_TOKEN\"\n[[pool]]\ncredentials = \"ghp_canary\"",
        "[credentials.default]\ntoken_file = \"canary",
        "[credentials.default]\ntoken_file = ghp_canary",
        "[credentials.default]\ntoken_file = \"\\canary\"",
    ] {
        let lines = head(text).join("\n");
        assert!(!lines.contains("canary"), "{text}\n{lines}");
    }
    assert_eq!(
        head(unknown),
        ["dayfly.toml:2: credentials.default.token: is not a known key; never put a token in this file: \
             put it in a separate file with mode 0600 and set token_file to its path"]
    );
    let from_env = Written::new(SOUND).with("DAYFLY_CREDENTIALS__DEFAULT__TOKEN", "ghp_canary").problems();
    assert_eq!(from_env.len(), 1, "{from_env:?}");
    assert!(from_env[0].starts_with("DAYFLY_CREDENTIALS__DEFAULT__TOKEN: credentials.default.token: is not"));
    assert!(!from_env[0].contains("canary"));
    assert_eq!(
        pool("container.env = { KEY = [\"canary\"] }"),
        [r#"dayfly.toml:6: pool "linux": container.env.KEY: must be a string in quotes, not a list"#]
    );
}
