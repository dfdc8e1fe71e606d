//! `dayfly jit`: mints one runner by hand. Its JIT config is a secret, and printed only when asked
//! for by name.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::bail;
use secrecy::ExposeSecret;

use super::{
    Global, Jit,
    place::{MOST, Place},
    plain,
    run::{runtime, start_logs},
};
use crate::{
    fleet::{RunnerName, Target},
    github::{GithubError, MintedRunner},
};

pub(super) fn run(global: &Global, jit: &Jit) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let name = plain::cell(&jit.name, MOST);
    if RunnerName::parse(&jit.name).is_some() {
        bail!(
            "{name} is a name as Dayfly gives them; its daemon would take the runner for a leftover and remove it"
        );
    }
    let place = Place::of(&jit.which, global)?;
    let scope = place.client.scope();
    if let (Target::Repository { .. }, Some(_)) = (scope.target(), &jit.group) {
        bail!("{scope} is a repository, which has no runner groups; leave --group out");
    }
    let group = jit.group.as_deref().unwrap_or("Default");
    let minted = runtime()?.block_on(place.client.mint_named(&jit.name, group, &jit.labels));
    let minted = minted.map_err(|error| match &error {
        // Whatever was asked may have been done.
        GithubError::Failed { .. } => place.failed("mint a runner for", &error).context(format!(
            "runner {name} may exist all the same; see: dayfly runners get --url {scope} {name}"
        )),
        GithubError::NoJitConfig { id } => place.failed("mint a runner for", &error).context(format!(
            "nothing can connect to it; remove it: dayfly runners remove --url {scope} {id}"
        )),
        _ => place.failed("mint a runner for", &error),
    })?;
    show(&place, jit, &minted)?;
    Ok(ExitCode::SUCCESS)
}

fn show(place: &Place, jit: &Jit, minted: &MintedRunner) -> anyhow::Result<()> {
    let scope = place.client.scope();
    let config = jit.print_config.then(|| minted.jit.expose_secret());
    let mut out = stdout().lock();
    if jit.json {
        let mut whole = serde_json::json!({
            "url": scope, "runner": { "id": minted.id, "name": jit.name, "labels": jit.labels },
        });
        if let Some(config) = config {
            whole["encoded_jit_config"] = config.into();
        }
        writeln!(out, "{}", plain::json(&format!("{whole:#}")))?;
        return Ok(());
    }
    let told = format!("minted {} (id {})", plain::cell(&jit.name, MOST), minted.id);
    let undo = format!("to remove it: dayfly runners remove --url {scope} {}", minted.id);
    if let Some(config) = config {
        writeln!(out, "{}", plain::printable(config))?;
        writeln!(stderr(), "{told}\nto run it: ./run.sh --jitconfig CONFIG\n{undo}")?;
    } else {
        writeln!(out, "{told}; its JIT config was not printed (--print-config)\n{undo}")?;
    }
    Ok(())
}
