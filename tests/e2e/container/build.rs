//! Builds the image by the shipped Dockerfile, unchanged. Its two base images cannot be pulled in a
//! test, so stand-ins made on the spot take their places: in one of them `cargo` is a script, and what
//! it is asked to build has been built already.

use std::{collections::HashMap, fs, path::Path};

use bollard::{body_full, query_parameters::BuildImageOptionsBuilder};
use futures_util::TryStreamExt as _;

use crate::{engine, shell_image, world::World};

/// The stand-in for the toolchain. It has only what a shell has by itself.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
"build --profile dist --locked --bin dayfly") ;;
*) echo "cargo $* is new to this test"; exit 1 ;;
esac
for needed in Cargo.toml Cargo.lock src/main.rs src/lib.rs crates/fleet/Cargo.toml \
    crates/executor/src/lib.rs crates/fleet/src/lib.rs crates/fleet/benches/plan/main.rs crates/simulator/Cargo.toml crates/simulator/src/lib.rs BENCHES; do
  [ -f "$needed" ] || { echo "$needed is not in the build context"; exit 1; }
done
"#;

/// Builds the image and returns its name.
pub(crate) async fn image(world: &World) -> String {
    let shell = format!("{}-sh", world.instance);
    shell_image::import(&world.engine, engine::REPOSITORY, &shell).await;
    let shell = format!("{}:{shell}", engine::REPOSITORY);
    let rust = build(world, "-sh-rust", toolchain(world, &shell), "", HashMap::new()).await;
    // The simulated runner's image has the libraries that the binary needs, as Debian's has.
    let bases = HashMap::from([("RUST", rust.as_str()), ("BASE", world.image.as_str())]);
    // The first stage under a name of its own, so that it can be removed.
    build(world, "-sh-rust-build", context(), "build", bases.clone()).await;
    build(world, "-sh-rust-build-image", context(), "", bases).await
}

/// The files of the stand-in for Rust's image: a shell, a `cargo`, the program that it would build, and
/// certificate authorities.
fn toolchain(world: &World, shell: &str) -> Vec<u8> {
    let certificate = rcgen::generate_simple_self_signed(["nobody.test".to_owned()]).unwrap().cert.pem();
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let benches: Vec<_> =
        manifest["bench"].as_array().unwrap().iter().map(|bench| bench["path"].as_str().unwrap()).collect();
    let cargo = CARGO.replace("BENCHES", &benches.join(" "));
    let steps =
        format!("FROM {shell}\nCOPY --from={} /dayfly /src/target/dist/dayfly\nCOPY . /\n", world.image);
    let mut archive = tar::Builder::new(Vec::new());
    put(&mut archive, "Dockerfile", 0o644, steps.as_bytes());
    put(&mut archive, "bin/cargo", 0o755, cargo.as_bytes());
    put(&mut archive, "etc/ssl/certs/ca-certificates.crt", 0o644, certificate.as_bytes());
    archive.into_inner().unwrap()
}

/// The build context, as `.dockerignore` has it.
fn context() -> Vec<u8> {
    let ignore = read(".dockerignore");
    let mut lines = ignore.lines();
    assert_eq!(lines.next(), Some("*"), "this test reads a list of what is not ignored");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut archive = tar::Builder::new(Vec::new());
    put(&mut archive, "Dockerfile", 0o644, read("Dockerfile").as_bytes());
    for line in lines {
        let name = line.strip_prefix('!').expect("what is not ignored");
        let path = root.join(name);
        if path.is_dir() {
            archive.append_dir_all(name, path).unwrap();
        } else {
            archive.append_path_with_name(path, name).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn put(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).unwrap();
}

/// Builds with the engine's own builder, and returns the image's name: the instance and a suffix.
async fn build(
    world: &World,
    suffix: &str,
    context: Vec<u8>,
    target: &str,
    arguments: HashMap<&str, &str>,
) -> String {
    let name = format!("{}:{}{suffix}", engine::REPOSITORY, world.instance);
    let options =
        BuildImageOptionsBuilder::new().t(&name).rm(true).forcerm(true).buildargs(&arguments).target(target);
    let reported = world.engine.build_image(options.build(), None, Some(body_full(context.into())));
    let mut output = String::new();
    let built = reported
        .try_for_each(|step| {
            output.extend(step.stream);
            std::future::ready(Ok(()))
        })
        .await;
    if let Err(error) = built {
        panic!("{name} cannot be built: {error}\n{output}");
    }
    name
}
