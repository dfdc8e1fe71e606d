//! The tokens of a GitHub App: which installation serves a scope, and that installation's token, minted once for
//! all callers and renewed before it expires.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    forbidden::Reason,
    request::{Request, Response},
    rest_client::RestClient,
};
use crate::{
    clock,
    fleet::{Instant, Timestamp},
    github::{
        GithubError,
        credentials::{App, Bearer, Installation, InstallationToken, Site},
        endpoint::Endpoint,
        lenient_json::lenient,
        limits::Limits,
        server_clock::{clock_skew, github_clock},
        transport::Token,
    },
};

/// How long before its expiry a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// The lifetime of a token if GitHub does not report it: an hour, less a margin.
const USUAL_LIFE: Duration = Duration::from_mins(55);

/// The delay before a failed renewal is retried while the token is still valid.
const RETRY_RENEWAL: Duration = Duration::from_secs(30);

/// A clock that differs by fewer seconds needs no correction: a JWT is issued a minute in the past and is
/// valid for a minute less than GitHub allows.
const SKEW_BORNE: i64 = 30;

/// A clock that differs by more seconds is reported instead of corrected.
const SKEW_CORRECTED: i64 = 300;

/// An installation as sent.
#[derive(Deserialize)]
struct InstallationBody {
    id: u64,
    suspended_at: Option<String>,
}

/// An installation token as sent.
#[derive(Deserialize)]
struct TokenBody {
    token: SecretString,
    #[serde(default, deserialize_with = "lenient")]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    permissions: Option<BTreeMap<String, String>>,
}

impl RestClient {
    /// An installation token for the scope: the current one, or a new one if that is about to expire or is
    /// the one (by its generation) that GitHub has just rejected.
    pub(super) async fn installation_bearer(
        &self,
        app: &App,
        refused: Option<u64>,
    ) -> Result<Bearer, GithubError> {
        let site = app.site(self.base());
        let id = match app.source.installation_id {
            Some(id) => id,
            None => self.installation_id(app, &site).await?,
        };
        let installation = site.installation(id);
        let fresh = || installation.usable(refused, |held| held.renew_at);
        let good = || installation.usable(refused, |held| held.expires_at);
        if let Some(bearer) = fresh() {
            return Ok(bearer);
        }
        if installation.minting.is_busy()
            && let Some(bearer) = good()
        {
            return Ok(bearer);
        }
        let minted = installation.minting.one(fresh, async {
            self.mint_token(app, &site, id, &installation).await?;
            // However short its lifetime is, it is used for the request that it was created for.
            installation
                .usable(None, |_| Instant::from_millis(u64::MAX))
                .ok_or_else(|| GithubError::failed("the request for an installation token was aborted"))
        });
        match minted.await {
            Ok(bearer) => Ok(bearer),
            Err(error) => match good() {
                Some(bearer) => {
                    tracing::debug!(app = %app.source, %error, "failed to renew the installation token, using the current one while it is valid");
                    if let Some(held) = &mut *installation.held.lock() {
                        held.renew_at = clock::now() + RETRY_RENEWAL;
                    }
                    Ok(bearer)
                }
                None => Err(error),
            },
        }
    }

    /// Finds the installation for the scope, which is cached until it turns out to be gone.
    async fn installation_id(&self, app: &App, site: &Site) -> Result<u64, GithubError> {
        let known = || site.found.lock().get(self.scope()).copied();
        if let Some(id) = known() {
            return Ok(id);
        }
        let flight = Arc::clone(site.finding.lock().entry(self.scope().clone()).or_default());
        let found = flight.one(known, async {
            let address = self.address("/installation")?;
            let reply = self.ask_as_app(app, Request::get(Endpoint::Installation, address)).await?;
            if reply.answer.status != StatusCode::OK {
                return Err(self.refused_as_app(app, Endpoint::Installation, &reply));
            }
            let wire: InstallationBody = reply.answer.json()?;
            if wire.suspended_at.is_some() {
                let hint = Reason::Suspended.hint(self.scope(), self.source(), String::new);
                return Err(GithubError::Refused(hint));
            }
            site.found.lock().insert(self.scope().clone(), wire.id);
            Ok(wire.id)
        });
        found.await
    }

    async fn mint_token(
        &self,
        app: &App,
        site: &Site,
        id: u64,
        installation: &Installation,
    ) -> Result<(), GithubError> {
        let address = self.site_address(&format!("/app/installations/{id}/access_tokens"))?;
        let ask = Request { method: Method::POST, ..Request::get(Endpoint::Token, address) };
        let reply = self.ask_as_app(app, ask).await?;
        if reply.answer.status != StatusCode::CREATED {
            if reply.answer.status == StatusCode::NOT_FOUND {
                // It may have been installed again, which gives it another id.
                site.found.lock().retain(|_, found| *found != id);
            }
            return Err(self.refused_as_app(app, Endpoint::Token, &reply));
        }
        let wire: TokenBody = reply.answer.json()?;
        let wall = clock::wall();
        let clock = github_clock(&reply.answer.headers, wall).unwrap_or(wall);
        let expires_at = wire.expires_at.map_or(wall.at + USUAL_LIFE, |at| clock.instant(at));
        let mut held = installation.held.lock();
        let generation = held.as_ref().map_or(0, |held| held.token.generation + 1);
        *held = Some(InstallationToken {
            token: Token::new(wire.token, generation),
            expires_at,
            renew_at: expires_at - RENEW_BEFORE,
            permissions: wire.permissions.unwrap_or_default(),
        });
        Ok(())
    }

    /// Sends a request with a JWT; if it is rejected and the clocks differ, again with one issued with
    /// GitHub's time.
    async fn ask_as_app(&self, app: &App, ask: Request<'_>) -> Result<Response, GithubError> {
        // Those of the App itself, which its JSON web tokens draw from.
        let limits = self.credential().limits_at(self.base());
        let corrected = |skew: Option<i64>| {
            skew.filter(|skew| skew.abs() > SKEW_BORNE && skew.abs() <= SKEW_CORRECTED).unwrap_or(0)
        };
        let skew = corrected(limits.skew(clock::wall()));
        let reply = self.ask_with_jwt(app, &ask, &limits, skew).await?;
        let learnt = corrected(limits.skew(clock::wall()));
        if reply.answer.status != StatusCode::UNAUTHORIZED || (learnt - skew).abs() <= SKEW_BORNE {
            return Ok(reply);
        }
        tracing::warn!(
            seconds = learnt,
            "this machine's clock differs from GitHub's; JSON web tokens are issued with GitHub's time"
        );
        self.ask_with_jwt(app, &ask, &limits, learnt).await
    }

    async fn ask_with_jwt(
        &self,
        app: &App,
        ask: &Request<'_>,
        limits: &Arc<Limits>,
        skew: i64,
    ) -> Result<Response, GithubError> {
        let millis = clock::wall().shown.as_millis().saturating_add_signed(-skew * 1000);
        let jwt = app.source.jwt(Timestamp::from_millis(millis)).await?;
        let bearer = Bearer { token: Token::new(jwt, 0), limits: Arc::clone(limits), holder: 0 };
        self.send(ask, &bearer).await
    }

    /// The error for a response to the App itself, with a hint for the person who set it up.
    fn refused_as_app(&self, app: &App, endpoint: Endpoint, reply: &Response) -> GithubError {
        let (app, scope) = (&app.source, self.scope());
        let status = reply.answer.status;
        if !status.is_client_error() {
            return self.refused(endpoint, reply);
        }
        let hint = match (status, endpoint) {
            (StatusCode::UNAUTHORIZED, _) => {
                let skew = clock_skew(&reply.answer.headers, clock::wall()).unwrap_or(0);
                // A smaller difference was corrected, and was not the reason.
                if skew.abs() > SKEW_CORRECTED {
                    format!(
                        "this machine's clock differs from GitHub's by {}, so GitHub rejects the JSON web \
                         tokens that it signs; enable time synchronization, such as chrony or \
                         systemd-timesyncd",
                        span(skew)
                    )
                } else {
                    format!(
                        "the private key in {} does not belong to this App; check app_id, and that the key \
                         was not deleted in the App's settings",
                        app.private_key_file.display()
                    )
                }
            }
            (StatusCode::NOT_FOUND, Endpoint::Installation) => format!(
                "the App is not installed on this account (or not for this repository), or app_id is wrong; \
                 install it from the App's settings, Install App, at {}",
                scope.site()
            ),
            (StatusCode::NOT_FOUND, _) => {
                "the installation was deleted or belongs to another App; check installation_id, or remove \
                 it to have it found"
                    .to_owned()
            }
            (StatusCode::FORBIDDEN, Endpoint::Token) => {
                let reason = Reason::of(&reply.answer.headers, &reply.complaint);
                reason.hint(scope, self.source(), || {
                    "the installation may not create tokens; an owner of the account can see why in its \
                     settings, GitHub Apps"
                        .to_owned()
                })
            }
            (StatusCode::UNPROCESSABLE_ENTITY, _) => {
                "the account has not approved the App's permissions; an owner must approve them in the \
                 account's settings, GitHub Apps"
                    .to_owned()
            }
            _ => return self.refused(endpoint, reply),
        };
        GithubError::Refused(reply.answer.reported(endpoint, scope, &reply.complaint, &hint))
    }
}

/// A difference of clocks, as text.
fn span(seconds: i64) -> String {
    let (minutes, rest) = (seconds.abs() / 60, seconds.abs() % 60);
    let direction = if seconds > 0 { "ahead" } else { "behind" };
    if minutes == 0 {
        format!("{rest} s ({direction})")
    } else {
        format!("{minutes} min {rest} s ({direction})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_clocks_is_shown_as_text() {
        assert_eq!(span(915), "15 min 15 s (ahead)");
        assert_eq!(span(-45), "45 s (behind)");
    }
}
