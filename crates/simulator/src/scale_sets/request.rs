//! The requests of the service of scale sets, and what goes wrong with them.

use serde::Serialize;
use serde_json::Value;

use dayfly_fleet::Timestamp;

/// Below it is the service, by the number of a scope. GitHub's own has a path too.
pub(super) const SERVICE: &str = "/_actions";
/// Below it are the queues; their addresses have a query, as GitHub's may.
pub(super) const QUEUE: &str = "/_queue";

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
    /// The capacity that a poll reported.
    pub capacity: Option<u32>,
    /// The body, where it was JSON.
    pub body: Option<Value>,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
}
