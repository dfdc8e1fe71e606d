//! Which reasons, obstacles, vetoes, ends and troubles the days have met. Together they must meet every one,
//! or something would remain untested.

use std::collections::BTreeSet;

use dayfly_fleet::{
    Action, Deregistered, Event, Evidence, ExitReason, Held, Launched, Plan, Removed, Stopped, TroubleKind,
    Veto, Why,
};

/// What has been met.
#[derive(Clone, Default)]
pub(crate) struct Cases {
    why: BTreeSet<Why>,
    held: BTreeSet<Held>,
    veto: BTreeSet<Veto>,
    exit: BTreeSet<ExitReason>,
    trouble: BTreeSet<TroubleKind>,
    /// What happened to jobs and to the news of them.
    pub(crate) news: BTreeSet<&'static str>,
}

/// What must happen to jobs, and to the news of them.
const NEWS: [&str; 28] = [
    "a clock set back",
    "a clock set forward",
    "a suspend",
    "a job is asked for",
    "a job is gone when it is asked for",
    "a job waits for its approval",
    "a group is closed",
    "a look at a queue fails",
    "a lost node comes back",
    "a node is drained",
    "a node is lost",
    "a runner of a lost node is removed",
    "a runner waits for a node",
    "a look misses a job",
    "a queued job is cancelled",
    "a session is lost",
    "a session is taken",
    "a stranger takes a job",
    "a webhook comes twice",
    "a webhook is delivered again",
    "a webhook is lost",
    "a webhook is overtaken",
    "an old look is told again",
    "an old webhook is told again",
    "statistics tell of phantoms",
    "unmatched: group",
    "unmatched: labels",
    "two pools can take a job",
];

/// The troubles that a day can have: files on this machine are none of the world's.
fn troubles() -> impl Iterator<Item = TroubleKind> {
    TroubleKind::ALL.into_iter().filter(|&kind| kind != TroubleKind::TemplateFile)
}

impl Cases {
    pub(crate) fn evidence(&mut self, evidence: &Evidence) {
        let (Evidence::ScopeTrouble { trouble, .. }
        | Evidence::Source { trouble: Some(trouble), .. }
        | Evidence::HostTrouble { trouble, .. }
        | Evidence::Launch { outcome: Launched::Failed { trouble, .. }, .. }
        | Evidence::Deregister { outcome: Deregistered::Failed(trouble), .. }
        | Evidence::Stop { outcome: Stopped::Failed(trouble), .. }
        | Evidence::Remove { outcome: Removed::Failed(trouble), .. }) = evidence
        else {
            return;
        };
        self.trouble.insert(trouble.kind);
    }

    pub(crate) fn plan(&mut self, plan: &Plan) {
        for action in &plan.actions {
            if let Action::Launch { why, .. }
            | Action::Deregister { why, .. }
            | Action::Stop { why, .. }
            | Action::Remove { why, .. } = action
            {
                self.why.insert(*why);
            }
        }
        for event in &plan.events {
            match event {
                Event::Vetoed { veto, .. } => _ = self.veto.insert(*veto),
                Event::Exited { reason, .. } => _ = self.exit.insert(*reason),
                Event::Held { held: Some(held), .. } => _ = self.held.insert(*held),
                _ => {}
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.why.extend(&other.why);
        self.held.extend(&other.held);
        self.veto.extend(&other.veto);
        self.exit.extend(&other.exit);
        self.trouble.extend(&other.trouble);
        self.news.extend(&other.news);
    }

    pub(crate) fn met(&self) -> usize {
        self.why.len()
            + self.held.len()
            + self.veto.len()
            + self.exit.len()
            + self.trouble.len()
            + self.news.len()
    }

    pub(crate) fn all() -> usize {
        Why::ALL.len()
            + Held::ALL.len()
            + Veto::ALL.len()
            + ExitReason::ALL.len()
            + troubles().count()
            + NEWS.len()
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        let unheard = NEWS.iter().filter(|news| !self.news.contains(**news));
        let mut missing: Vec<String> = unheard.map(|news| (*news).to_owned()).collect();
        missing
            .extend(Why::ALL.iter().filter(|c| !self.why.contains(c)).map(|c| format!("why {}", c.as_str())));
        missing.extend(
            Held::ALL.iter().filter(|c| !self.held.contains(c)).map(|c| format!("held {}", c.as_str())),
        );
        missing.extend(
            Veto::ALL.iter().filter(|c| !self.veto.contains(c)).map(|c| format!("veto {}", c.as_str())),
        );
        missing.extend(
            ExitReason::ALL.iter().filter(|c| !self.exit.contains(c)).map(|c| format!("exit {}", c.as_str())),
        );
        missing.extend(
            troubles().filter(|c| !self.trouble.contains(c)).map(|c| format!("trouble {}", c.as_str())),
        );
        missing
    }
}
