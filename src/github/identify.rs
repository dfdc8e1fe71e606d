//! Looks up GitHub's numbers of the scope and its repositories, and where they are now.

use std::collections::BTreeMap;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    GithubError,
    endpoint::Endpoint,
    rest::{Request, Response, RestClient, Validator},
};
use crate::fleet::{Scope, Target};

/// What makes the next lookup of an address conditional.
#[derive(Default)]
pub(super) struct LookedUp(Mutex<BTreeMap<Scope, Validator>>);

impl LookedUp {
    /// Looks up the number and the address of the scope or one of its repositories, at no cost when nothing has
    /// changed. There is nothing to look up for an enterprise.
    pub(super) async fn identify(&self, rest: &RestClient, configured: &Scope) -> Result<(), GithubError> {
        if let Target::Enterprise { .. } = configured.target() {
            return Ok(());
        }
        let known = self.0.lock().get(configured).cloned();
        // By the address of the configuration, even if a newer one is known: GitHub redirects from there.
        let address = rest.site_address(&configured.api_path())?;
        let reply =
            rest.ask(Request { known: known.as_ref(), ..Request::get(Endpoint::Scope, address) }).await?;
        let found = match reply.answer.status {
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(()),
            StatusCode::OK => described(&reply, configured)?,
            // No redirect leads on from an organization that was renamed.
            StatusCode::NOT_FOUND => None,
            _ => return Err(rest.refused_at(Endpoint::Scope, configured, &reply)),
        };
        let identities = rest.identities();
        let number =
            identities.number(configured).filter(|number| found.as_ref().map(|(id, _)| id) != Some(number));
        if let Some(number) = number {
            // The answer is not about what is configured, so that it must not count as unchanged next time.
            self.0.lock().remove(configured);
            if let Some(now) = address_by_number(rest, configured, number).await {
                identities.learn(configured, number, &now);
                return Ok(());
            }
        }
        if reply.answer.status == StatusCode::NOT_FOUND {
            return Err(rest.refused_at(Endpoint::Scope, configured, &reply));
        }
        let Some((id, now)) = found else { return Ok(()) };
        identities.learn(configured, id, &now);
        if number.is_none()
            && let Some(validator) = reply.validator()
        {
            self.0.lock().insert(configured.clone(), validator);
        }
        Ok(())
    }
}

/// Where GitHub has what it knows by this number; `None` if it does not say. These are the addresses that its own
/// redirects and links have.
async fn address_by_number(rest: &RestClient, configured: &Scope, number: u64) -> Option<Scope> {
    let kind = match configured.target() {
        Target::Repository { .. } => "repositories",
        Target::Organization { .. } | Target::Enterprise { .. } => "organizations",
    };
    let address = rest.site_address(&format!("/{kind}/{number}")).ok()?;
    let reply = rest.ask(Request::get(Endpoint::Scope, address)).await.ok()?;
    let (id, now) = described(&reply, configured).ok()??;
    (reply.answer.status == StatusCode::OK && id == number).then_some(now)
}

/// The number and the address in an answer that describes a repository or organization.
fn described(reply: &Response, configured: &Scope) -> Result<Option<(u64, Scope)>, GithubError> {
    let body: Value = reply.answer.json()?;
    Ok(body["id"].as_u64().zip(address_of(&body, configured)))
}

/// Where GitHub has what it describes, on the same GitHub as `configured`.
pub(super) fn address_of(body: &Value, configured: &Scope) -> Option<Scope> {
    match configured.target() {
        Target::Repository { .. } => configured.repository(body["full_name"].as_str()?),
        Target::Organization { .. } => {
            let scope: Scope = format!("{}/{}", configured.site(), body["login"].as_str()?).parse().ok()?;
            matches!(scope.target(), Target::Organization { .. }).then_some(scope)
        }
        Target::Enterprise { .. } => None,
    }
}
