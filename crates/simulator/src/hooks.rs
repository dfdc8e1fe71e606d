//! Webhooks: their targets, the deliveries in flight, and the delivery log. Plain values; payloads are
//! rendered beside the REST API, and sent in [`post`].

pub(super) mod post;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::random::Random;
use dayfly_fleet::Timestamp;

/// Deliveries that the log keeps.
const KEPT: usize = 10_000;

/// As on GitHub, ids of deliveries do not fit into a double.
const FIRST_DELIVERY: u64 = 120_000_000_000_000_001;

/// A webhook of an organization or a repository. It has a secret and no `Debug`.
#[derive(Clone)]
pub struct Hook {
    /// The organization (`acme`, for all its repositories) or repository (`acme/widgets`).
    pub scope: String,
    /// Where deliveries go.
    pub url: String,
    /// What they are signed with.
    pub secret: String,
    /// Whether they are forms, GitHub's default, or JSON.
    pub form: bool,
}

impl Hook {
    /// A hook that delivers JSON.
    pub fn new(scope: &str, url: impl Into<String>, secret: &str) -> Self {
        Self { scope: scope.to_ascii_lowercase(), url: url.into(), secret: secret.to_owned(), form: false }
    }
}

/// Faults of deliveries, each in per cent of them, chosen with the simulator's seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookFaults {
    /// Never made: not even the log knows of them.
    pub lost: u8,
    /// Made twice.
    pub doubled: u8,
    /// Signed with another secret.
    pub forged: u8,
    /// How late they are at most; each by itself, so that they overtake each other.
    pub late: Duration,
    /// Kept back until they are let go, which is newest first.
    pub held: bool,
}

/// A delivery that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: u64,
    /// The hook that it is of.
    pub hook: u64,
    /// What all attempts of the same have in common.
    pub guid: String,
    /// `workflow_job` or `ping`.
    pub event: &'static str,
    /// The payload's action.
    pub action: Option<String>,
    /// The payload's job.
    pub job: Option<u64>,
    /// Whether it was asked for again.
    pub redelivery: bool,
    /// Whether it is over.
    pub over: bool,
    /// The answer's status; `None` when none came, or not yet.
    pub answered: Option<u16>,
}

/// A delivery, on its way or in the log.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) hook: u64,
    pub(super) guid: String,
    pub(super) event: &'static str,
    pub(super) payload: Value,
    pub(super) redelivery: bool,
    pub(super) forged: bool,
}

impl Delivery {
    pub(super) fn action(&self) -> Option<&str> {
        self.payload["action"].as_str()
    }
}

/// A delivery in the log.
pub(super) struct Logged {
    pub(super) id: u64,
    pub(super) delivery: Delivery,
    pub(super) delivered_at: Timestamp,
    pub(super) took: Duration,
    /// `None` until it is over.
    pub(super) outcome: Option<Outcome>,
}

/// What came of a delivery.
pub(super) enum Outcome {
    Answered(u16, String),
    Failed,
}

impl Logged {
    /// The words that the log has for it: `OK`, or what went wrong.
    pub(super) fn status(&self) -> (String, u16) {
        match &self.outcome {
            Some(Outcome::Answered(code @ 200..300, _)) => ("OK".to_owned(), *code),
            Some(Outcome::Answered(code, _)) => (format!("Invalid HTTP Response: {code}"), *code),
            Some(Outcome::Failed) => ("failed to connect to host".to_owned(), 502),
            None => ("pending".to_owned(), 0),
        }
    }
}

/// All hooks and their deliveries.
#[derive(Default)]
pub(super) struct Hooks {
    known: BTreeMap<u64, Hook>,
    pub(super) faults: HookFaults,
    outbox: Vec<(Timestamp, Delivery)>,
    held: Vec<Delivery>,
    log: VecDeque<Logged>,
    next: u64,
    /// Address of the API, for what payloads say.
    pub(super) base: String,
}

impl Hooks {
    pub(super) fn add(&mut self, hook: Hook) -> u64 {
        let id = 500_000_001 + self.known.len() as u64;
        self.known.insert(id, hook);
        id
    }

    pub(super) fn hook(&self, id: u64) -> Option<&Hook> {
        self.known.get(&id)
    }

    /// The hooks of exactly this scope.
    pub(super) fn of_scope(&self, scope: &str) -> impl Iterator<Item = (u64, &Hook)> {
        self.known.iter().filter(move |(_, hook)| hook.scope == scope).map(|(id, hook)| (*id, hook))
    }

    /// The webhooks for a repository.
    pub(super) fn told_of(&self, repository: &str) -> Vec<u64> {
        let owner = repository.split('/').next().unwrap_or_default();
        let reported = |hook: &Hook| hook.scope == repository || hook.scope == owner;
        self.known.iter().filter(|(_, hook)| reported(hook)).map(|(id, _)| *id).collect()
    }

    /// Puts a delivery on its way, as the faults will have it.
    pub(super) fn send(
        &mut self,
        hook: u64,
        event: &'static str,
        payload: Value,
        random: &mut Random,
        now: Timestamp,
    ) {
        let HookFaults { lost, doubled, forged, late, held } = self.faults;
        let mut chance = |percent: u8| percent > 0 && random.number() % 100 < u64::from(percent);
        if chance(lost) {
            return;
        }
        let (copies, forged) = (if chance(doubled) { 2 } else { 1 }, chance(forged));
        let digits = random.text();
        let guid = format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        );
        let delivery = Delivery { hook, guid, event, payload, redelivery: false, forged };
        for _ in 0..copies {
            if held {
                self.held.push(delivery.clone());
                continue;
            }
            let most = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            let late = if most == 0 { 0 } else { random.number() % most };
            self.outbox.push((now + Duration::from_millis(late), delivery.clone()));
        }
    }

    /// Lets go what was kept back, newest first.
    pub(super) fn let_go(&mut self, now: Timestamp) {
        self.faults.held = false;
        // A millisecond between two of them: they are sent in the order of their times.
        let due = |(at, delivery)| (now + Duration::from_millis(at), delivery);
        self.outbox.extend((0..).zip(self.held.drain(..).rev()).map(due));
    }

    /// Tries a delivery again; says whether it was there.
    pub(super) fn redeliver(&mut self, hook: u64, id: u64, now: Timestamp) -> bool {
        let Some(logged) = self.logged(hook, id) else { return false };
        let again = Delivery { redelivery: true, ..logged.delivery.clone() };
        self.outbox.push((now, again));
        true
    }

    /// Takes what is due out of the outbox and into the log; and says when the next will be.
    pub(super) fn due(&mut self, now: Timestamp) -> (Vec<(u64, Delivery)>, Option<Timestamp>) {
        self.outbox.sort_by_key(|(at, _)| *at);
        let later = self.outbox.partition_point(|(at, _)| *at <= now);
        let mut due = Vec::new();
        for (_, delivery) in self.outbox.drain(..later) {
            let id = FIRST_DELIVERY + self.next;
            self.next += 1;
            if self.log.len() == KEPT {
                self.log.pop_front();
            }
            let logged = delivery.clone();
            self.log.push_back(Logged {
                id,
                delivery: logged,
                delivered_at: now,
                took: Duration::ZERO,
                outcome: None,
            });
            due.push((id, delivery));
        }
        (due, self.outbox.first().map(|(at, _)| *at))
    }

    /// Notes what came of a delivery.
    pub(super) fn over(&mut self, id: u64, outcome: Outcome, took: Duration) {
        if let Some(logged) = self.log.iter_mut().rev().find(|logged| logged.id == id) {
            (logged.outcome, logged.took) = (Some(outcome), took);
        }
    }

    /// The deliveries of a hook that are over, newest first.
    pub(super) fn log_of(&self, hook: u64) -> impl Iterator<Item = &Logged> {
        self.log.iter().rev().filter(move |logged| logged.delivery.hook == hook && logged.outcome.is_some())
    }

    pub(super) fn logged(&self, hook: u64, id: u64) -> Option<&Logged> {
        self.log_of(hook).find(|logged| logged.id == id)
    }

    /// All deliveries that the log has, oldest first.
    pub(super) fn views(&self) -> Vec<DeliveryView> {
        let view = |logged: &Logged| DeliveryView {
            id: logged.id,
            hook: logged.delivery.hook,
            guid: logged.delivery.guid.clone(),
            event: logged.delivery.event,
            action: logged.delivery.action().map(str::to_owned),
            job: logged.delivery.payload["workflow_job"]["id"].as_u64(),
            redelivery: logged.delivery.redelivery,
            over: logged.outcome.is_some(),
            answered: match logged.outcome {
                Some(Outcome::Answered(code, _)) => Some(code),
                Some(Outcome::Failed) | None => None,
            },
        };
        self.log.iter().map(view).collect()
    }
}
