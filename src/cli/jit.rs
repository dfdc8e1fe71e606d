//! `dayfly jit`: mints one runner. Its JIT config is a secret, and printed only with `--print-config`.

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
            "{name} has the form of Dayfly's own names; its daemon would remove the runner as a leftover; \
             choose another name"
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
        // GitHub may have done what was requested.
        GithubError::Failed { .. } => place.failed("mint a runner for", &error).context(format!(
            "runner {name} may exist nevertheless; check with: dayfly runners get --url {scope} {name}"
        )),
        GithubError::NoJitConfig { id } => place.failed("mint a runner for", &error).context(format!(
            "no runner can connect with it; remove it with: dayfly runners remove --url {scope} {id}"
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
    let minted_text = format!("minted {} (id {})", plain::cell(&jit.name, MOST), minted.id);
    let undo = format!("remove it with: dayfly runners remove --url {scope} {}", minted.id);
    if let Some(config) = config {
        writeln!(out, "{}", plain::printable(config))?;
        writeln!(stderr(), "{minted_text}\nrun it with: ./run.sh --jitconfig CONFIG\n{undo}")?;
    } else {
        writeln!(out, "{minted_text}; its JIT config was not printed (use --print-config)\n{undo}")?;
    }
    Ok(())
}
