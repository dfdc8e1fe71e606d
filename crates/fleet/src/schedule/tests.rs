//! Schedules against the clock itself, minute by minute.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const ZONES: [&str; 5] = [
    "Europe/Berlin",
    "America/New_York",
    // Half an hour of daylight saving.
    "Australia/Lord_Howe",
    // No daylight saving, and a quarter of an hour.
    "Asia/Kathmandu",
    // Sets its clock back over midnight.
    "America/Havana",
];

const MINUTES: usize = 368 * 24 * 60;

/// Where each test's year begins: 2026-01-01T00:00Z, a Thursday.
const START: u64 = 1_767_225_600_000;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// What the clock of a zone shows in each minute of the year, in minutes since the start's own midnight.
struct Clock(&'static str, Vec<i32>);

static CLOCKS: LazyLock<Vec<Clock>> = LazyLock::new(|| {
    ZONES
        .iter()
        .map(|name| {
            let zone = zone(name);
            let shown = (0..MINUTES).map(|minute| {
                let at = moment(minute_of_year(minute)).unwrap();
                let offset = zone.to_offset(at).seconds() / 60;
                i32::try_from(minute).unwrap() + offset
            });
            Clock(name, shown.collect())
        })
        .collect()
});

fn minute_of_year(minute: usize) -> Timestamp {
    Timestamp::from_millis(START) + Duration::from_mins(minute as u64)
}

impl Clock {
    fn of(zone: &TimeZone) -> &'static Self {
        CLOCKS.iter().find(|clock| zone.iana_name() == Some(clock.0)).unwrap()
    }

    /// The first minute in which the clock shows this or later.
    fn first_at_or_after(&self, shown: i32) -> usize {
        let about = usize::try_from(shown - 16 * 60).unwrap_or_default().min(MINUTES);
        (about..MINUTES).find(|&minute| self.1[minute] >= shown).unwrap_or(MINUTES)
    }

    /// The minute after the last in which it shows less.
    fn last_before(&self, shown: i32) -> usize {
        let about = usize::try_from(shown + 16 * 60).unwrap_or_default().min(MINUTES);
        (0..about).rev().find(|&minute| self.1[minute] < shown).map_or(0, |minute| minute + 1)
    }
}

/// The number in every minute of the year.
fn by_the_clock(schedule: &Schedule, base: u32) -> Vec<u32> {
    let mut numbers = vec![base; MINUTES];
    for window in schedule.0.iter().rev() {
        let clock = Clock::of(&window.zone);
        for day in -2..371_i32 {
            if window.days.0[usize::try_from((day + 3).rem_euclid(7)).unwrap()] {
                let end = if window.to > window.from { day } else { day + 1 };
                let minutes_of = |day: i32, time: u16| day * 24 * 60 + i32::from(time);
                let from = clock.first_at_or_after(minutes_of(day, window.from));
                let to = clock.last_before(minutes_of(end, window.to));
                if from < to {
                    numbers[from..to].fill(window.min_idle);
                }
            }
        }
    }
    numbers
}

/// Walks from change to change and compares with every minute between.
fn hold(schedule: &Schedule, base: u32) {
    let numbers = by_the_clock(schedule, base);
    // The days at the edges are not all there.
    let (mut minute, end) = (3 * 24 * 60, MINUTES - 3 * 24 * 60);
    while minute < end {
        let now = minute_of_year(minute);
        let (number, next) = schedule.min_idle_at(base, now);
        let until = next.map_or(end, |next| {
            usize::try_from(next.since(Timestamp::from_millis(START)).as_secs() / 60).unwrap()
        });
        assert!(until > minute, "{now}");
        let until = until.min(end);
        let wrong = (minute..until).find(|&minute| numbers[minute] != number);
        assert_eq!(wrong.map(minute_of_year), None, "{number} since {now}, {next:?}: {schedule:?}");
        if until < end {
            assert_ne!(numbers[until], number, "no change at {}: {schedule:?}", minute_of_year(until));
        }
        minute = until;
    }
}

fn window(days: &str, from: (u16, u16), to: (u16, u16), zone_name: &str, min_idle: u32) -> Window {
    let mut set = Days::default();
    for (day, letter) in days.chars().enumerate() {
        set.0[day] = letter != '-';
    }
    let minutes = |(hour, minute): (u16, u16)| hour * 60 + minute;
    Window { days: set, from: minutes(from), to: minutes(to), zone: zone(zone_name), min_idle }
}

fn at(text: &str) -> Timestamp {
    timestamp(text.parse().unwrap())
}

/// The next changes from a moment on.
fn changes(schedule: &Schedule, from: &str, count: usize) -> Vec<(String, u32)> {
    let mut reported = Vec::new();
    let mut now = at(from);
    for _ in 0..count {
        let (_, Some(next)) = schedule.min_idle_at(0, now) else { break };
        now = next;
        let shown = now.to_string().replace(":00.000Z", "Z");
        reported.push((shown, schedule.min_idle_at(0, now).0));
    }
    reported
}

fn expect(schedule: Window, from: &str, expected: &[(&str, u32)]) {
    let schedule = Schedule(vec![schedule]);
    let expected: Vec<_> = expected.iter().map(|&(at, number)| (at.to_owned(), number)).collect();
    assert_eq!(changes(&schedule, from, expected.len()), expected, "{schedule:?}");
}

#[test]
fn without_windows_nothing_ever_changes() {
    assert_eq!(Schedule::default().min_idle_at(3, at("2026-03-01T00:00Z")), (3, None));
    let always = window("mtwtfss", (0, 0), (24, 0), "Europe/Berlin", 5);
    assert_eq!(Schedule(vec![always]).min_idle_at(3, at("2026-03-01T00:00Z")), (5, None));
}

#[test]
fn office_hours_follow_the_clock_through_summer_and_winter() {
    let office = || window("mtwtf--", (8, 0), (18, 0), "Europe/Berlin", 5);
    // Friday, the weekend of the change, Monday.
    expect(
        office(),
        "2026-03-27T06:00Z",
        &[
            ("2026-03-27T07:00Z", 5),
            ("2026-03-27T17:00Z", 0),
            ("2026-03-30T06:00Z", 5),
            ("2026-03-30T16:00Z", 0),
        ],
    );
    expect(office(), "2026-10-23T17:00Z", &[("2026-10-26T07:00Z", 5), ("2026-10-26T17:00Z", 0)]);
}

#[test]
fn an_hour_that_is_skipped_is_not_there_to_be_in() {
    // 02:00 is 03:00 in Berlin on 2026-03-29, at 01:00Z.
    expect(
        window("------s", (2, 0), (3, 0), "Europe/Berlin", 5),
        "2026-03-28T12:00Z",
        &[("2026-04-05T00:00Z", 5), ("2026-04-05T01:00Z", 0)],
    );
    expect(
        window("------s", (2, 30), (4, 0), "Europe/Berlin", 5),
        "2026-03-28T12:00Z",
        &[("2026-03-29T01:00Z", 5), ("2026-03-29T02:00Z", 0)],
    );
    expect(
        window("------s", (1, 0), (2, 30), "Europe/Berlin", 5),
        "2026-03-28T12:00Z",
        &[("2026-03-29T00:00Z", 5), ("2026-03-29T01:00Z", 0)],
    );
    // 02:00 is 03:00 in New York on 2026-03-08, at 07:00Z.
    expect(
        window("------s", (2, 15), (3, 15), "America/New_York", 5),
        "2026-03-07T12:00Z",
        &[("2026-03-08T07:00Z", 5), ("2026-03-08T07:15Z", 0)],
    );
    // 02:00 is 02:30 on Lord Howe on 2026-10-04, at 2026-10-03T15:30Z.
    expect(
        window("------s", (2, 15), (3, 0), "Australia/Lord_Howe", 5),
        "2026-10-03T00:00Z",
        &[("2026-10-03T15:30Z", 5), ("2026-10-03T16:00Z", 0)],
    );
}

#[test]
fn an_hour_that_comes_twice_counts_twice_and_in_one_piece() {
    // 03:00 is 02:00 in Berlin on 2026-10-25, at 01:00Z.
    expect(
        window("------s", (2, 0), (2, 30), "Europe/Berlin", 5),
        "2026-10-24T12:00Z",
        &[("2026-10-25T00:00Z", 5), ("2026-10-25T01:30Z", 0)],
    );
    expect(
        window("------s", (2, 30), (10, 0), "Europe/Berlin", 5),
        "2026-10-24T12:00Z",
        &[("2026-10-25T00:30Z", 5), ("2026-10-25T09:00Z", 0)],
    );
    // 02:00 is 01:00 in New York on 2026-11-01, at 06:00Z; the window begins on Saturday.
    expect(
        window("-----s-", (22, 0), (1, 30), "America/New_York", 5),
        "2026-10-31T12:00Z",
        &[("2026-11-01T02:00Z", 5), ("2026-11-01T06:30Z", 0)],
    );
    // 02:00 is 01:30 on Lord Howe on 2026-04-05, at 2026-04-04T15:00Z.
    expect(
        window("------s", (1, 30), (2, 0), "Australia/Lord_Howe", 5),
        "2026-04-04T00:00Z",
        &[("2026-04-04T14:30Z", 5), ("2026-04-04T15:30Z", 0)],
    );
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    expect(
        window("----f--", (22, 0), (6, 0), "Europe/Berlin", 2),
        "2026-06-01T00:00Z",
        &[("2026-06-05T20:00Z", 2), ("2026-06-06T04:00Z", 0), ("2026-06-12T20:00Z", 2)],
    );
}

#[test]
fn of_several_windows_the_first_counts() {
    let lunch = window("mtwtf--", (12, 0), (13, 0), "Europe/Berlin", 1);
    let office = window("mtwtf--", (8, 0), (18, 0), "Europe/Berlin", 5);
    let reported = changes(&Schedule(vec![lunch.clone(), office.clone()]), "2026-06-01T00:00Z", 4);
    let numbers: Vec<u32> = reported.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [5, 1, 5, 0]);
    let reported = changes(&Schedule(vec![office, lunch]), "2026-06-01T00:00Z", 4);
    assert_eq!(reported.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [5, 0, 5, 0]);
}

#[test]
fn conflicts_are_found_across_zones() {
    let berlin = window("mtwtf--", (8, 0), (18, 0), "Europe/Berlin", 5);
    let new_york = window("mtwtf--", (8, 0), (18, 0), "America/New_York", 3);
    let night = window("mtwtfss", (20, 0), (5, 0), "Europe/Berlin", 1);
    let lunch = window("mtwtf--", (12, 0), (13, 0), "Europe/Berlin", 1);
    let schedule = Schedule(vec![berlin.clone(), new_york, night.clone(), lunch]);
    // Ten hours from 14:00 on in Berlin's time.
    assert_eq!(schedule.conflicts(), (vec![(0, 1), (1, 2)], vec![3]));
    assert_eq!(Schedule(vec![berlin.clone(), night]).conflicts(), (vec![], vec![]));
    let same = Window { from: 10 * 60, to: 20 * 60, ..berlin.clone() };
    assert_eq!(Schedule(vec![berlin, same]).conflicts(), (vec![], vec![]));
}

#[test]
fn moments_out_of_all_calendars_are_no_trouble() {
    let schedule = Schedule(vec![window("mtwtfss", (0, 0), (12, 0), "Europe/Berlin", 5)]);
    for now in [0, 1, 253_402_207_200_000, u64::MAX / 2, u64::MAX].map(Timestamp::from_millis) {
        let (_, next) = schedule.min_idle_at(1, now);
        assert!(next.is_none_or(|next| next > now), "{now:?}");
    }
}

fn windows() -> impl Strategy<Value = Window> {
    let days = any::<[bool; 7]>().prop_map(Days);
    // Many near the hours at which clocks are set.
    let time = || prop_oneof![0..=DAY, 0..=240_u16, Just(0), Just(DAY)];
    let zone = proptest::sample::select(&ZONES[..]).prop_map(zone);
    (days, time(), time(), zone, 0..4_u32)
        .prop_filter("lasts", |(_, from, to, ..)| from != to && *from < DAY)
        .prop_map(|(days, from, to, zone, min_idle)| Window { days, from, to, zone, min_idle })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_number_and_the_next_change_are_those_of_every_minute_of_a_year(
        windows in proptest::collection::vec(windows(), 1..4),
        base in 0..3_u32,
    ) {
        hold(&Schedule(windows), base);
    }
}
