//! An image of simulated runners whose jobs are shell scripts that use Docker: what the official image has, as far as
//! the scripts need it, made from this machine's programs.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use bollard::{body_full, query_parameters::CreateImageOptionsBuilder};
use futures_util::TryStreamExt as _;

use crate::{engine, world::World};

/// The command that starts the runner.
pub(crate) const COMMAND: &str = "/home/runner/run.sh";

const PROGRAMS: &[&str] = &[
    "bash",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dirname",
    "docker",
    "env",
    "find",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "perl",
    "rm",
    "seq",
    "sha256sum",
    "sleep",
    "stat",
    "tail",
    "tar",
    "touch",
    "tr",
];

const RUN: &str = r#"#!/bin/sh
DIR=$(cd -P "$(dirname "$0")" && pwd)
cd "$DIR"
exec /dayfly simulated-runner "$@"
"#;

/// The user that the runner's files belong to.
const RUNNER: u64 = 1001;

/// Makes the image under a tag of the test's own, and returns its name. Without a docker command on this machine,
/// prints that the test was skipped.
pub(crate) async fn make(world: &World, test: &str) -> Option<String> {
    if find("docker").is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: {test}: this machine has no docker command");
        return None;
    }
    let tag = format!("{}-runner", world.instance);
    let changes = ["ENV PATH=/usr/bin", "USER 1001", "WORKDIR /home/runner"].map(str::to_owned).to_vec();
    let options =
        CreateImageOptionsBuilder::new().from_src("-").repo(engine::REPOSITORY).tag(&tag).changes(changes);
    let body = body_full(archive().into());
    let import = world.engine.create_image(Some(options.build()), Some(body), None);
    import.try_collect::<Vec<_>>().await.unwrap();
    Some(format!("{}:{tag}", engine::REPOSITORY))
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, target) in
        [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("usr/bin/sh", "bash")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    for (name, mode, owner) in [
        ("tmp/", 0o1777, 0),
        ("home/runner/", 0o755, RUNNER),
        ("home/runner/bin/", 0o755, RUNNER),
        ("home/runner/externals/", 0o755, RUNNER),
    ] {
        put(&mut tar, name, mode, owner, &[]);
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nrunner:x:1001:1001:runner:/home/runner:/bin/sh\n";
    put(&mut tar, "etc/passwd", 0o644, 0, passwd);
    put(&mut tar, "home/runner/run.sh", 0o755, RUNNER, RUN.as_bytes());
    put(&mut tar, "home/runner/externals/tool", 0o755, RUNNER, b"#!/bin/sh\necho external\n");
    let programs: Vec<PathBuf> = PROGRAMS.iter().filter_map(|name| find(name)).collect();
    assert!(programs.len() > PROGRAMS.len() / 2, "this machine has few of {PROGRAMS:?}");
    let binary = engine::binary();
    let mut libraries = BTreeSet::new();
    for program in programs.iter().chain([&binary]) {
        libraries.extend(libraries_of(program));
    }
    for program in &programs {
        let name = program.file_name().unwrap().to_str().unwrap();
        put(&mut tar, &format!("usr/bin/{name}"), 0o755, 0, &fs::read(program).unwrap());
    }
    for library in libraries {
        let name = library.trim_start_matches('/');
        let name = if name.starts_with("usr/") { name.to_owned() } else { format!("usr/{name}") };
        put(&mut tar, &name, 0o755, 0, &fs::read(&library).unwrap());
    }
    put(&mut tar, "dayfly", 0o755, 0, &fs::read(binary).unwrap());
    tar.into_inner().unwrap()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/bin").join(program);
    path.exists().then_some(path)
}

/// The libraries of a program and its interpreter: lines such as `libc.so.6 => /lib/libc.so.6 (0x…)`.
fn libraries_of(program: &Path) -> Vec<String> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    listed.lines().filter_map(path).collect()
}

fn put(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, owner: u64, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let is_folder = name.ends_with('/');
    header.set_entry_type(if is_folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes).unwrap();
}
