//! From a registration token to the service: its address, and an admin token that really is a JSON
//! Web Token, though its signature is never checked.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use super::{
    answer::{Asked, Reply},
    request::{SERVICE, ScaleSetRoute},
};
use dayfly_fleet::Timestamp;

use crate::{shared::Shared, world::World};

pub(super) async fn register(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = Asked::of(request).await;
    let (mut world, now) = shared.world();
    let route = ScaleSetRoute::Registration;
    let reply = world.with_faults(route, |world| world.register_with_service(&asked, now));
    world.scale_set_response(&asked, route, reply, now)
}

impl World {
    /// A token that is good for registrations with a scope.
    pub(crate) fn registration_token(&mut self, scope: &str) -> String {
        let token = self.random.text().to_uppercase()[..29].to_owned();
        self.scale_sets.tokens.registration.insert(token.clone(), scope.to_owned());
        token
    }

    fn register_with_service(&mut self, asked: &Asked, now: Timestamp) -> Reply {
        let scope = asked.credential("RemoteAuth");
        let Some(scope) = scope.and_then(|token| self.scale_sets.tokens.registration.get(token)) else {
            return Reply::exception(401, "", "Invalid registration token.");
        };
        let scope = scope.clone();
        let body = asked.json().unwrap_or_default();
        let url = body["url"].as_str().unwrap_or_default();
        if body["runner_event"] != "register" || !url.to_lowercase().ends_with(&format!("/{scope}")) {
            return Reply::exception(400, "", "The url is not that of the token, or the event not register.");
        }
        let until = now + self.settings.scale_sets.admin_lifetime;
        let claims = json!({ "exp": until.as_millis() / 1000, "jti": self.random.text() });
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()), part("x"));
        let number = self.scope_number(&scope).unwrap_or_default();
        self.scale_sets.tokens.admin.insert(token.clone(), (scope, until));
        Reply::json(json!({ "url": format!("{}{SERVICE}/{number}/tenant/", asked.base), "token": token }))
    }
}
