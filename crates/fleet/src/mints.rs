//! How fast runners may be minted without reaching GitHub's rate limits: a launch that would have to wait is
//! not planned.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{pool::Pool, time::Instant};

/// The period of GitHub's secondary limit: 900 points a minute; a POST costs five and a GET one
/// (docs.github.com, "Rate limits for the REST API"). When the minute begins is not documented, so the limit
/// is kept for any minute.
const WINDOW: Duration = Duration::from_mins(1);

/// Mints in any minute: 750 points. The rest is for lists and removals.
const MINTS: usize = 150;

/// The same while queues are polled, which costs up to 350 points a minute: 450 points.
const MINTS_BESIDE_QUEUES: usize = 90;

/// The shortest wait after GitHub has limited the rate.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The limit that a pool's mints count against: that of its credential, unless they are no requests
/// of the REST API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MintBudget {
    credential: Arc<str>,
    by_rest: bool,
}

impl MintBudget {
    pub(super) fn of(pool: &Pool) -> Self {
        Self { credential: pool.credential.clone(), by_rest: pool.demand.mints_by_rest() }
    }
}

/// Recent mints for each budget.
#[derive(Debug, Default)]
pub(super) struct Mints(BTreeMap<MintBudget, Recent>);

#[derive(Debug, Default)]
struct Recent {
    most: Option<usize>,
    /// In chronological order.
    begun: VecDeque<Instant>,
    limited_until: Instant,
}

impl Mints {
    /// The budgets of these pools.
    pub(super) fn of<'p>(pools: impl Iterator<Item = &'p Pool>) -> Self {
        let mut mints = Self::default();
        for pool in pools {
            let most = if pool.demand.polls_queues() { MINTS_BESIDE_QUEUES } else { MINTS };
            let most = pool.demand.mints_by_rest().then_some(most);
            let recent = mints.0.entry(MintBudget::of(pool)).or_default();
            recent.most = recent.most.into_iter().chain(most).min();
        }
        mints
    }

    /// When the next runner may be minted within the limits, if not now.
    pub(super) fn paced_until(&self, budget: &MintBudget, now: Instant) -> Option<Instant> {
        let recent = self.0.get(budget)?;
        let most = recent.most?;
        let earliest = *recent.begun.get(recent.begun.len().checked_sub(most)?)? + WINDOW;
        (now < earliest).then_some(earliest)
    }

    /// Until when GitHub's rate limit allows no mint.
    pub(super) fn limited_until(&self, budget: &MintBudget) -> Instant {
        self.0.get(budget).map(|recent| recent.limited_until).unwrap_or_default()
    }

    /// Records a mint now.
    pub(super) fn begin(&mut self, budget: MintBudget, now: Instant) {
        self.found(budget, now, now);
    }

    /// Records a mint at `minted_at`, possibly by an earlier run of the daemon.
    pub(super) fn found(&mut self, budget: MintBudget, minted_at: Instant, now: Instant) {
        let begun = &mut self.0.entry(budget).or_default().begun;
        while begun.front().is_some_and(|&at| at + WINDOW <= now) {
            begun.pop_front();
        }
        if minted_at + WINDOW > now {
            let place = begun.partition_point(|&at| at <= minted_at);
            begun.insert(place, minted_at);
        }
    }

    /// Records a wait that GitHub asked for; returns true when it is the first.
    pub(super) fn limited(&mut self, budget: MintBudget, wait: Duration, now: Instant) -> bool {
        let recent = self.0.entry(budget).or_default();
        let first = recent.limited_until <= now;
        recent.limited_until = recent.limited_until.max(now + wait.max(SHORTEST_WAIT));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000_000);

    fn budget(by_rest: bool) -> MintBudget {
        MintBudget { credential: "default".into(), by_rest }
    }

    fn mints(most: Option<usize>, by_rest: bool) -> Mints {
        Mints(BTreeMap::from([(budget(by_rest), Recent { most, ..Recent::default() })]))
    }

    #[test]
    fn no_minute_has_more_mints_than_its_limit_allows() {
        let (mut mints, mut now, mut begun) = (mints(Some(MINTS), true), NOW, Vec::new());
        while begun.len() < 1000 {
            if let Some(at) = mints.paced_until(&budget(true), now) {
                now = at;
                continue;
            }
            mints.begin(budget(true), now);
            begun.push(now);
            now = now + Duration::from_millis(70);
        }
        assert_eq!(begun[MINTS - 1].since(NOW), Duration::from_millis(70) * 149, "a burst is minted at once");
        for (nth, &at) in begun.iter().enumerate().skip(MINTS) {
            assert!(at.since(begun[nth - MINTS]) >= WINDOW, "mint {nth}");
        }
        let minutes = now.since(NOW).as_secs_f64() / 60.0;
        assert!(1000.0 / minutes > 150.0, "and the limit is used fully: {minutes} minutes");
    }

    #[test]
    fn mints_outside_the_rest_api_have_no_pace() {
        let mut mints = mints(None, false);
        for _ in 0..1000 {
            assert_eq!(mints.paced_until(&budget(false), NOW), None);
            mints.begin(budget(false), NOW);
        }
    }

    #[test]
    fn what_a_run_before_has_minted_counts_while_it_is_fresh() {
        let mut mints = mints(Some(2), true);
        let ago = |seconds| NOW - Duration::from_secs(seconds);
        for seconds in [50, 5, 600] {
            mints.found(budget(true), ago(seconds), NOW);
        }
        assert_eq!(mints.paced_until(&budget(true), NOW), Some(ago(50) + WINDOW));
    }

    #[test]
    fn a_limit_holds_for_a_second_at_least_and_is_new_once() {
        let mut mints = mints(Some(2), true);
        assert!(mints.limited(budget(true), Duration::ZERO, NOW));
        assert!(!mints.limited(budget(true), Duration::from_secs(5), NOW));
        assert_eq!(mints.limited_until(&budget(true)), NOW + Duration::from_secs(5));
        assert!(mints.limited(budget(true), Duration::ZERO, NOW + Duration::from_secs(5)));
    }
}
