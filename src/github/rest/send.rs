//! How a request goes out with a token: within its limits, along redirects of its own origin, and what its response
//! teaches.

use std::time::Instant;

use http::{Method, StatusCode, Uri, header};

use super::{
    request::{Request, Response},
    rest_client::RestClient,
};
use crate::{
    clock,
    github::{GithubError, Rate, credentials::Bearer, endpoint::Endpoint, transport::Answer},
};

/// The maximum number of redirects that are followed.
const MAX_REDIRECTS: u32 = 5;

impl RestClient {
    /// Sends a request with this token, if its limits let one go out now, along redirects. Answers of limits, of
    /// servers in trouble, and of redirects gone wrong are errors; all others are the endpoint's to read.
    pub(super) async fn send(&self, ask: &Request<'_>, bearer: &Bearer) -> Result<Response, GithubError> {
        bearer.admit(ask.endpoint)?;
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

    async fn exchange(
        &self,
        ask: &Request<'_>,
        address: &Uri,
        bearer: &Bearer,
    ) -> Result<Response, GithubError> {
        let (scope, credential) = (self.scope(), self.credential());
        let Bearer { token, limits, .. } = bearer;
        let endpoint = ask.endpoint;
        let known = ask.known.filter(|known| known.generation == token.generation);
        let etag = known.map(|known| &known.etag);
        let began = Instant::now();
        let exchanged = self.transport().exchange(ask.method.clone(), address, etag, ask.body, token).await;
        let (wall, took) = (clock::wall(), began.elapsed());
        let rate = exchanged.as_ref().ok().and_then(|answer| Rate::parse(&answer.headers, wall));
        let status = exchanged.as_ref().ok().map(|answer| answer.status.as_u16());
        tracing::debug!(%scope, endpoint = endpoint.as_str(), status, took_seconds = took.as_secs_f64(), "sent a request to GitHub");
        // An App's own limit is separate from those of its installations.
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
        Ok(Response { answer, complaint, generation: token.generation })
    }

    /// Where a redirect leads. A request that changes something is repeated only where the status
    /// says that method and body stay (RFC 9110, 15.4).
    fn redirect(&self, ask: &Request<'_>, answer: &Answer, count: u32) -> Result<Uri, GithubError> {
        let keeps = matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if ask.method != Method::GET && !keeps {
            let status = answer.status.as_u16();
            return Err(GithubError::Refused(format!(
                "GitHub answered {status} to a request that changes something: {} has moved; change the URL \
                 in the configuration",
                self.scope()
            )));
        }
        if count > MAX_REDIRECTS {
            return Err(GithubError::failed(format!("more than {MAX_REDIRECTS} redirects in a row")));
        }
        let target = answer.headers.get(header::LOCATION).and_then(|target| target.to_str().ok());
        self.transport().origin().admit(target.unwrap_or_default())
    }
}
