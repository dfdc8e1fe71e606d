//! An engine on another machine, behind a real sshd: jobs run there, a connection that is cut is opened again, and nothing
//! is left of it however the daemon ends.

use std::{
    env,
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::world::{World, pool, until};

const SSHD: &str = "/usr/sbin/sshd";

/// An sshd that this test's `ssh` can log in to. Dropping it ends it.
pub(crate) struct Sshd {
    process: Child,
    port: u16,
    /// A folder with an `ssh` that has the key.
    programs: PathBuf,
}

impl Sshd {
    #[expect(clippy::print_stderr, reason = "the output shows what was not checked")]
    pub(crate) fn start(world: &World) -> Option<Self> {
        let folder = world.path("ssh");
        fs::create_dir(&folder).unwrap();
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            match keygen.status() {
                Ok(made) if Path::new(SSHD).exists() => assert!(made.success()),
                other => {
                    assert!(env::var_os("DAYFLY_REQUIRE_SSHD").is_none(), "there is no sshd: {other:?}");
                    eprintln!("skipped: there is no sshd and ssh-keygen (Debian's package openssh-server)");
                    return None;
                }
            }
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let file = |name: &str| folder.join(name).display().to_string();
        let (host, user, authorized) = (file("host"), file("user"), file("user.pub"));
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nAuthorizedKeysFile {authorized}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
             ForceCommand false\n"
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        let hosts = format!("[127.0.0.1]:{port} {}", fs::read_to_string(file("host.pub")).unwrap());
        fs::write(folder.join("known_hosts"), hosts).unwrap();
        let known = file("known_hosts");
        let config = format!("IdentityFile {user}\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n");
        fs::write(folder.join("ssh_config"), config).unwrap();
        let programs = folder.join("bin");
        fs::create_dir(&programs).unwrap();
        let ssh = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", file("ssh_config"));
        fs::write(programs.join("ssh"), ssh).unwrap();
        fs::set_permissions(programs.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        // It refuses to start as root without this folder, which its package's unit makes.
        let _ = fs::create_dir("/run/sshd");
        drop(free);
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        let process = sshd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { process, port, programs })
    }

    /// The endpoint of the environment's engine behind it.
    pub(crate) fn endpoint(&self, world: &World) -> String {
        format!("ssh://127.0.0.1:{}{}", self.port, world.at.socket)
    }

    /// The search path with which `ssh` logs in here.
    pub(crate) fn path(&self) -> OsString {
        let others = env::var_os("PATH").unwrap();
        env::join_paths([self.programs.clone()].into_iter().chain(env::split_paths(&others))).unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processes of this machine whose command line names a folder, but for sshd's own.
fn processes_with(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Ok(line) = fs::read(path.join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder.display().to_string()) {
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), line));
        }
    }
    found
}

async fn nothing_left(folder: &Path) {
    until("nothing is left of the connection", async || {
        (processes_with(folder).is_empty() && fs::read_dir(folder).unwrap().next().is_none()).then_some(())
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "the output shows what was not checked")]
#[tokio::test]
async fn jobs_run_behind_ssh_over_one_connection_that_leaves_nothing() {
    let mut world = World::new().await;
    if !world.at.host.is_loopback() {
        // The login would have to lead into the engine's own file system.
        eprintln!("skipped: an engine behind ssh: this one is not on this machine");
        return;
    }
    let Some(sshd) = Sshd::start(&world) else { return };
    let pool = pool("linux", "acme").sized(2, 4);
    world.configure_by(&sshd.endpoint(&world), &[&pool]);
    let folder = world.path("run");
    fs::create_dir(&folder).unwrap();
    let path = sshd.path();
    let start = async |world: &mut World| {
        world
            .start_as(|command| {
                command.env("PATH", &path).env("XDG_RUNTIME_DIR", &folder);
            })
            .await;
    };
    let forwards = || -> Vec<String> {
        let processes = processes_with(&folder).into_iter();
        processes.filter(|(_, line)| line.contains(" -N ")).map(|(id, _)| id).collect()
    };

    start(&mut world).await;
    let before = world.idle("linux", 2).await;
    for _ in 0..4 {
        world.github.enqueue(pool.job());
    }
    world.github_until("the jobs are served", |now| now.succeeded == 4).await;
    let first = forwards();
    assert_eq!(first.len(), 1, "one login for everything: {:?}", processes_with(&folder));

    // Cut off: it is opened again, and the runners are the same.
    let idle = world.idle("linux", 2).await;
    assert!(Command::new("kill").args(["-KILL", &first[0]]).status().unwrap().success());
    until("it is connected again", async || {
        let now = forwards();
        (now.len() == 1 && now != first).then_some(())
    })
    .await;
    assert_eq!(world.idle("linux", 2).await, idle);
    assert_ne!(idle, before);

    world.kill();
    nothing_left(&folder).await;
    start(&mut world).await;
    assert_eq!(world.idle("linux", 2).await, idle, "they are adopted");
    let (ended, _) = world.terminate().await;
    assert!(ended.success());
    nothing_left(&folder).await;
}
