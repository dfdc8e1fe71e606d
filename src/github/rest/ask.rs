//! A request with the token of the scope's credential, of either kind.

use http::StatusCode;

use super::{
    request::{Request, Response},
    rest_client::RestClient,
};
use crate::github::{GithubError, credentials::Bearer, transport::Token};

impl RestClient {
    /// Sends a request, with a renewed token if the first is refused. Answers of limits, of servers in trouble, and
    /// of redirects gone wrong are errors; all others are the endpoint's to read.
    pub(in crate::github) async fn ask(&self, ask: Request<'_>) -> Result<Response, GithubError> {
        let bearer = self.bearer(None).await?;
        let reply = self.send(&ask, &bearer).await?;
        if reply.answer.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let fresh = self.bearer(Some(&bearer.token)).await?;
        if fresh.token.generation == bearer.token.generation {
            return Ok(reply);
        }
        self.send(&ask, &fresh).await
    }

    /// The token, or the next one when GitHub has rejected it. The same generation again means that there is
    /// no other.
    async fn bearer(&self, refused: Option<&Token>) -> Result<Bearer, GithubError> {
        let credential = self.credential();
        let bearer = if let Some(app) = credential.app() {
            // Boxed: the token is mostly cached, and two more requests would enlarge every other future.
            Box::pin(self.installation_bearer(app, refused.map(|token| token.generation))).await?
        } else {
            let token = match refused {
                None => credential.token().await?,
                Some(refused) => credential.renew(refused).await?,
            };
            // Another token may be another user's.
            Bearer { holder: token.generation, limits: self.limits(), token }
        };
        self.use_limits(&bearer.limits);
        Ok(bearer)
    }
}
