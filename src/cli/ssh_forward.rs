//! `dayfly ssh-forward`: holds the `ssh` that forwards an engine's socket, for as long as the process that started this
//! one lives. So nothing is left of it, however that ends.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
};

use anyhow::Context as _;
use tokio::{io::AsyncReadExt as _, process::Command};

use super::SshForward;

/// Nothing can answer a question, what is open ends with the connection, a connection that is cut off is noticed within
/// half a minute, and no other `ssh` of this user is shared with.
const OPTIONS: [&str; 10] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ControlMaster=no",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "PermitLocalCommand=no",
    "ServerAliveCountMax=3",
    "ServerAliveInterval=10",
    "StreamLocalBindMask=0177",
    "StreamLocalBindUnlink=yes",
];

pub(super) fn run(options: &SshForward) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(forward(options));
    // The folder was made for the socket alone.
    let _ = fs::remove_file(&options.socket);
    let _ = options.socket.parent().map(fs::remove_dir);
    // Reading the input holds a thread.
    runtime.shutdown_background();
    let code = ended?.and_then(|status| status.code().or_else(|| Some(128 + status.signal()?)));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(0)))
}

/// Returns how `ssh` ended, if it ended by itself.
async fn forward(options: &SshForward) -> anyhow::Result<Option<ExitStatus>> {
    let SshForward { socket, remote, login } = options;
    let mut ssh = Command::new("ssh")
        .args(["-N", "-T", "-a", "-x"])
        .args(OPTIONS.iter().flat_map(|option| ["-o", option]))
        .arg("-L")
        .arg(pair(socket, remote))
        .args(login)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run ssh")?;
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            ended = ssh.wait() => return Ok(Some(ended?)),
            read = input.read(&mut ignored) => if !matches!(read, Ok(1..)) { break },
        }
    }
    ssh.kill().await?;
    Ok(None)
}

fn pair(socket: &Path, remote: &Path) -> PathBuf {
    let mut pair = socket.as_os_str().to_owned();
    pair.push(":");
    pair.push(remote);
    pair.into()
}
