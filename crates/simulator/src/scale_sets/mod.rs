//! Runner scale sets, as actions/scaleset knows the service: registration, sets, sessions, the message queue,
//! and the runners that a set mints. Its state is part of the world, so that the statistics always match;
//! this module has the requests and the settings for tests.

mod agents;
mod answer;
mod queue;
mod registration;
pub(super) mod request;
pub(super) mod rules;
mod service;
pub(super) mod tokens;
pub(super) mod view;

use std::sync::Arc;

use axum::{
    Router,
    routing::{any, post},
};

use self::{
    request::{QUEUE, SERVICE, ScaleSetFault, ScaleSetRequest, ScaleSetRoute},
    rules::ScaleSetRules,
    view::ScaleSetView,
};
use super::shared::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v3/actions/runner-registration", post(registration::register))
        .route("/actions/runner-registration", post(registration::register))
        .route(&format!("{SERVICE}/{{*rest}}"), any(service::serve))
        .route(&format!("{QUEUE}/{{*rest}}"), any(queue::serve))
}

/// What tests see and turn; see [`Simulator::scale_sets`](crate::Simulator::scale_sets).
#[derive(Clone, Copy)]
pub struct ScaleSetKnobs<'a>(pub(super) &'a Shared);

impl ScaleSetKnobs<'_> {
    /// All sets.
    pub fn views(&self) -> Vec<ScaleSetView> {
        self.0.world().0.scale_set_views()
    }

    /// The set of this name.
    pub fn view(&self, name: &str) -> Option<ScaleSetView> {
        self.views().into_iter().find(|set| set.name == name)
    }

    /// The requests received, oldest first; only the latest ten thousand are kept.
    pub fn requests(&self) -> Vec<ScaleSetRequest> {
        self.0.world().0.scale_sets.requests()
    }

    /// How many requests of a kind were answered with this status.
    pub fn count(&self, route: ScaleSetRoute, status: u16) -> usize {
        let requests = self.requests();
        requests.iter().filter(|asked| asked.route == route && asked.status == Some(status)).count()
    }

    /// Every valid token of the service, to search for in places where none should be.
    pub fn tokens(&self) -> Vec<String> {
        self.0.world().0.scale_sets.all_tokens()
    }

    /// The next so many requests of a kind go wrong.
    pub fn fault(&self, route: ScaleSetRoute, times: u32, fault: ScaleSetFault) {
        self.0.change(|world, _| world.scale_sets.faults.push((route, times, fault)));
    }

    /// Changes the rules from now on.
    pub fn rules(&self, change: impl FnOnce(&mut ScaleSetRules)) {
        self.0.change(|world, _| change(&mut world.settings.scale_sets));
    }

    /// No admin token is good any more.
    pub fn expire_admin_tokens(&self) {
        self.0.change(|world, _| world.scale_sets.expire_admin_tokens());
    }

    /// The tokens of all sessions are not good any more.
    pub fn expire_queue_tokens(&self) {
        self.0.change(|world, now| world.scale_sets.expire_queue_tokens(now));
    }

    /// Ends the session of a set, as the service does now and then; says whether there was one.
    pub fn evict(&self, name: &str) -> bool {
        self.0.change(|world, _| world.scale_sets.evict(name))
    }

    /// Takes a set away, as the service did in an outage; says whether there was one.
    pub fn vanish(&self, name: &str) -> bool {
        self.0.change(|world, _| world.scale_sets.vanish(name))
    }

    /// Makes the statistics of a set report wrong numbers of assigned jobs, or the true ones again.
    pub fn claim_assigned(&self, name: &str, assigned: Option<u32>) {
        self.0.change(|world, _| world.scale_sets.claim_assigned(name, assigned));
    }
}
