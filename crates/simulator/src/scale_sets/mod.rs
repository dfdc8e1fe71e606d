//! Runner scale sets, as actions/scaleset knows the service: registration, sets, sessions, the message queue,
//! and the runners that a set mints. Its state is part of the world, so that the statistics always match;
//! this module has the requests and the settings for tests.

mod agents;
mod answer;
mod queue;
mod registration;
mod service;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{any, post},
};
use serde::Serialize;
use serde_json::Value;

use super::{Shared, Simulator};
use dayfly_fleet::Timestamp;

pub(super) use self::registration::Tokens as RegistrationTokens;

/// Below it is the service, by the number of a scope. GitHub's own has a path too.
pub(super) const SERVICE: &str = "/_actions";
/// Below it are the queues; their addresses have a query, as GitHub's may.
pub(super) const QUEUE: &str = "/_queue";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v3/actions/runner-registration", post(registration::register))
        .route("/actions/runner-registration", post(registration::register))
        .route(&format!("{SERVICE}/{{*rest}}"), any(service::serve))
        .route(&format!("{QUEUE}/{{*rest}}"), any(queue::serve))
}

/// How the service behaves.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of the service by itself")]
pub struct ScaleSetRules {
    /// Whether jobs are assigned by the service, as on github.com, up to the capacity in polls; otherwise
    /// they are offered, and must be acquired, as on GHES.
    pub assigns: bool,
    /// Whether sets keep labels besides their name; GHES before 3.21 drops them silently.
    pub keeps_labels: bool,
    /// Whether a search for a set uses the requested name.
    pub filters: bool,
    /// How long a poll without news is held.
    pub poll_hold: Duration,
    /// How long an admin token lives.
    pub admin_lifetime: Duration,
    /// How long a session's token lives.
    pub queue_lifetime: Duration,
    /// How long a session without requests exists.
    pub session_lifetime: Duration,
    /// Whether `JobStarted` wakes a poll that is being held; on github.com it does not.
    pub started_wakes: bool,
    /// Whether answers begin with a byte order mark.
    pub byte_order_mark: bool,
    /// Whether a conflict names the owner of the session that is in the way, as older servers do.
    pub names_owner: bool,
}

impl Default for ScaleSetRules {
    fn default() -> Self {
        Self {
            assigns: true,
            keeps_labels: true,
            filters: true,
            poll_hold: Duration::from_secs(50),
            admin_lifetime: Duration::from_hours(1),
            queue_lifetime: Duration::from_mins(50),
            session_lifetime: Duration::from_mins(5),
            started_wakes: false,
            byte_order_mark: false,
            names_owner: true,
        }
    }
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleSetRoute {
    /// `POST /actions/runner-registration`
    Registration,
    /// `GET …/runnergroups/`
    Groups,
    /// `GET …/runnerscalesets`, with or without an id
    Find,
    /// `POST …/runnerscalesets`
    Create,
    /// `PATCH …/runnerscalesets/{id}`
    Update,
    /// `DELETE …/runnerscalesets/{id}`
    Delete,
    /// `POST …/sessions`
    Open,
    /// `PATCH …/sessions/{id}`
    Refresh,
    /// `DELETE …/sessions/{id}`
    Close,
    /// `GET` of the queue
    Poll,
    /// `DELETE` of a message
    Acknowledge,
    /// `POST …/acquirejobs`
    Acquire,
    /// `POST …/generatejitconfig`
    Mint,
    /// `GET …/agents`, with or without an id
    Agents,
    /// `DELETE …/agents/{id}`
    RemoveAgent,
    /// Anything else
    Unknown,
}

/// What goes wrong with the next requests of a kind.
#[derive(Clone, Debug)]
pub enum ScaleSetFault {
    /// An exception; nothing is done.
    Exception {
        /// The answer's status.
        status: u16,
        /// The type, by which clients distinguish exceptions.
        type_name: &'static str,
        /// The words.
        message: &'static str,
    },
    /// A text that is no JSON; nothing is done.
    Text(u16, &'static str),
    /// 200 without a body; nothing is done.
    Empty,
    /// What was asked is done, and the connection dropped in place of an answer.
    DropsAfterTheDeed,
    /// A session without the address of its queue.
    NoQueueAddress,
}

/// A request that the service received. Tokens are left out.
#[derive(Clone, Debug)]
pub struct ScaleSetRequest {
    /// When.
    pub at: Timestamp,
    /// What was asked.
    pub route: ScaleSetRoute,
    /// Its path.
    pub path: String,
    /// Its decoded query.
    pub query: Vec<(String, String)>,
    /// The capacity in a poll.
    pub capacity: Option<u32>,
    /// The body, where it was JSON.
    pub body: Option<Value>,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
}

/// A scale set as it is.
#[derive(Clone, Debug)]
pub struct ScaleSetView {
    /// Its number.
    pub id: i64,
    /// Path of its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Whose session is open, if one is.
    pub owner: Option<String>,
    /// How many of its jobs are waiting or running.
    pub assigned: usize,
    /// How many messages wait to be acknowledged or sent.
    pub unheard: usize,
    /// The capacity in the last poll.
    pub capacity: u32,
    /// Names of its runners.
    pub runners: Vec<String>,
}

/// What tests see and turn; see [`Simulator::scale_sets`].
#[derive(Clone, Copy)]
pub struct ScaleSetKnobs<'a>(pub(super) &'a Simulator);

impl ScaleSetKnobs<'_> {
    /// All sets.
    pub fn views(&self) -> Vec<ScaleSetView> {
        self.0.shared.world().0.scale_set_views()
    }

    /// The set of this name.
    pub fn view(&self, name: &str) -> Option<ScaleSetView> {
        self.views().into_iter().find(|set| set.name == name)
    }

    /// The requests received, oldest first; only the latest ten thousand are kept.
    pub fn requests(&self) -> Vec<ScaleSetRequest> {
        self.0.shared.world().0.scale_sets.requests()
    }

    /// How many requests of a kind were answered with this status.
    pub fn count(&self, route: ScaleSetRoute, status: u16) -> usize {
        let requests = self.requests();
        requests.iter().filter(|asked| asked.route == route && asked.status == Some(status)).count()
    }

    /// Every valid token of the service, to search for in places where none should be.
    pub fn tokens(&self) -> Vec<String> {
        self.0.shared.world().0.scale_sets.all_tokens()
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
