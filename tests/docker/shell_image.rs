//! An image made on the spot, since none can be pulled in a test: this machine's `/bin/sh` and
//! `sleep` with the libraries that a shell maps.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use bollard::{Docker, body_full, query_parameters::CreateImageOptionsBuilder};
use futures_util::TryStreamExt;

/// Makes the image `name:tag`. It has `/bin/sh`, `/bin/sleep`, the same as `/bin/Runner.Worker`,
/// a `/tmp`, and an anonymous volume at `/scratch`.
pub(crate) async fn import(docker: &Docker, name: &str, tag: &str) {
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(name)
        .tag(tag)
        // bollard puts several on lines of one parameter, which Podman takes for one.
        .changes(vec!["VOLUME /scratch".to_owned()])
        .build();
    // Podman fails to import an image while another test removes one with the same files.
    let mut tries = 0;
    loop {
        tries += 1;
        let body = body_full(root().into());
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
    let mut archive = tar::Builder::new(Vec::new());
    for dir in ["tmp/", "scratch/"] {
        put(&mut archive, dir, tar::EntryType::Directory, 0o777, &[]);
    }
    add(&mut archive, "/bin/sh", "bin/sh");
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
    let sleep = sleep.expect("this machine has sleep");
    add(&mut archive, sleep, "bin/sleep");
    add(&mut archive, sleep, "bin/Runner.Worker");
    for library in libraries() {
        let name =
            Path::new(&library).file_name().and_then(|name| name.to_str()).expect("a library has a name");
        add(&mut archive, &library, library.trim_start_matches('/'));
        // Where programs look for their interpreter, which the kernel has resolved already.
        for dir in ["lib64", "lib"] {
            add(&mut archive, &library, &format!("{dir}/{name}"));
        }
    }
    archive.into_inner().expect("memory can be written to")
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

fn put(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).expect("memory can be written to");
}
