//! Who is next, when, and what does not fit: tables with time passed in.

use std::sync::Arc;

use super::*;
use crate::fleet::{ClockReading, Job, JobFacts, JobId, JobState};

const NOW: Instant = Instant::from_millis(1_795_348_800_000);
const BASE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn repository(name: &str) -> Scope {
    format!("https://github.com/acme/{name}").parse().unwrap()
}

fn look(state: Option<JobState>) -> Look {
    let facts = JobFacts {
        name: "build".to_owned(),
        repository: repository("a"),
        run_id: 1,
        url: String::new(),
        queued_at: ClockReading::default().timestamp(NOW),
    };
    let job = Job {
        id: JobId(1),
        labels: Vec::new(),
        enterprise: None,
        public: None,
        workflows: Vec::new(),
        queued_at: NOW,
        facts: Arc::new(facts),
    };
    let jobs = state.map(|state| (job, state)).into_iter().collect();
    Look { began: NOW, jobs, missing: None, requests: 2, charged: 0 }
}

fn rate(remaining: u64, reset_in: Duration) -> Rate {
    Rate { limit: 5000, remaining, reset_at: NOW + reset_in, resource: "core".to_owned() }
}

/// One repository that was last pushed to so long ago, and has just been polled.
fn one(reach: Reach, quiet_for: Duration) -> Schedule {
    let mut schedule = Schedule::new(BASE, 1);
    schedule.add(&repository("a"), reach, NOW - quiet_for);
    schedule.began(&repository("a"), NOW);
    schedule.polled(&repository("a"), &look(None), NOW);
    schedule
}

fn wait(schedule: &Schedule, rate: Option<&Rate>) -> Duration {
    schedule.next(rate, NOW).unwrap().1.since(NOW)
}

#[test]
fn active_repositories_are_polled_often_and_quiet_ones_less_and_less_often() {
    for (reach, quiet_for, expected) in [
        (Reach::Found, Duration::ZERO, BASE),
        (Reach::Found, MINUTE * 14, BASE),
        (Reach::Found, MINUTE * 15, MINUTE),
        (Reach::Found, MINUTE * 60, MINUTE * 4),
        (Reach::Found, MINUTE * 600, MINUTE * 15),
        (Reach::Named, MINUTE * 600, MINUTE),
        (Reach::Own, MINUTE * 600, BASE),
    ] {
        assert_eq!(wait(&one(reach, quiet_for), None), expected, "{reach:?} {quiet_for:?}");
    }
}

#[test]
fn a_job_makes_a_repository_active_and_news_makes_it_due() {
    let (a, mut schedule) = (repository("a"), one(Reach::Found, MINUTE * 600));
    assert!(schedule.poll_soon(&a) && !schedule.poll_soon(&repository("b")));
    assert_eq!(wait(&schedule, None), SHORTEST);
    schedule.began(&a, NOW);
    assert_eq!(schedule.next(None, NOW), None, "it is being looked at");
    schedule.polled(&a, &look(Some(JobState::InProgress { runner: None })), NOW);
    assert_eq!(wait(&schedule, None), BASE);
    schedule.poll_queued_soon();
    assert_eq!(wait(&schedule, None), BASE, "nothing waits there");
    schedule.began(&a, NOW);
    schedule.polled(&a, &look(Some(JobState::Queued)), NOW);
    schedule.poll_queued_soon();
    assert_eq!(wait(&schedule, None), SHORTEST);
}

#[test]
fn repositories_that_were_never_polled_come_first_and_then_the_longest_waiting() {
    let mut schedule = Schedule::new(BASE, 1);
    for name in ["a", "b", "c"] {
        schedule.add(&repository(name), Reach::Named, NOW);
    }
    for (name, ago) in [("a", 5), ("b", 9)] {
        schedule.began(&repository(name), NOW - SECOND * ago);
        schedule.polled(&repository(name), &look(None), NOW - SECOND * ago);
    }
    assert_eq!(schedule.next(None, NOW).unwrap().0, repository("c"));
    schedule.began(&repository("c"), NOW);
    schedule.polled(&repository("c"), &look(None), NOW);
    assert_eq!(schedule.next(None, NOW), Some((repository("b"), NOW + SECOND)));
}

#[test]
fn failures_wait_ever_longer_or_as_long_as_github_says() {
    let (a, mut schedule) = (repository("a"), one(Reach::Own, Duration::ZERO));
    for expected in [10, 20, 40, 80, 160, 300, 300] {
        schedule.failed(&a, None, NOW);
        assert_eq!(wait(&schedule, None), SECOND * expected);
    }
    schedule.poll_soon(&a);
    assert_eq!(wait(&schedule, None), SECOND * 300, "news do not hurry what fails");
    schedule.failed(&a, Some(NOW + MINUTE * 20), NOW);
    assert_eq!(wait(&schedule, None), MINUTE * 20);
    schedule.began(&a, NOW);
    schedule.polled(&a, &look(None), NOW);
    assert_eq!(wait(&schedule, None), BASE);
}

#[test]
fn the_rate_limit_stretches_what_is_charged_and_nothing_else() {
    let a = repository("a");
    let mut schedule = one(Reach::Own, Duration::ZERO);
    let hour = MINUTE * 60;
    // Unchanged lists are free, so that there is no end to them.
    for _ in 0..60 {
        schedule.polled(&a, &look(None), NOW);
    }
    assert_eq!(wait(&schedule, Some(&rate(600, hour))), BASE);
    assert_eq!(schedule.shortfall(Some(&rate(600, hour)), NOW), None);
    for _ in 0..60 {
        schedule.polled(&a, &Look { charged: 2, ..look(None) }, NOW);
    }
    schedule.paid_until = NOW;
    // 720 an hour, of which 4,500 and then 360 are left above the reserve of 500.
    assert_eq!(wait(&schedule, Some(&rate(5000, hour))), BASE);
    let wait = wait(&schedule, Some(&rate(860, hour)));
    assert!(wait > SECOND * 19 && wait < SECOND * 21, "{wait:?}");
    let shortfall = schedule.shortfall(Some(&rate(860, hour)), NOW).unwrap();
    assert_eq!((shortfall.repositories, shortfall.wanted, shortfall.allowed), (1, 720, 360));
    assert_eq!(schedule.shortfall(Some(&rate(860, Duration::ZERO)), NOW), None, "a new window");
}

#[test]
fn a_hundred_active_repositories_keep_to_the_pace_and_fall_short_with_a_warning() {
    let mut schedule = Schedule::new(BASE, 1);
    for at in 0..100 {
        schedule.add(&repository(&format!("r{at}")), Reach::Found, NOW);
    }
    let (mut now, mut looks) = (NOW, 0_u32);
    while now < NOW + MINUTE * 10 {
        let (next, at) = schedule.next(None, now).unwrap();
        now = now.max(at);
        schedule.began(&next, now);
        schedule.polled(&next, &Look { jobs: look(Some(JobState::Queued)).jobs, ..look(None) }, now);
        looks += 1;
    }
    // Two requests each; a burst of half a minute's worth at the start.
    assert!((1750..1900).contains(&looks), "{looks}");
    let shortfall = schedule.shortfall(None, now).unwrap();
    assert_eq!(shortfall.allowed, 21_000);
    assert!((72_000..73_000).contains(&shortfall.wanted), "{}", shortfall.wanted);
    assert!(shortfall.interval > SECOND * 34 && shortfall.interval < SECOND * 35);
}

#[test]
fn scopes_of_one_credential_share_its_limits() {
    let schedule = |shared_by| {
        let mut schedule = Schedule { shared_by, ..one(Reach::Own, Duration::ZERO) };
        schedule.add(&repository("b"), Reach::Named, NOW);
        schedule.pay(175, NOW + MINUTE);
        schedule
    };
    assert!(schedule(1).paid_until.since(NOW) <= SECOND * 90);
    assert!(schedule(2).paid_until.since(NOW) > SECOND * 119);
    assert_eq!(schedule(1).shortfall(None, NOW), None);
    assert!(schedule(100).shortfall(None, NOW).is_some());
}

#[test]
fn what_is_not_found_any_more_is_forgotten_unless_it_has_jobs() {
    let mut schedule = Schedule::new(BASE, 1);
    for (name, reach, ago) in [
        ("own", Reach::Named, 60),
        ("old", Reach::Found, 60),
        ("kept", Reach::Found, 60),
        ("new", Reach::Found, 1),
    ] {
        schedule.add(&repository(name), reach, NOW - MINUTE * ago);
    }
    assert_eq!(schedule.forget_found(|known| *known == repository("kept"), NOW), [repository("old")]);
    assert_eq!(schedule.turns.len(), 3);
}

#[test]
fn the_requests_of_an_hour_can_be_predicted() {
    let reported = |active, quiet, reach| requests_per_hour(BASE, active, quiet, reach).at_rest;
    assert_eq!(reported(1, 0, Reach::Own), 720 + 120);
    assert_eq!(reported(0, 10, Reach::Named), 1200 + 1200);
    assert_eq!(reported(2, 100, Reach::Found), 2 * 840 + 800 + 800 + 60);
}
