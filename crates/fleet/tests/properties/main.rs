//! The rules of the design as properties of the core, by number: any evidence, in any order, true,
//! stale or contradictory. What these cannot say, the simulation does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clusters;
mod happening;
mod several_hosts;
mod stage;

use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, prelude::*};

use happening::{Happening, happening};
use stage::{START, Stage, queue_of};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_rules_hold_whatever_happens(
        min_idle in 1..4u32,
        story in vec(happening(), 1..150),
    ) {
        let mut stage = Stage::new(min_idle);
        stage.plan()?;
        for happening in &story {
            stage.happen(happening);
            stage.plan()?;
        }
    }

    /// Rule 10: duplicates and reordering of jobs change nothing.
    #[test]
    fn demand_is_a_set(jobs in vec(0..6u64, 0..12), order in any::<u64>()) {
        let mut stages = [Stage::new(1), Stage::new(1)];
        let queued = |ids: Vec<u64>| queue_of(ids, START, START);
        let set: BTreeSet<u64> = jobs.iter().copied().collect();
        let mut shuffled = jobs.clone();
        shuffled.rotate_left(usize::try_from(order % 12).unwrap() % jobs.len().max(1));
        shuffled.reverse();
        stages[0].observe(queued(set.into_iter().collect()));
        stages[1].observe(queued(shuffled));
        let [first, second] = stages.map(|mut stage| stage.fleet.plan(START));
        prop_assert_eq!(first, second);
    }

    /// Rule 10: even if reports of jobs were lost, duplicated or late, after one complete poll demand is what
    /// that poll shows.
    #[test]
    fn a_complete_poll_is_the_truth(
        news in vec((0..6u8, any::<u8>(), 0..300u16, any::<bool>()), 0..40),
        shown in vec(0..6u64, 0..6),
    ) {
        let mut stage = Stage::new(1);
        for (job, how, age, asked) in news {
            stage.happen(&Happening::Wait(1));
            stage.happen(&Happening::News(job, how % 5, age, asked));
        }
        stage.now = stage.now + Duration::from_secs(70);
        stage.observe(queue_of(shown.iter().copied(), stage.now, stage.now));
        stage.fleet.plan(stage.now);
        let waiting: BTreeSet<u64> = stage.fleet.status().jobs.iter().map(|job| job.id.0).collect();
        prop_assert_eq!(&waiting, &shown.iter().copied().collect::<BTreeSet<_>>());
        let queued: u32 = stage.fleet.status().pools.iter().map(|pool| pool.queued).sum();
        prop_assert_eq!(queued as usize, waiting.len());
    }

    /// Rule 7: constant demand settles in one pass once everything answers, and stays settled.
    #[test]
    fn constant_demand_settles(min_idle in 1..5u32, jobs in 0..5u64) {
        let mut stage = Stage::new(min_idle);
        stage.observe(queue_of(0..jobs, START, START));
        stage.plan()?;
        while !stage.under_way.is_empty() {
            stage.outcome(0, None);
        }
        for truth in stage.truth.values_mut() {
            truth.online = true;
        }
        for _ in 0..20 {
            stage.now = stage.now + Duration::from_secs(10);
            stage.list_registrations(false);
            stage.list_containers(false);
            let plan = stage.fleet.plan(stage.now);
            prop_assert!(plan.actions.is_empty(), "{plan:?}");
        }
    }
}
