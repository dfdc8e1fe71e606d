//! Images made of this program, on the spot and with nothing to pull: a file system of the `dayfly` binary,
//! the shared libraries that it needs and its program interpreter.

use std::{
    collections::{BTreeSet, HashMap},
    env::consts,
    fs::File,
    io::{self, BufWriter, Read, Seek as _, SeekFrom, Write},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bollard::{
    Docker, body_try_stream,
    errors::Error as EngineError,
    query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use ring::digest::{Context, SHA256};
use tokio::{sync::mpsc, time::timeout};

use crate::{clock, files};

/// An engine that takes longer for an import is not well.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(2);

/// Go's name of the architecture that this program is for.
const OWN_ARCHITECTURE: &str = match consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => consts::ARCH,
};

const CHUNK: usize = 1 << 18;

/// The largest file of an image, in bytes; that of a debug build is about a tenth.
const MAX_FILE: u64 = 1 << 30;

/// Part of each tag's hash, to be changed with the other files of the images.
const LAYOUT: &[u8] = b"1";

/// The system's libraries that resolve names, which the C library loads by itself: a binary does not list
/// them. Since glibc 2.34 they are part of it.
const RESOLVERS: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// An image made of this program. Its binary is `/dayfly`; there are users `root` and `runner` (1001), and
/// `/tmp`.
#[derive(Clone, Copy, Debug)]
pub struct OwnImage {
    /// Its name. Its tag is the version of Dayfly with a short hash of the content.
    pub repository: &'static str,
    /// Instructions of a Dockerfile that set its configuration.
    pub changes: &'static [&'static str],
}

/// The image of the egress proxy. Containers have `egress-proxy` and its options as their command, as they do
/// with the published image of Dayfly, and no user with any rights.
pub const EGRESS_PROXY: OwnImage = OwnImage {
    repository: "dayfly-egress-proxy",
    changes: &["ENTRYPOINT [\"/dayfly\"]", "USER 65532:65532"],
};

/// Why there is no image; reads after "failed to make the image: ".
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The binary or one of its libraries cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The interpreter does not list the libraries that the binary needs.
    #[error("{interpreter} does not list the libraries of {binary}")]
    Libraries {
        /// The program interpreter that the binary names.
        interpreter: PathBuf,
        /// The binary.
        binary: PathBuf,
    },
    /// The engine's machine cannot run this program.
    #[error("the engine runs programs for {engine}, and this program is for {own}")]
    Architecture {
        /// System and architecture of the engine's machine: `linux/arm64`.
        engine: String,
        /// Those of this program.
        own: String,
    },
    /// The engine failed or refused.
    #[error("the container engine did not take it")]
    Engine(#[from] EngineError),
    /// The engine did not finish in time.
    #[error("the container engine did not take it within {} s", IMPORT_TIMEOUT.as_secs())]
    Slow,
}

impl ImageError {
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Whether this program runs on a machine with this system and architecture, as an engine reports them.
pub fn runs_on(os: &str, architecture: &str) -> bool {
    // Engines have the kernel's name in one place, and Go's in another.
    os == consts::OS && [consts::ARCH, OWN_ARCHITECTURE].contains(&architecture)
}

/// The binary that runs now, by a path that stays good when the file is replaced.
pub fn running_binary() -> PathBuf {
    // Not /proc/self: it is also opened by the interpreter, in a process of its own.
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

impl OwnImage {
    /// Makes sure that the engine has the image for a `dayfly` binary, and returns its reference. An image of
    /// the same content is used again.
    pub async fn ensure(&self, docker: &Docker, binary: &Path) -> Result<String, ImageError> {
        let (binary, changes) = (binary.to_owned(), self.changes);
        let hashed = tokio::task::spawn_blocking(move || {
            let files = Files::of(&binary)?;
            let tag = format!("{}-{}", env!("CARGO_PKG_VERSION"), files.hash(changes)?);
            Ok::<_, ImageError>((files, tag))
        });
        let (files, tag) = joined(hashed.await)?;
        let reference = format!("{}:{tag}", self.repository);
        match docker.inspect_image(&reference).await {
            Ok(_) => return Ok(reference),
            Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        refuse_other_architecture(docker).await?;
        let (chunks, mut archive) = mpsc::channel(4);
        let packing = tokio::task::spawn_blocking(move || files.pack(&chunks));
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(self.repository)
            .tag(&tag)
            .changes(self.changes.iter().map(|&change| change.to_owned()).collect())
            .build();
        let body = body_try_stream(stream::poll_fn(move |context| archive.poll_recv(context)));
        let import = docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>();
        let imported = timeout(IMPORT_TIMEOUT, import).await;
        let packed = joined(packing.await);
        // Its error is the cause of the engine's, which alone has an archive that is cut off; unless the engine
        // stopped reading.
        match packed {
            Err(error) if !error.is_broken_pipe() => return Err(error),
            _ => imported.map_err(|_| ImageError::Slow)??,
        };
        docker.inspect_image(&reference).await?;
        Ok(reference)
    }

    /// Removes those of earlier versions: all but this one that are older than `age` by the engine's and this machine's
    /// clocks, and that no container uses.
    pub async fn remove_older(
        &self,
        docker: &Docker,
        current: &str,
        age: Duration,
    ) -> Result<(), EngineError> {
        let filters = HashMap::from([("reference", vec![self.repository])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let now = i64::try_from(clock::wall().shown.as_millis() / 1000).unwrap_or(i64::MAX);
        let limit = now.saturating_sub_unsigned(age.as_secs());
        let listed = docker.list_images(Some(options)).await?;
        let old = listed.into_iter().filter(|image| image.created <= limit).flat_map(|image| image.repo_tags);
        for reference in old.filter(|reference| reference != current) {
            match remove(docker, &reference).await {
                // A container uses it.
                Ok(()) | Err(EngineError::DockerResponseServerError { status_code: 409, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Fails when the engine's machine cannot run this program.
async fn refuse_other_architecture(docker: &Docker) -> Result<(), ImageError> {
    let version = docker.version().await?;
    let (Some(os), Some(arch)) = (version.os, version.arch) else { return Ok(()) };
    if runs_on(&os, &arch) {
        return Ok(());
    }
    let own = format!("{}/{OWN_ARCHITECTURE}", consts::OS);
    Err(ImageError::Architecture { engine: format!("{os}/{arch}"), own })
}

/// Removes an image that [`OwnImage::ensure`] made; one that is gone already is a success.
pub async fn remove(docker: &Docker, reference: &str) -> Result<(), EngineError> {
    let options = RemoveImageOptionsBuilder::new().build();
    match docker.remove_image(reference, Some(options), None).await {
        Ok(_) | Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn joined<T>(joined: Result<Result<T, ImageError>, tokio::task::JoinError>) -> Result<T, ImageError> {
    joined.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // These are never cancelled.
        Err(_) => Err(ImageError::Slow),
    })
}

/// What goes into the image.
struct Files {
    binary: PathBuf,
    /// Interpreter and libraries, by the paths at which the loader searches for them.
    libraries: BTreeSet<PathBuf>,
}

impl Files {
    fn of(binary: &Path) -> Result<Self, ImageError> {
        let libraries = match interpreter(binary).map_err(unreadable(binary))? {
            Some(interpreter) => libraries(&interpreter, binary)?,
            None => BTreeSet::new(),
        };
        Ok(Self { binary: binary.to_owned(), libraries })
    }

    /// A hash of all content, short as git's are.
    fn hash(&self, changes: &[&str]) -> Result<String, ImageError> {
        let mut context = Context::new(&SHA256);
        context.update(LAYOUT);
        context.update(changes.join("\n").as_bytes());
        for path in self.libraries.iter().chain([&self.binary]) {
            let mut chunk = vec![0; CHUNK];
            let mut file = open(path)?;
            loop {
                match file.read(&mut chunk).map_err(unreadable(path))? {
                    0 => break,
                    read => context.update(&chunk[..read]),
                }
            }
        }
        let digest = context.finish();
        let short = digest.as_ref().iter().take(6).fold(0_u64, |short, &byte| short << 8 | u64::from(byte));
        Ok(format!("{short:012x}"))
    }

    fn pack(&self, chunks: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), ImageError> {
        let packed = self.archive(BufWriter::with_capacity(CHUNK, Chunks(chunks.clone())));
        if packed.is_err() {
            // The engine must not take half of it for the whole.
            drop(chunks.blocking_send(Err(io::Error::other("the archive is incomplete"))));
        }
        packed
    }

    fn archive(&self, out: impl Write) -> Result<(), ImageError> {
        let mut tar = tar::Builder::new(out);
        let whole = |source| ImageError::Unreadable { path: self.binary.clone(), source };
        let hosts = b"hosts: files dns\n";
        let passwd = b"root:x:0:0:root:/:/dayfly\nrunner:x:1001:1001:runner:/tmp:/dayfly\n";
        entry(&mut tar, "tmp/", 0o1777, 0, io::empty()).map_err(whole)?;
        entry(&mut tar, "etc/passwd", 0o644, passwd.len() as u64, passwd.as_slice()).map_err(whole)?;
        entry(&mut tar, "etc/nsswitch.conf", 0o644, hosts.len() as u64, hosts.as_slice()).map_err(whole)?;
        let binary = (self.binary.as_path(), Path::new("dayfly"));
        let libraries = self.libraries.iter().map(|path| (path.as_path(), path.as_path()));
        for (path, name) in libraries.chain([binary]) {
            // Followed, where it is a link: only the path at which the loader searches for it must exist.
            let file = open(path)?;
            let length = file.metadata().map_err(unreadable(path))?.len();
            entry(&mut tar, name.strip_prefix("/").unwrap_or(name), 0o755, length, file)
                .map_err(unreadable(path))?;
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(whole)
    }
}

fn open(path: &Path) -> Result<File, ImageError> {
    files::open(path, MAX_FILE).map_err(|error| unreadable(path)(error.into()))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    |source| ImageError::Unreadable { path, source }
}

fn entry(
    tar: &mut tar::Builder<impl Write>,
    name: impl AsRef<Path>,
    mode: u32,
    length: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    let is_directory = name.as_ref().as_os_str().as_encoded_bytes().ends_with(b"/");
    header.set_entry_type(if is_directory { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(mode);
    header.set_size(length);
    tar.append_data(&mut header, name, content)
}

/// The program interpreter that an ELF file names (its `PT_INTERP` segment); `None` when it is linked
/// statically.
fn interpreter(binary: &Path) -> io::Result<Option<PathBuf>> {
    const PROGRAM_HEADER_OFFSET: usize = 0x20;
    const PROGRAM_HEADER_SIZE: usize = 0x36;
    const PROGRAM_HEADER_COUNT: usize = 0x38;
    const PT_INTERP: u64 = 3;
    let no_program = || io::Error::new(io::ErrorKind::InvalidData, "it is no 64-bit Linux program");

    let mut file = files::open(binary, MAX_FILE)?;
    let mut header = [0; 0x40];
    file.read_exact(&mut header)?;
    // Class 2 is 64 bits, byte order 1 is little endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(no_program());
    }
    let number = |bytes: &[u8], at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let size = number(&header, PROGRAM_HEADER_SIZE, 2);
    for at in 0..number(&header, PROGRAM_HEADER_COUNT, 2) {
        let mut segment = [0; 0x38];
        file.seek(SeekFrom::Start(number(&header, PROGRAM_HEADER_OFFSET, 8) + at * size))?;
        file.read_exact(&mut segment)?;
        if number(&segment, 0, 4) == PT_INTERP {
            file.seek(SeekFrom::Start(number(&segment, 0x08, 8)))?;
            let mut path = Vec::new();
            file.take(number(&segment, 0x20, 8)).read_to_end(&mut path)?;
            path.retain(|&byte| byte != 0);
            return Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(path))));
        }
    }
    Ok(None)
}

/// The interpreter and the libraries that it would load for a binary, from its own output: lines such as
/// `libc.so.6 => /lib/libc.so.6 (0x…)`.
fn libraries(interpreter: &Path, binary: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let output = Command::new(interpreter)
        .arg("--list")
        .arg(binary)
        // In the container there is none either.
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .map_err(unreadable(interpreter))?;
    if !output.status.success() {
        let (interpreter, binary) = (interpreter.to_owned(), binary.to_owned());
        return Err(ImageError::Libraries { interpreter, binary });
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let paths = listed.lines().filter_map(|line| {
        let path = line.rsplit("=> ").next()?.trim();
        let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    let listed: BTreeSet<PathBuf> = paths.chain([interpreter.to_owned()]).collect();
    let c_library = listed.iter().find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"));
    let beside = c_library.and_then(|path| path.parent()).map(Path::to_owned);
    let resolvers = beside.iter().flat_map(|beside| RESOLVERS.map(|name| beside.join(name)));
    let resolvers: Vec<_> = resolvers.filter(|path| path.exists()).collect();
    Ok(listed.into_iter().chain(resolvers).collect())
}

/// Sends what is written to it, piece by piece.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
