//! An image made on the spot, since none can be pulled in a test: this machine's `/bin/sh` and
//! `sleep` with the libraries that a shell maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    process::Command,
};

use bollard::{Docker, body_full, query_parameters::CreateImageOptionsBuilder};
use futures_util::TryStreamExt;

/// Makes the image `name:tag`. It has `/bin/sh`, `/bin/sleep`, the same as `/bin/Runner.Worker`,
/// a `/tmp`, a `/home/runner/kept`, and an anonymous volume at `/scratch`.
pub(crate) async fn import(docker: &Docker, name: &str, tag: &str) {
    import_root(docker, name, tag, root()).await;
}

/// Makes an image of these files.
pub(crate) async fn import_root(docker: &Docker, name: &str, tag: &str, root: Vec<u8>) {
    import_changed(docker, name, tag, root, "VOLUME /scratch").await;
}

/// The same with another change to the image's configuration.
pub(crate) async fn import_changed(docker: &Docker, name: &str, tag: &str, root: Vec<u8>, change: &str) {
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(name)
        .tag(tag)
        // bollard puts several on lines of one parameter, which Podman takes for one.
        .changes(vec![change.to_owned()])
        .build();
    // Podman fails to import an image while another test removes one with the same files.
    let mut tries = 0;
    loop {
        tries += 1;
        let body = body_full(root.clone().into());
        let imported =
            docker.create_image(Some(options.clone()), Some(body), None).try_collect::<Vec<_>>().await;
        match imported {
            Err(error) if tries < 20 && error.to_string().contains("layer not known") => {}
            imported => {
                imported.expect("the engine imports an image");
                return;
            }
        }
    }
}

/// The image's files as a tar archive.
pub(crate) fn root() -> Vec<u8> {
    root_with(&[], &[])
}

/// The same with more programs of this machine in `/bin`, and the libraries of these files.
pub(crate) fn root_with(programs: &[&str], linked: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for dir in ["tmp/", "scratch/", "home/", "home/runner/"] {
        put(&mut archive, dir, tar::EntryType::Directory, 0o777, &[]);
    }
    put(&mut archive, "home/runner/kept", tar::EntryType::Regular, 0o644, b"of the image\n");
    add(&mut archive, "/bin/sh", "bin/sh");
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
    let sleep = sleep.expect("this machine has sleep");
    add(&mut archive, sleep, "bin/sleep");
    add(&mut archive, sleep, "bin/Runner.Worker");
    let found: Vec<String> = programs.iter().map(|program| format!("/bin/{program}")).collect();
    for (program, path) in programs.iter().zip(&found) {
        add(&mut archive, path, &format!("bin/{program}"));
    }
    let linked = found.iter().map(String::as_str).chain(linked.iter().copied());
    // One path for each: the linker names some by a link to their directory.
    let named = |path: String| Path::new(&path).file_name().map(OsStr::to_owned).zip(Some(path));
    let paths = linked.flat_map(linked_by).chain(libraries());
    let libraries: BTreeMap<OsString, String> = paths.filter_map(named).collect();
    for (name, library) in libraries {
        let name = name.to_str().expect("a library has a name");
        // Its own path, and where programs look for their interpreter, which the kernel has resolved already. Newer
        // engines refuse a path that is there twice.
        let own = library.trim_start_matches('/').to_owned();
        for path in BTreeSet::from([own, format!("lib64/{name}"), format!("lib/{name}")]) {
            add(&mut archive, &library, &path);
        }
    }
    archive.into_inner().expect("memory can be written to")
}

/// The libraries that the dynamic linker finds for a program.
fn linked_by(program: &str) -> BTreeSet<String> {
    let listed = Command::new("ldd").arg(program).output().expect("this machine has ldd");
    let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
    paths.map(str::to_owned).collect()
}

/// What a shell maps into its memory, as it reads itself.
fn libraries() -> BTreeSet<String> {
    let read = "while read -r line; do echo \"$line\"; done < /proc/self/maps";
    let maps = Command::new("/bin/sh").args(["-c", read]).output().expect("this machine has /bin/sh");
    let maps = String::from_utf8(maps.stdout).expect("paths are UTF-8");
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| line[at..].to_owned()));
    let libraries: BTreeSet<String> = paths.filter(|path| path.contains(".so")).collect();
    assert!(!libraries.is_empty(), "/bin/sh maps no libraries that could be read from:\n{maps}");
    libraries
}

fn add(archive: &mut tar::Builder<Vec<u8>>, from: &str, to: &str) {
    let bytes = fs::read(from).unwrap_or_else(|error| panic!("cannot read {from}: {error}"));
    put(archive, to, tar::EntryType::Regular, 0o755, &bytes);
}

pub(crate) fn put(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).expect("memory can be written to");
}
