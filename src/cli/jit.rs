//! `dayfly jit`: mints one runner. Its JIT config is a secret, and printed only with `--print-config`.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::bail;
use secrecy::ExposeSecret;

use super::{
    Global, Jit,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};
use crate::{
    fleet::{RunnerName, Target},
    github::{GithubError, MintedRunner},
};

pub(super) fn run(global: &Global, jit: &Jit) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let name = terminal::cell(&jit.name, MOST);
    if RunnerName::parse(&jit.name).is_some() {
        bail!(
            "{name} has the form of Dayfly's own names; its daemon would remove the runner as a leftover; \
             choose another name"
        );
    }
    let target = ApiTarget::of(&jit.which, global)?;
    let scope = target.client.scope();
    if let (Target::Repository { .. }, Some(_)) = (scope.target(), &jit.group) {
        bail!("{scope} is a repository, which has no runner groups; leave --group out");
    }
    let group = jit.group.as_deref().unwrap_or("Default");
    let minted = runtime()?.block_on(target.client.mint_named(&jit.name, group, &jit.labels));
    let minted = minted.map_err(|error| match &error {
        // GitHub may have done what was requested.
        GithubError::Failed { .. } => target.failed("mint a runner for", &error).context(format!(
            "runner {name} may exist nevertheless; check with: dayfly runners get --url {scope} {name}"
        )),
        GithubError::NoJitConfig { id } => target.failed("mint a runner for", &error).context(format!(
            "no runner can connect with it; remove it with: dayfly runners remove --url {scope} {id}"
        )),
        _ => target.failed("mint a runner for", &error),
    })?;
    show(&target, jit, &minted)?;
    Ok(ExitCode::SUCCESS)
}

fn show(target: &ApiTarget, jit: &Jit, minted: &MintedRunner) -> anyhow::Result<()> {
    let scope = target.client.scope();
    let config = jit.print_config.then(|| minted.jit.expose_secret());
    let mut out = stdout().lock();
    if jit.json {
        let mut whole = serde_json::json!({
            "url": scope, "runner": { "id": minted.id, "name": jit.name, "labels": jit.labels },
        });
        if let Some(config) = config {
            whole["encoded_jit_config"] = config.into();
        }
        writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
        return Ok(());
    }
    let minted_text = format!("minted {} (id {})", terminal::cell(&jit.name, MOST), minted.id);
    let undo = format!("remove it with: dayfly runners remove --url {scope} {}", minted.id);
    if let Some(config) = config {
        writeln!(out, "{}", terminal::printable(config))?;
        writeln!(stderr(), "{minted_text}\nrun it with: ./run.sh --jitconfig CONFIG\n{undo}")?;
    } else {
        writeln!(out, "{minted_text}; its JIT config was not printed (use --print-config)\n{undo}")?;
    }
    Ok(())
}
