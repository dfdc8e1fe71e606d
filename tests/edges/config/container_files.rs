//! Files, devices, hooks and proxies of a container.

use std::path::Path;

use super::{SOUND, Written, pool, pool_warnings};

fn container(keys: &str) -> Vec<String> {
    pool(&format!("[pool.container]\n{keys}"))
}

#[test]
fn what_a_container_is_given_is_read() {
    let written = Written::new(format!(
        "{SOUND}[pool.container]
env_file = \"linux.env\"
devices = [\"/dev/kvm\", \"/dev/ttyUSB0:/dev/serial\", \"/dev/null:/dev/n:r\"]
security_opt = [\"apparmor=runner\", \"seccomp=profile.json\"]
read_only = true
ca_file = \"/etc/ssl/corp.pem\"
hooks = {{ job_started = \"/etc/dayfly/start.sh\" }}
proxy = {{ http = \"http://proxy:3128\", https = \"http://user:hush@proxy:3128\", no_proxy = \"localhost,.corp\" }}
"
    ));
    let config = written.load();
    let template = &config.pools[0].pool.template;
    let beside = |name: &str| Some(written.directory.path().join(name));
    assert_eq!(
        (&template.env_file, &template.seccomp_profile),
        (&beside("linux.env"), &beside("profile.json"))
    );
    assert_eq!(template.security_opt, ["apparmor=runner"]);
    let devices = template.shared_devices.iter();
    let devices: Vec<_> =
        devices.map(|one| format!("{} {} {}", one.source, one.target, one.permissions)).collect();
    assert_eq!(devices, ["/dev/kvm /dev/kvm rwm", "/dev/ttyUSB0 /dev/serial rwm", "/dev/null /dev/n r"]);
    assert!(template.read_only);
    assert_eq!(template.writable, ["/home/runner"]);
    assert_eq!(template.ca_file.as_deref(), Some("/etc/ssl/corp.pem"));
    assert_eq!(template.hooks.job_started.as_deref(), Some("/etc/dayfly/start.sh"));
    assert_eq!(template.hooks.job_completed, None);
    assert_eq!(template.proxy.https.as_deref(), Some("http://user:hush@proxy:3128"));
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn a_file_of_systemd_is_found_in_and_outside_of_its_unit() {
    let text = format!("{SOUND}[pool.container]\nenv_file = \"$CREDENTIALS_DIRECTORY/env\"\n");
    let env_file = |written: &Written| written.load().pools[0].pool.template.env_file.clone().unwrap();
    let inside = Written::new(&text).with("CREDENTIALS_DIRECTORY", "/run/credentials/dayfly.service");
    assert_eq!(env_file(&inside), Path::new("/run/credentials/dayfly.service/env"));
    // The pool fails alone, and `check` reports it.
    assert_eq!(env_file(&Written::new(&text)), Path::new("$CREDENTIALS_DIRECTORY/env"));
}

#[test]
fn what_could_not_work_is_refused_and_no_password_is_shown() {
    let no_path = "must be an absolute path; write the full path of a file on the engine's machine";
    let no_proxy =
        "must be an address with http:// or https://; for example \"http://proxy.example.com:3128\"";
    for (keys, reported) in [
        ("env_file = \"\"", "env_file: must not be empty; leave it out".to_owned()),
        ("ca_file = \"corp.pem\"", format!("ca_file: {no_path}")),
        (
            "ca_file = \"~/corp.pem\"",
            "ca_file: contains \"~\" or a variable, which only a shell expands; write the full path".to_owned(),
        ),
        ("hooks = { job_started = \"start.sh\" }", format!("hooks.job_started: {no_path}")),
        (
            "hooks = { job_completed = \"/etc/end\" }",
            "hooks.job_completed: must be the path of a shell script, *.sh".to_owned(),
        ),
        (
            "env = { ACTIONS_RUNNER_HOOK_JOB_STARTED = \"/a.sh\" }\nhooks = { job_started = \"/b.sh\" }",
            "hooks.job_started: sets ACTIONS_RUNNER_HOOK_JOB_STARTED, which is also in env; remove one of both"
                .to_owned(),
        ),
        (
            "hooks = { job_start = \"/a.sh\" }",
            "hooks.job_start: is not a known key; did you mean \"job_started\"?".to_owned(),
        ),
        (
            "devices = [\"kvm\"]",
            "devices, item 1: \"kvm\" is not a device; write \"/dev/kvm\", or \"SOURCE:TARGET:rwm\"".to_owned(),
        ),
        (
            "devices = [\"/dev/kvm\", \"/dev/a:/dev/b:x\"]",
            "devices, item 2: \"/dev/a:/dev/b:x\" is not a device; write \"/dev/kvm\", or \"SOURCE:TARGET:rwm\""
                .to_owned(),
        ),
        ("proxy = { http = \"user:hush@proxy:3128\" }", format!("proxy.http: {no_proxy}")),
        ("proxy = { https = \"socks5://hush@proxy\" }", format!("proxy.https: {no_proxy}")),
        (
            "proxy = { no_proxy = \"localhost\" }",
            "proxy.no_proxy: has no effect without http or https; set one of them, or remove it".to_owned(),
        ),
        (
            "read_only = true\ncommand = [\"/start\"]",
            "writable: is missing: with read_only the runner must be able to write to its folder; write \
             writable = [\"/home/runner\"], or where the image has the runner"
                .to_owned(),
        ),
        (
            "read_only = true\nwritable = [\"/\"]",
            "writable, item 1: must be the absolute path of a folder of the image; for example \"/home/runner\""
                .to_owned(),
        ),
        (
            "writable = [\"/srv\"]",
            "writable: has no effect without read_only; set read_only = true, or remove it".to_owned(),
        ),
    ] {
        let problems = container(keys);
        let [line] = &problems[..] else { panic!("{keys}: {problems:?}") };
        let (_, line) = line.split_once("pool \"linux\": container.").unwrap();
        assert_eq!(line, reported, "{keys}");
        assert!(!line.contains("hush"));
    }
}

#[test]
fn what_works_with_a_catch_is_warned_of() {
    let warned = |keys: &str| pool_warnings(&format!("[pool.container]\n{keys}"));
    let sudo = warned("security_opt = [\"no-new-privileges\"]");
    assert!(sudo.len() == 1 && sudo[0].contains("sudo fails in jobs"), "{sudo:?}");
    assert_eq!(warned("security_opt = [\"no-new-privileges:false\", \"seccomp=unconfined\"]"), [""; 0]);
    let addresses = warned("proxy = { http = \"http://p:1\", no_proxy = \"localhost,10.0.0.0/8\" }");
    assert!(addresses.len() == 1 && addresses[0].contains("IP addresses"), "{addresses:?}");
}
