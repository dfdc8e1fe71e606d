//! `dayfly token`: prints a token for the runner's own `config.sh`. Nothing else goes to standard output.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use secrecy::ExposeSecret;

use super::{
    Global, Token,
    api_target::{ApiTarget, MOST},
    run::{runtime, start_logs},
    terminal,
};

pub(super) fn run(global: &Global, token: &Token) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let (Token::Registration(of) | Token::Remove(of)) = token;
    let target = ApiTarget::of(&of.which, global)?;
    let (what, given) = runtime()?.block_on(async {
        match token {
            Token::Registration(_) => ("registration", target.client.registration_token().await),
            Token::Remove(_) => ("remove", target.client.remove_token().await),
        }
    });
    let given = given.map_err(|error| target.failed(&format!("get a {what} token for"), &error))?;
    let secret = given.token.expose_secret();
    let mut out = stdout().lock();
    if of.json {
        let whole = serde_json::json!({
            "url": target.client.scope(), "token": secret, "expires_at": given.expires_at,
        });
        writeln!(out, "{}", terminal::json(&format!("{whole:#}")))?;
    } else {
        writeln!(out, "{}", terminal::printable(secret))?;
        let until = given.expires_at.map_or_else(|| "in an hour".to_owned(), |at| terminal::cell(&at, MOST));
        writeln!(stderr(), "expires: {until}")?;
    }
    Ok(ExitCode::SUCCESS)
}
