//! From the scope's credential to the scale-set service: a registration token, and with it the
//! service's address and its admin token.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    address,
    exchange::{MAX_ANSWER, reported, secret_header},
    problem::Problem,
};
use crate::{
    backoff::Backoff,
    clock,
    fleet::{Instant, Timestamp},
    github::{
        Client, GithubError,
        endpoint::Endpoint,
        server_clock::github_clock,
        transport::{Foreign, Origin},
    },
};

/// How often a registration is asked for. A fresh registration token is not known to all of
/// GitHub's servers at once, and those that do not know it say 401 or 403.
const TRIES: u32 = 5;

/// How long an admin token is used that does not say when it expires.
const UNKNOWN_LIFETIME: Duration = Duration::from_mins(5);

/// An admin token is renewed this long before it expires (actions/scaleset, `client.go`).
const RENEWED_BEFORE: Duration = Duration::from_mins(1);

/// How long an admin token is used regardless of its expiry. Where our clock is wrong, each would otherwise
/// be taken for an old one; and one that is old indeed is refused and then renewed.
const USED_AT_LEAST: Duration = Duration::from_secs(30);

/// The service as a registration gave it.
pub(super) struct Service {
    pub(super) base: Uri,
    pub(super) origin: Origin,
    pub(super) token: SecretString,
    /// When it is time for another token, by our clock.
    pub(super) renew_at: Instant,
}

#[derive(Deserialize)]
struct Registered {
    #[serde(default)]
    url: String,
    #[serde(default)]
    token: SecretString,
}

/// Asks for the service and a token for it. A refused registration is tried again after `first_pause`, and then after
/// twice the pause before.
pub(super) async fn register(client: &Client, first_pause: Duration) -> Result<Service, GithubError> {
    let token = client.registration_token().await?.token;
    let authorization = secret_header(&format!("RemoteAuth {}", token.expose_secret()))?;
    let scope = client.rest().current_scope();
    let body = json!({ "url": scope.as_str(), "runner_event": "register" });
    let text = format!("{}/actions/runner-registration", client.rest().base());
    let at = text.parse().map_err(|_| GithubError::Refused(format!("{scope} has no valid API address")))?;
    let transport = client.rest().transport();
    let mut pauses = Backoff::new(first_pause, Duration::MAX);
    for tries_left in (0..TRIES).rev() {
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, authorization.clone()),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let foreign = Foreign {
            method: Method::POST,
            address: &at,
            headers,
            body: Some(&body),
            deadline: transport.deadline(),
            max_body: MAX_ANSWER,
        };
        let answer = reported(client, "registration", transport.exchange_foreign(foreign)).await?;
        let problem = Problem::of(&answer, token.expose_secret());
        // What limits the credential is no server that does not know the token yet.
        client
            .rest()
            .limits()
            .learn(Endpoint::RegistrationToken, answer.status, &answer.headers, &problem.says, clock::wall())
            .map_err(|wait| GithubError::RateLimited { wait })?;
        if answer.status.is_success() {
            let registered: Registered = answer.json()?;
            return service(registered, &answer.headers, transport.origin().is_https());
        }
        let early = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !early || tries_left == 0 {
            return Err(problem.error(&format!("registering {scope} with the scale-set service")));
        }
        tokio::time::sleep(pauses.fail()).await;
    }
    Err(GithubError::failed("no request was sent to the scale-set service"))
}

fn service(registered: Registered, headers: &HeaderMap, secure: bool) -> Result<Service, GithubError> {
    let Registered { url, token } = registered;
    if token.expose_secret().is_empty() {
        return Err(GithubError::failed("the response to the registration has no token for the service"));
    }
    let (base, origin) = address::given(&url, secure)?;
    let wall = clock::wall();
    let clock = github_clock(headers, wall).unwrap_or(wall);
    let expires_at = expiry(token.expose_secret()).map_or(wall.at + UNKNOWN_LIFETIME, |seconds| {
        clock.instant(Timestamp::from_millis(seconds.saturating_mul(1000)))
    });
    let renew_at = (expires_at - RENEWED_BEFORE).max(wall.at + USED_AT_LEAST);
    Ok(Service { base, origin, token, renew_at })
}

/// The `exp` of a JSON Web Token, in seconds since the Unix epoch. Its signature is GitHub's own
/// affair.
fn expiry(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // A float to an integer saturates; nothing here needs fractions of a second.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be positive")]
    (claims.exp > 0.0).then_some(claims.exp as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_expiry_is_read_without_a_signature_and_may_be_missing() {
        assert_eq!(expiry(&jwt(r#"{"exp":1795348800,"nbf":1}"#)), Some(1_795_348_800));
        assert_eq!(expiry(&jwt(r#"{"exp":1795348800.5}"#)), Some(1_795_348_800));
        for strange in ["", "opaque", "a.%.c", &jwt("{}"), &jwt(r#"{"exp":-1}"#), &jwt(r#"{"exp":"x"}"#)] {
            assert_eq!(expiry(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_token_without_expiry_is_used_for_a_while_and_none_is_an_error() {
        let with = |token: &str| Registered { url: "https://x.example/".to_owned(), token: token.into() };
        let made = service(with("opaque"), &HeaderMap::new(), true).unwrap();
        assert!(made.renew_at > clock::now() + Duration::from_mins(3));
        assert!(service(with(""), &HeaderMap::new(), true).is_err());
    }

    #[test]
    fn a_token_is_renewed_before_its_end_but_not_at_once() {
        let uses = |lifetime: i64| {
            let wall = clock::wall();
            let exp = (wall.shown.as_millis() / 1000).saturating_add_signed(lifetime);
            let token = jwt(&format!(r#"{{"exp":{exp}}}"#)).into();
            let registered = Registered { url: "https://x.example/".to_owned(), token };
            service(registered, &HeaderMap::new(), true).unwrap().renew_at.since(wall.at)
        };
        assert!(uses(3600) > Duration::from_mins(58) && uses(3600) <= Duration::from_mins(59));
        for short in [-7200, 0, 50] {
            assert!(uses(short) >= USED_AT_LEAST && uses(short) < Duration::from_mins(1), "{short}");
        }
    }
}
