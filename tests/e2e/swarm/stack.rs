//! The daemon as a service of the Swarm, by the shipped stack.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use dayfly::simulator::Endpoint;

use super::site::{Site, on_swarm};
use crate::{container::build, world::until};

/// The secret that the stack takes its token from.
const TOKEN: &str = "github-token";

/// A stack that is removed with the test.
struct Stack {
    engine: String,
    name: String,
}

impl Stack {
    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.engine]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.docker(arguments).output().expect("the docker command")
    }
}

impl Stack {
    /// The daemon's container, while it runs. Its task is not shown as running before its first health check.
    fn container(&self) -> Option<String> {
        let service = format!("label=com.docker.swarm.service.name={}_dayfly", self.name);
        let found = self.run(&["ps", "--quiet", "--no-trunc", "--filter", &service]).stdout;
        let found = String::from_utf8(found).unwrap();
        found.lines().next().map(str::to_owned)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // It may not have been deployed.
        let _ = self.run(&["stack", "rm", &self.name]);
        for _ in 0..100 {
            let left = self.run(&["stack", "ps", &self.name, "--quiet"]);
            if !left.status.success() || left.stdout.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let _ = self.run(&["secret", "rm", TOKEN]);
    }
}

/// The shipped files in a folder, with this test's pool, GitHub and token.
fn write(site: &Site, folder: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/swarm");
    fs::create_dir_all(folder).unwrap();
    fs::copy(shipped.join("stack.yml"), folder.join("stack.yml")).unwrap();
    let config = fs::read_to_string(shipped.join("dayfly.toml")).unwrap();
    let (head, _) = config.split_once("[[pool]]").unwrap();
    let secret = "token_file = \"/run/secrets/github-token\"\n";
    assert!(head.contains(secret), "{head}");
    let head = head.replace(secret, &format!("{secret}allow_plain_http = true\n"));
    let written = fs::read_to_string(site.world.config()).unwrap();
    let (_, pool) = written.split_once("[[pool]]").unwrap();
    let pool = pool.replace("127.0.0.1", &site.github_address().to_string());
    fs::write(folder.join("dayfly.toml"), format!("{head}[[pool]]\nhost = \"swarm\"\n{pool}")).unwrap();
    fs::write(folder.join("token"), &site.world.token).unwrap();
}

#[tokio::test]
async fn the_shipped_stack_serves_jobs_and_adopts_when_it_was_killed() {
    let Some(site) = Site::new("the shipped stack serves jobs, and adopts when it was killed").await else {
        return;
    };
    let pool = on_swarm("linux").sized(1, 4);
    site.world.configure(&[&pool]);
    let image = build::image(&site.world).await;
    let folder = site.world.path("stack");
    write(&site, &folder);
    let (engine, name) = (site.world.at.endpoint(), site.world.instance.clone());
    let stack = Stack { engine, name };
    let token = folder.join("token");
    let made = stack.run(&["secret", "create", TOKEN, token.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let file = folder.join("stack.yml");
    let deployed = stack
        .docker(&[
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "--compose-file",
            file.to_str().unwrap(),
            &stack.name,
        ])
        .env("DAYFLY_IMAGE", image)
        .env("DAYFLY_INSTANCE", &site.world.instance)
        .env("DOCKER_GID", site.group_of_socket().to_string())
        .output()
        .unwrap();
    assert!(deployed.status.success(), "{deployed:?}");

    site.world.github.enqueue(pool.job());
    let logs = || {
        let tasks = stack.run(&["stack", "ps", "--no-trunc", &stack.name]);
        let logs = stack.run(&["service", "logs", "--tail", "40", &format!("{}_dayfly", stack.name)]);
        String::from_utf8_lossy(&[tasks.stdout, logs.stdout, logs.stderr].concat()).into_owned()
    };
    let served = site.world.github.until(crate::world::DEADLINE, |now| now.succeeded == 1).await;
    assert!(served.is_ok(), "{served:#?}\n{}", logs());
    let idle = until("one is idle", async || {
        let now = site.world.github.snapshot();
        let [runner] = &now.runners[..] else { return None };
        (runner.online && runner.job.is_none()).then(|| runner.name.clone())
    })
    .await;
    let (minted, killed) = (site.world.github.count(Endpoint::Mint), stack.container().unwrap());
    assert!(stack.run(&["kill", &killed]).status.success());
    until("the Swarm has started another", async || stack.container().filter(|id| *id != killed)).await;
    site.world.github.enqueue(pool.job());
    let served = site.world.github.until(crate::world::DEADLINE, |now| now.succeeded == 2).await;
    let served = served.unwrap_or_else(|now| panic!("{now:#?}\n{}", logs()));
    assert_eq!(served.lost, 0);
    until("the idle runner was adopted, and is cleared away after its job", async || {
        let left = site.services().await.into_iter().filter_map(|service| service.spec?.name);
        (!left.into_iter().any(|name| name == idle)).then_some(())
    })
    .await;
    assert_eq!(
        site.world.github.count(Endpoint::Mint),
        minted + 1,
        "it was replaced, and no other was launched"
    );
}
