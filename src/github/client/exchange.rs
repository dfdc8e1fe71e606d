//! How a request goes out: with which token, along redirects of its own origin, and what its answer teaches.

use std::{sync::Arc, time::Instant};

use http::{Method, StatusCode, Uri, header};

use super::{Ask, Bearer, Client, Inner, Reply};
use crate::{
    clock,
    github::{Endpoint, GithubError, Rate, credential::Token, transport::Answer},
};

/// Redirects that are followed in a row.
const MAX_REDIRECTS: u32 = 5;

impl Client {
    /// Sends a request, with a renewed token if the first is refused, along redirects of the same
    /// origin. Answers of limits, of servers in trouble, and of redirects gone wrong are errors;
    /// all others are the endpoint's to read.
    pub(in crate::github) async fn ask(&self, ask: Ask<'_>) -> Result<Reply, GithubError> {
        let bearer = self.admitted(ask.endpoint).await?;
        let reply = self.follow(&ask, &bearer).await?;
        if reply.answer.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let fresh = self.bearer(Some(&bearer.token)).await?;
        if fresh.token.generation == bearer.token.generation {
            return Ok(reply);
        }
        fresh.admit(ask.endpoint)?;
        self.follow(&ask, &fresh).await
    }

    /// Sends a request along redirects.
    pub(in crate::github) async fn follow(
        &self,
        ask: &Ask<'_>,
        bearer: &Bearer,
    ) -> Result<Reply, GithubError> {
        let mut address = ask.address.clone();
        let mut redirects = 0;
        loop {
            let reply = self.exchange(ask, &address, bearer).await?;
            match reply.answer.status {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    redirects += 1;
                    address = self.redirect(ask, &reply.answer, redirects)?;
                }
                status if status.is_server_error() => {
                    let detail = format!("GitHub answered {status}");
                    return Err(GithubError::failed(match reply.complaint.as_str() {
                        "" => detail,
                        complaint => format!("{detail}: {complaint}"),
                    }));
                }
                _ => return Ok(reply),
            }
        }
    }

    /// The token for a request that the limits let go out now.
    pub(in crate::github) async fn admitted(&self, endpoint: Endpoint) -> Result<Bearer, GithubError> {
        let bearer = self.bearer(None).await?;
        bearer.admit(endpoint)?;
        Ok(bearer)
    }

    /// The token, or the one after it when GitHub has refused it. The same generation again means
    /// that there is no other.
    async fn bearer(&self, refused: Option<&Token>) -> Result<Bearer, GithubError> {
        let credential = &self.0.credential;
        let bearer = if let Some(app) = credential.app() {
            self.installation_bearer(app, refused.map(|token| token.generation)).await?
        } else {
            let token = match refused {
                None => credential.token().await?,
                Some(refused) => credential.renew(refused).await?,
            };
            // Another token may be another user's.
            Bearer { holder: token.generation, limits: self.limits(), token }
        };
        *self.0.limits.lock() = Arc::clone(&bearer.limits);
        Ok(bearer)
    }

    async fn exchange(&self, ask: &Ask<'_>, address: &Uri, bearer: &Bearer) -> Result<Reply, GithubError> {
        let Inner { scope, transport, credential, .. } = &*self.0;
        let Bearer { token, limits, .. } = bearer;
        let endpoint = ask.endpoint;
        let etag = ask.known.filter(|known| known.1 == token.generation).map(|known| known.0);
        let began = Instant::now();
        let exchanged = transport.exchange(ask.method.clone(), address, etag, ask.body, token).await;
        let (wall, took) = (clock::wall(), began.elapsed());
        let rate = exchanged.as_ref().ok().and_then(|answer| Rate::parse(&answer.headers, wall));
        let status = exchanged.as_ref().ok().map(|answer| answer.status.as_u16());
        tracing::debug!(%scope, endpoint = endpoint.as_str(), status, took_seconds = took.as_secs_f64(), "sent a request to GitHub");
        // An App's own budget is not the one that its installations live on.
        let rate = rate.filter(|_| !matches!(endpoint, Endpoint::Installation | Endpoint::Token));
        self.report(endpoint.as_str(), status, took, rate);
        let answer = exchanged?;
        if credential.app().is_none()
            && let Some(left) = credential.expiry().learn(&answer.headers, token.generation, wall)
        {
            let days = left.as_secs() / 86_400;
            tracing::warn!(
                credential = %credential.source(),
                days,
                "the token expires soon, and no request will succeed after that; create a new token and \
                 replace the old one, no restart is needed"
            );
        }
        let is_error = answer.status.is_client_error() || answer.status.is_server_error();
        let complaint = if is_error { answer.complaint(token) } else { String::new() };
        limits
            .learn(endpoint, answer.status, &answer.headers, &complaint, wall)
            .map_err(|wait| GithubError::RateLimited { wait })?;
        if let Some(skew) = limits.skew_to_report(wall) {
            let (seconds, direction) = (skew.abs(), if skew > 0 { "ahead of" } else { "behind" });
            tracing::warn!(
                %scope, seconds,
                "this machine's clock is {seconds} s {direction} GitHub's, and schedules depend on it; \
                 enable time synchronization, such as chrony or systemd-timesyncd"
            );
        }
        Ok(Reply { answer, complaint, generation: token.generation })
    }

    /// Where a redirect leads. A request that changes something is repeated only where the status
    /// says that method and body stay (RFC 9110, 15.4).
    fn redirect(&self, ask: &Ask<'_>, answer: &Answer, count: u32) -> Result<Uri, GithubError> {
        let keeps = matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if ask.method != Method::GET && !keeps {
            let status = answer.status.as_u16();
            return Err(GithubError::Refused(format!(
                "GitHub answered {status} to a request that changes something: {} has moved; change the URL \
                 in the configuration",
                self.0.scope
            )));
        }
        if count > MAX_REDIRECTS {
            return Err(GithubError::failed(format!("more than {MAX_REDIRECTS} redirects in a row")));
        }
        let target = answer.headers.get(header::LOCATION).and_then(|target| target.to_str().ok());
        self.0.transport.origin().admit(target.unwrap_or_default())
    }
}
