//! A folder with a configuration, and the program run on it.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

pub(crate) const TOKEN: &str = "simulated-token";

/// Longer than any command here takes, also on a machine with much else to do.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A folder of its own, removed with the value.
pub(crate) struct Stand {
    pub(crate) folder: tempfile::TempDir,
}

/// What a command printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Stand {
    /// A folder with a token file that only we can read.
    pub(crate) fn new() -> Self {
        let stand = Self { folder: tempfile::tempdir().unwrap() };
        stand.token(TOKEN);
        stand
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the App of the tests in the token's place, in what was configured.
    pub(crate) fn use_app(&self) {
        let key = self.path().join("app.pem");
        std::fs::write(&key, include_bytes!("../../keys/app.pkcs1.pem")).unwrap();
        std::fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
        let text = std::fs::read_to_string(self.file()).unwrap();
        let app = "app_id = 7\nprivate_key_file = \"app.pem\"";
        std::fs::write(self.file(), text.replace("token_file = \"token\"", app)).unwrap();
    }

    pub(crate) fn token(&self, text: &str) {
        self.secret("token", text);
    }

    /// A file that only we can read.
    pub(crate) fn secret(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.path().join("dayfly.toml")
    }

    /// Writes the configuration: this, behind an instance, a state directory, an address that is
    /// free at every moment, and the credential.
    pub(crate) fn configure(&self, rest: &str) {
        let state = self.path().join("state");
        let text = format!(
            "instance = \"cmd{}\"\nstate_dir = \"{}\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[credentials.default]\ntoken_file = \"token\"\n{rest}",
            std::process::id() % 1_000_000,
            state.display(),
        );
        std::fs::write(self.file(), text).unwrap();
    }

    /// Puts more keys into `[http]`.
    pub(crate) fn add_to_http(&self, keys: &str) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        std::fs::write(self.file(), text.replace("[http]\n", &format!("[http]\n{keys}"))).unwrap();
    }

    /// The program, with nothing but the configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
        command.args(arguments).arg("--config").arg(self.file()).current_dir(self.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end where there is no configuration, with this token for servers of one's own.
    pub(crate) async fn run_bare(token: &str, arguments: &[&str]) -> Said {
        Self::run_with("GH_ENTERPRISE_TOKEN", token, arguments).await
    }

    /// The same with the token in this variable.
    pub(crate) async fn run_with(variable: &str, token: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
        let nowhere = tempfile::tempdir().unwrap();
        command.args(arguments).current_dir(nowhere.path()).env_clear().env(variable, token);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        finish(command).await
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        finish(self.command(arguments)).await
    }
}

pub(crate) async fn finish(mut command: Command) -> Said {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    for text in [&out, &err] {
        assert!(!text.contains(TOKEN) && !text.contains("panicked"), "{text}");
    }
    Said { status: output.status, out, err }
}

impl Said {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The one line of `check` with all of these words; it begins with its verdict. What stands
    /// below a line belongs to it.
    pub(crate) fn line(&self, words: &[&str]) -> String {
        let mut lines: Vec<String> = Vec::new();
        for line in self.out.lines() {
            match lines.last_mut().filter(|_| line.starts_with("         ")) {
                Some(last) => last.push_str(&line[8..]),
                None => lines.push(line.to_owned()),
            }
        }
        let mut found = lines.iter().filter(|line| words.iter().all(|word| line.contains(word)));
        match (found.next(), found.next()) {
            (Some(line), None) => line.clone(),
            (first, second) => panic!("{words:?}: {first:?} {second:?} in\n{}{}", self.out, self.err),
        }
    }
}

/// A pool at this address, whose image no engine has.
pub(crate) fn pool(url: &str) -> String {
    format!(
        "[[pool]]\nname = \"linux\"\nurl = \"{url}\"\nlabels = [\"self-hosted\", \"linux\"]\nmin_idle = \
         1\nmax = 1\n\
         [pool.container]\nimage = \"{ABSENT}\"\npull = \"never\"\n"
    )
}

pub(crate) const ABSENT: &str = "dayfly-test/absent:1";
