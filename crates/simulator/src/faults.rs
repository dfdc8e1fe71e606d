//! What GitHub does wrong on request: which requests a fault meets, and for how long.

use std::time::Duration;

use super::endpoint::Endpoint;
use dayfly_fleet::Timestamp;

/// A misbehaviour, the requests that it meets, and when it ends. Without an end it lasts until
/// [`Simulator::clear_faults`](crate::Simulator::clear_faults).
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    endpoint: Option<Endpoint>,
    scope: Option<String>,
    page: Option<usize>,
    times: Option<u32>,
    lasting: Option<Duration>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This status with GitHub's JSON error body; nothing is done.
    Status(u16),
    /// This status with a page of HTML, as proxies send; nothing is done.
    Html(u16),
    /// 403 with `x-ratelimit-remaining: 0` and a reset this far away.
    PrimaryLimit(Duration),
    /// 429 with `retry-after`.
    SecondaryLimit(Duration),
    /// The answer comes this late.
    Slow(Duration),
    /// The request is taken and never answered; nothing is done.
    Hangs,
    /// What was asked is done, and the connection dropped instead of an answer.
    DropsAfterTheDeed,
    /// The body ends half-way, with a length that agrees.
    TruncatedJson,
    /// A list lacks its last row; `total_count` still counts it.
    ShortList,
    /// A list is empty and says that this is all.
    EmptyList,
    /// Every runner has this status.
    UnknownStatus(String),
    /// Every runner lacks this field.
    MissingField(&'static str),
    /// Every runner is reported as not busy, and a DELETE relies on that.
    BusyLies,
    /// 422 to a mint: the runner group is full.
    GroupFull,
    /// A mint is done, and answered with an empty `encoded_jit_config`.
    EmptyJitConfig,
}

impl FaultKind {
    /// Whether the kind makes sense at an endpoint.
    fn concerns(&self, endpoint: Endpoint) -> bool {
        use Endpoint::{DeleteRunner, GetRunner, ListGroups, ListJobs, ListRunners, ListRuns, Mint};
        match self {
            Self::ShortList | Self::EmptyList => {
                matches!(endpoint, ListRunners | ListGroups | ListRuns | ListJobs)
            }
            Self::UnknownStatus(_) | Self::MissingField(_) => matches!(endpoint, ListRunners | GetRunner),
            Self::BusyLies => matches!(endpoint, ListRunners | GetRunner | DeleteRunner),
            Self::GroupFull | Self::EmptyJitConfig => endpoint == Mint,
            _ => true,
        }
    }
}

impl Fault {
    /// A fault that meets every request where its kind makes sense.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, endpoint: None, scope: None, page: None, times: None, lasting: None }
    }

    /// Only requests to this endpoint.
    #[must_use]
    pub fn on(self, endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    /// Only requests for this scope, such as `acme` or `acme/widgets`.
    #[must_use]
    pub fn within(self, scope: &str) -> Self {
        Self { scope: Some(scope.to_ascii_lowercase()), ..self }
    }

    /// Only requests for this page of a list, counted from 1.
    #[must_use]
    pub fn page(self, page: usize) -> Self {
        Self { page: Some(page), ..self }
    }

    /// Only the next so many requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Only for so long from now.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { lasting: Some(duration), ..self }
    }
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults(Vec<(Fault, Option<Timestamp>)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, now: Timestamp) {
        let until = fault.lasting.map(|lasting| now + lasting);
        self.0.push((fault, until));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with a request; each fault met is one time nearer to its end.
    pub(super) fn meet(
        &mut self,
        endpoint: Endpoint,
        scope: Option<&str>,
        page: usize,
        now: Timestamp,
    ) -> Vec<FaultKind> {
        self.0.retain(|(fault, until)| fault.times != Some(0) && until.is_none_or(|until| now < until));
        let mut met = Vec::new();
        for (fault, _) in &mut self.0 {
            let meets = fault.kind.concerns(endpoint)
                && fault.endpoint.is_none_or(|only| only == endpoint)
                && fault.scope.as_deref().is_none_or(|only| Some(only) == scope)
                && fault.page.is_none_or(|only| only == page);
            if meets {
                fault.times = fault.times.map(|times| times - 1);
                met.push(fault.kind.clone());
            }
        }
        met
    }
}
