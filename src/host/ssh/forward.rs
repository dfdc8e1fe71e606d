//! A socket of another machine, forwarded by one `ssh` for all connections.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::UnixStream,
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
    time::sleep,
};

use super::{target::SshTarget, wording};
use crate::host::{HostError, own_image::running_binary};

/// Between two checks whether the socket is there.
const CHECK: Duration = Duration::from_millis(25);

/// One line of `ssh` is no longer than this, in bytes.
const LINE: usize = 600;

/// A forwarded socket. A process of this program holds `ssh`: when this is dropped, or this process ends in whatever way,
/// that one reads the end of its input, ends `ssh`, and removes the socket.
pub(in crate::host) struct Forward {
    supervisor: Child,
    _input: Option<ChildStdin>,
    socket: PathBuf,
    /// The last line that `ssh` wrote.
    complaint: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Forward {
    /// Logs in and waits until the socket is there. Whoever waits sets the deadline.
    pub(in crate::host) async fn open(target: &SshTarget) -> Result<Self, HostError> {
        let failed = |detail: String, error: Option<io::Error>| HostError::Failed {
            detail: format!("ssh://{target}: {detail}"),
            source: error.map(Into::into),
        };
        if let Some(missing) = wording::missing() {
            return Err(failed(missing, None));
        }
        let folder = private_folder().map_err(|(folder, error)| {
            failed(format!("cannot create {} for the forwarded socket", folder.display()), Some(error))
        })?;
        let socket = folder.join("engine.sock");
        let supervisor = Command::new(running_binary())
            .arg0("dayfly")
            .arg("ssh-forward")
            .arg(&socket)
            .arg(target.socket())
            .args(target.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for the daemon, which stops with its connections.
            .process_group(0)
            .spawn();
        let mut supervisor = supervisor.map_err(|error| {
            let _ = fs::remove_dir(&folder);
            failed("cannot start ssh".to_owned(), Some(error))
        })?;
        let complaint = Arc::<Mutex<String>>::default();
        let reading = tokio::spawn(read(supervisor.stderr.take(), Arc::clone(&complaint)));
        let input = supervisor.stdin.take();
        let mut forward = Self { supervisor, _input: input, socket, complaint, reading };
        loop {
            if UnixStream::connect(&forward.socket).await.is_ok() {
                return Ok(forward);
            }
            if forward.has_ended() {
                // Its last words may still be on their way.
                let _ = (&mut forward.reading).await;
                let words = io::Error::other(forward.complaint());
                return Err(HostError::Failed {
                    detail: wording::refused(&target.login(), &words),
                    source: None,
                });
            }
            sleep(CHECK).await;
        }
    }

    /// The socket on this machine.
    pub(in crate::host) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the connection is gone for good.
    pub(in crate::host) fn has_ended(&mut self) -> bool {
        !matches!(self.supervisor.try_wait(), Ok(None))
    }

    /// The last line that `ssh` wrote, such as why the socket there could not be opened.
    pub(in crate::host) fn complaint(&self) -> String {
        self.complaint.lock().clone()
    }
}

/// A folder that only this user can enter, where systemd or the user's session has one, else in that of temporary files.
fn private_folder() -> Result<PathBuf, (PathBuf, io::Error)> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let above = of("RUNTIME_DIRECTORY").or_else(|| of("XDG_RUNTIME_DIR")).unwrap_or_else(env::temp_dir);
    let folder = above.join(format!("dayfly-ssh-{:016x}", fastrand::u64(..)));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => Err((folder, error)),
    }
}

async fn read(from: Option<impl tokio::io::AsyncRead + Unpin>, complaint: Arc<Mutex<String>>) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.trim();
        // What the other machine greets with comes before the login.
        if !line.is_empty() {
            let kept = line.char_indices().nth(LINE).map_or(line, |(end, _)| &line[..end]);
            kept.clone_into(&mut complaint.lock());
        }
    }
}
