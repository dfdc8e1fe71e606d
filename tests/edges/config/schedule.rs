//! Schedules: valid ones, errors and warnings.

use super::{SOUND, Written, pool, pool_warnings};

fn window(keys: &str) -> String {
    format!("max = 10\nschedule = [\n{{ {keys} }},\n]\n")
}

const BERLIN: &str = r#"timezone = "Europe/Berlin", min_idle = 5"#;

#[test]
fn windows_are_read_in_their_order() {
    let text = format!(
        "{SOUND}schedule = [\n\
         {{ days = \"mon-fri\", hours = \"08:00-18:00\", timezone = \"Europe/Berlin\", min_idle = 5 }},\n\
         {{ days = \"friday, Sat\", hours = \"22:00-6:30\", timezone = \"america/new_york\", min_idle = 2 \
         }},\n\
         {{ hours = \"18:00-20:00\", timezone = \"UTC\", min_idle = 1 }},\n]\n"
    );
    let config = Written::new(text).load();
    assert_eq!(config.warnings, []);
    let windows = &config.pools[0].pool.policy.schedule.0;
    let read: Vec<_> = windows
        .iter()
        .map(|window| {
            let days: String = window.days.0.iter().map(|day| if *day { 'x' } else { '-' }).collect();
            (days, window.from, window.to, window.zone.iana_name().unwrap_or_default(), window.min_idle)
        })
        .collect();
    assert_eq!(
        read,
        [
            ("xxxxx--".to_owned(), 480, 1080, "Europe/Berlin", 5),
            ("----xx-".to_owned(), 1320, 390, "America/New_York", 2),
            ("xxxxxxx".to_owned(), 1080, 1200, "UTC", 1),
        ]
    );
}

#[test]
fn days_may_pass_the_week_and_hours_the_midnight() {
    let days = |days: &str| {
        let keys = format!("days = \"{days}\", hours = \"00:00-24:00\", {BERLIN}");
        let config = Written::new(format!("{SOUND}{}", window(&keys))).load();
        let read = config.pools[0].pool.policy.schedule.0[0].days.0;
        read.map(|day| if day { 'x' } else { '-' }).iter().collect::<String>()
    };
    for (text, read) in
        [("fri-mon", "x---xxx"), ("daily", "xxxxxxx"), ("tue", "-x-----"), ("mon,wed-thu", "x-xx---")]
    {
        assert_eq!(days(text), read, "{text}");
    }
}

#[test]
fn what_is_no_window_is_refused_with_its_line() {
    let hours = r#"hours: must be HH:MM-HH:MM; for example "08:00-18:00", or "22:00-06:00" for a night"#;
    for (keys, reported) in [
        (
            format!("days = \"mon-fry\", hours = \"08:00-18:00\", {BERLIN}"),
            r#"days: contains "mon-fry", which is not a day of the week; write "mon-fri", "sat,sun" or "daily""#,
        ),
        (format!("hours = \"8-18\", {BERLIN}"), hours),
        (format!("hours = \"08:00-24:01\", {BERLIN}"), hours),
        (format!("hours = \"08:60-10:00\", {BERLIN}"), hours),
        (format!("hours = \"24:00-08:00\", {BERLIN}"), hours),
        (
            format!("hours = \"08:00-08:00\", {BERLIN}"),
            r#"hours: start and end at the same time; for a whole day write "00:00-24:00""#,
        ),
        (BERLIN.to_owned(), r#"hours: is missing; write hours = "08:00-18:00""#),
        (
            "hours = \"08:00-18:00\", min_idle = 5".to_owned(),
            r#"timezone: is missing; set timezone, for example timezone = "Europe/Berlin""#,
        ),
        (
            "hours = \"08:00-18:00\", timezone = \"Berlin\", min_idle = 5".to_owned(),
            r#"timezone: "Berlin" is not a known time zone; did you mean "Europe/Berlin"?"#,
        ),
        (
            "hours = \"08:00-18:00\", timezone = \"Europe/Belrin\", min_idle = 5".to_owned(),
            r#"timezone: "Europe/Belrin" is not a known time zone; did you mean "Europe/Berlin"?"#,
        ),
        (
            "hours = \"08:00-18:00\", timezone = \"UTC\"".to_owned(),
            "min_idle: is missing; set how many runners to keep idle in this window",
        ),
        (
            "hours = \"08:00-18:00\", timezone = \"UTC\", min_idle = 11".to_owned(),
            "min_idle: must not be above max (10); raise max or lower min_idle",
        ),
        (format!("hour = \"08:00-18:00\", {BERLIN}"), r#"hour: is not a known key; did you mean "hours"?"#),
    ] {
        let reported = format!("dayfly.toml:8: pool \"linux\": schedule, item 1: {reported}");
        assert!(pool(&window(&keys)).contains(&reported), "{reported}: {:?}", pool(&window(&keys)));
    }
}

#[test]
fn overlaps_are_reported() {
    let windows = |first: &str, second: &str| {
        let of = |hours: &str, min_idle: u32| {
            format!("{{ hours = \"{hours}\", timezone = \"Europe/Berlin\", min_idle = {min_idle} }},\n")
        };
        pool_warnings(&format!("schedule = [\n{}{}]\n", of(first, 5), of(second, 2)))
    };
    assert_eq!(windows("08:00-18:00", "18:00-20:00"), [""; 0]);
    assert_eq!(
        windows("08:00-18:00", "17:00-20:00"),
        [
            r#"dayfly.toml:8: pool "linux": schedule, item 2: overlaps window 1, which is used while both match: 5 idle runners, not 2; change the hours so that they do not overlap"#
        ]
    );
    assert_eq!(
        windows("08:00-18:00", "12:00-13:00"),
        [
            r#"dayfly.toml:8: pool "linux": schedule, item 2: is never used: the windows above it cover all of its time, and the first match is used; move it above them, or remove it"#
        ]
    );
}
