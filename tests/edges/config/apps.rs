//! GitHub Apps, extra certificate authorities, and which credentials fit which scopes.

use std::{fs, os::unix::fs::PermissionsExt};

use dayfly::github::{AppSource, CredentialKind, CredentialSource, TokenSource};

use super::{SOUND, Written, head};

/// A valid file with an App and these further keys, its private key beside it.
fn with_app(keys: &str, pools: &str) -> Written {
    let written = Written::new(format!(
        "[credentials.default]\napp_id = \"Iv23liabc\"\nprivate_key_file = \"app.pem\"\n{keys}\n{pools}"
    ));
    let key = written.directory.path().join("app.pem");
    fs::write(&key, "any text: keys are looked at, not read").expect("a file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    written
}

fn app(written: &Written) -> AppSource {
    match &written.load().credentials["default"].kind {
        CredentialKind::App(app) => app.clone(),
        CredentialKind::Token(source) => panic!("{source}"),
    }
}

#[test]
fn an_app_has_an_id_a_key_and_perhaps_an_installation() {
    let written = with_app("", SOUND);
    let key = written.directory.path().join("app.pem");
    let source = |app_id: &str, installation_id| AppSource {
        app_id: app_id.to_owned(),
        private_key_file: key.clone(),
        installation_id,
    };
    assert_eq!(app(&written), source("Iv23liabc", None));
    let written = written
        .with("DAYFLY_CREDENTIALS__DEFAULT__APP_ID", "123456")
        .with("DAYFLY_CREDENTIALS__DEFAULT__INSTALLATION_ID", "42");
    assert_eq!(app(&written), source("123456", Some(42)));
    assert_eq!(written.warnings(), [""; 0]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        written.warnings(),
        ["dayfly.toml:3: credentials.default.private_key_file: names a file that other users can read \
             (mode 0644); chmod 0600 app.pem"]
    );
}

#[test]
fn a_number_is_an_app_id_too_and_the_key_may_be_systemds() {
    let text = format!(
        "[credentials.default]\napp_id = 7\nprivate_key_file = \"$CREDENTIALS_DIRECTORY/app.pem\"{SOUND}"
    );
    let written = Written::new(text);
    let directory = written.directory.path().to_owned();
    fs::write(directory.join("app.pem"), "key").unwrap();
    let written = written.with("CREDENTIALS_DIRECTORY", directory.to_str().unwrap());
    let found = app(&written);
    assert_eq!((found.app_id.as_str(), found.private_key_file), ("7", directory.join("app.pem")));
}

#[test]
fn half_an_app_or_too_much_of_it_is_refused() {
    let no_id = r#"1: credentials.default.app_id: is missing; set it to the App's client id, which its settings show, for example app_id = "Iv23liAbCdEf""#;
    let both = "1: credentials.default: has both a token and a GitHub App; keep one: a token_… key, or app_id with private_key_file";
    for (keys, reported) in [
        ("installation_id = 42\nprivate_key_file = \"dayfly.toml\"", no_id),
        (
            "app_id = 7",
            "1: credentials.default.private_key_file: is missing; set it to the path of the PEM file that \
             GitHub offered when the key was created",
        ),
        ("app_id = 7\nprivate_key_file = \"dayfly.toml\"\ntoken_env = \"GITHUB_TOKEN\"", both),
        (
            "app_id = \"\"\nprivate_key_file = \"dayfly.toml\"",
            r#"2: credentials.default.app_id: is not the client id of a GitHub App; the App's settings show it: "Iv23…""#,
        ),
        (
            "app_id = 7\nprivate_key_file = \"none.pem\"",
            "3: credentials.default.private_key_file: names a file that cannot be read: No such file or \
             directory (os error 2); put the private key there, owned by the user that runs this, with mode \
             0600",
        ),
        (
            "app_id = [7]\nprivate_key_file = \"x\"",
            "2: credentials.default.app_id: must be a string in quotes, or a number, not a list",
        ),
    ] {
        let reported = [format!("dayfly.toml:{reported}")];
        let lines: Vec<_> = head(&format!("[credentials.default]\n{keys}"))
            .into_iter()
            .filter(|line| !line.contains("others may read"))
            .collect();
        assert_eq!(lines, reported, "{keys}");
    }
}

#[test]
fn an_app_cannot_serve_an_enterprise() {
    let enterprise = SOUND.replace("github.com/acme", "github.com/enterprises/acme");
    assert_eq!(
        with_app("", &enterprise).problems(),
        ["dayfly.toml:6: pool \"linux\": credentials: is a GitHub App, but only classic tokens can \
             manage an enterprise's runners; use a classic token with manage_runners:enterprise, or \
             register at the organizations instead"]
    );
    Written::new(enterprise).load();
}

#[test]
fn one_installation_serves_one_account_and_an_app_any_number() {
    let other = SOUND.replace("linux\"\nurl", "other\"\nurl").replace("com/acme", "com/umbrella/corp");
    let both = format!("{SOUND}{other}");
    with_app("", &both).load();
    assert_eq!(
        with_app("installation_id = 42", &both).problems(),
        ["dayfly.toml:4: credentials.default.installation_id: belongs to one account, but pools use this \
             credential for https://github.com/acme and https://github.com/umbrella; remove it: the \
             installation of each account is found automatically"]
    );
    let same = SOUND.replace("linux\"\nurl", "other\"\nurl").replace("com/acme", "com/acme/widgets");
    with_app("installation_id = 42", &format!("{SOUND}{same}")).load();
}

#[test]
fn a_ca_file_goes_with_any_credential_and_must_be_there() {
    let text = format!("[credentials.default]\ntoken_env = \"GITHUB_TOKEN\"\nca_file = \"ca.pem\"{SOUND}");
    let written = Written::new(text);
    assert_eq!(
        written.problems(),
        ["dayfly.toml:3: credentials.default.ca_file: names a file that cannot be read: No such file or \
             directory (os error 2); put the certificates in PEM there, readable by the user that runs this"]
    );
    let ca_file = written.directory.path().join("ca.pem");
    fs::write(&ca_file, "certificates").unwrap();
    // Certificates are public.
    fs::set_permissions(&ca_file, fs::Permissions::from_mode(0o644)).unwrap();
    let config = written.load();
    let token = CredentialSource::from(TokenSource::Env("GITHUB_TOKEN".to_owned()));
    assert_eq!(config.credentials["default"], CredentialSource { ca_file: Some(ca_file), ..token });
    assert_eq!(config.warnings, []);
}

#[test]
fn a_key_in_the_configuration_itself_is_never_repeated() {
    for keys in [
        "app_id = 7\nprivate_key_file = \"-----BEGIN RSA PRIVATE KEY-----canary\"",
        "app_id = 7\nprivate_key_file = \"ghp_canary\"",
        "app_id = \"ghp_canary\"\nprivate_key_file = \"x\"",
        "app_id = [\"canary\"]",
        "app_id = 7\ninstallation_id = \"canary\"",
        "app_id = 7\nprivate_key = \"canary\"",
        "ca_file = \"-----BEGIN canary\"\ntoken_env = \"GITHUB_TOKEN\"",
    ] {
        let lines = head(&format!("[credentials.default]\n{keys}")).join("\n");
        assert!(!lines.is_empty() && !lines.contains("canary"), "{keys}\n{lines}");
    }
}
