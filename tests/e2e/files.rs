//! Few open files: the soft limit is raised, and a hard one that is too low is named.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    daemon,
    world::{World, pool},
};

/// The command, by a shell that sets a limit of open files first.
fn limited(command: &Command, limit: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}

#[tokio::test]
async fn a_low_soft_limit_is_raised() {
    const RUNNERS: usize = 12;
    let mut world = World::new().await;
    let pool = pool("linux", "acme").sized(RUNNERS, RUNNERS);
    world.configure(&[&pool]);
    world.start_as(|command| *command = limited(command, "-Sn 30")).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", world.daemon().id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{files}");
    world.idle("linux", RUNNERS).await;
}

#[tokio::test]
async fn lack_of_files_is_named_as_what_it_is() {
    let world = World::new().await;
    let pools = ["a", "b", "c", "d"].map(|name| pool(name, &format!("acme/{name}")));
    world.configure(&pools.each_ref());
    // Its own files leave none for connections.
    let mut command = limited(&daemon::command(&world.config()), "-n 16");
    let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let named = tokio::task::spawn_blocking(move || {
        let mut log = Vec::new();
        for line in lines {
            let found = line.contains("LimitNOFILE") && line.contains("out_of_files");
            log.push(line);
            if found {
                return Ok(log);
            }
        }
        Err(log)
    });
    let named = tokio::time::timeout(crate::world::DEADLINE, named).await;
    process.kill().unwrap();
    process.wait().unwrap();
    if let Err(log) = named.expect("it is named in time").unwrap() {
        panic!("{log:#?}");
    }
}
