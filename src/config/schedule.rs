//! The schedule of a pool: days, hours, time zone, and how many runners to keep idle then.

use jiff::tz::TimeZone;

use super::{
    file,
    findings::At,
    wording::{nearest, quoted},
};
use crate::fleet::{DAY, Days, Schedule, Window};

/// The names of the days; the first three letters are enough.
const WEEK: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// All valid windows.
pub(super) fn schedule(written: &[file::Window], max: u32, at: &At<'_>) -> Schedule {
    let windows: Vec<Option<Window>> =
        written.iter().enumerate().map(|(i, written)| window(written, max, &at.key(i))).collect();
    let Some(windows) = windows.into_iter().collect::<Option<Vec<_>>>() else { return Schedule::default() };
    let schedule = Schedule(windows);
    let (both, hidden) = schedule.conflicts();
    for window in hidden {
        at.key(window).warn(
            "is never used: the windows above it cover all of its time, and the first match is used",
            "move it above them, or remove it",
        );
    }
    for (earlier, later) in both {
        at.key(later).warn(
            format_args!(
                "overlaps window {}, which is used while both match: {} idle runners, not {}",
                earlier + 1,
                schedule.0[earlier].min_idle,
                schedule.0[later].min_idle
            ),
            "change the hours so that they do not overlap",
        );
    }
    schedule
}

fn window(written: &file::Window, max: u32, at: &At<'_>) -> Option<Window> {
    let days = match &written.days {
        Some(text) => days(text, &at.key("days")),
        None => Some(Days([true; 7])),
    };
    let hours = at.key("hours").required(written.hours.as_deref(), "write hours = \"08:00-18:00\"");
    let hours = hours.and_then(|text| hours_of(text, &at.key("hours")));
    let zone = at
        .key("timezone")
        .required(written.timezone.as_deref(), "set timezone, for example timezone = \"Europe/Berlin\"");
    let zone = zone.and_then(|name| zone_of(name, &at.key("timezone")));
    let min_idle =
        at.key("min_idle").required(written.min_idle, "set how many runners to keep idle in this window");
    if let Some(min_idle) = min_idle {
        at.key("min_idle").require(
            min_idle <= max,
            format_args!("must not be above max ({max})"),
            "raise max or lower min_idle",
        );
    }
    let (from, to) = hours?;
    Some(Window { days: days?, from, to, zone: zone?, min_idle: min_idle? })
}

/// `mon-fri`, `sat,sun`, `fri-mon`, `daily`.
fn days(text: &str, at: &At<'_>) -> Option<Days> {
    let mut days = Days::default();
    for part in text.split(',') {
        let part = part.trim().to_ascii_lowercase();
        let (first, last) = match part.split_once('-') {
            _ if part == "daily" => (Some(0), Some(6)),
            Some((first, last)) => (day(first), day(last)),
            None => (day(&part), day(&part)),
        };
        let (Some(first), Some(last)) = (first, last) else {
            at.error(
                format_args!("contains {}, which is not a day of the week", quoted(&part)),
                "write \"mon-fri\", \"sat,sun\" or \"daily\"",
            );
            return None;
        };
        let mut day = first;
        while day != last {
            days.0[day] = true;
            day = (day + 1) % 7;
        }
        days.0[last] = true;
    }
    Some(days)
}

fn day(name: &str) -> Option<usize> {
    let name = name.trim();
    WEEK.iter().position(|day| name.len() >= 3 && day.starts_with(name))
}

/// `08:00-18:00`, `22:00-06:00`, `00:00-24:00`.
fn hours_of(text: &str, at: &At<'_>) -> Option<(u16, u16)> {
    let bounds = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
    let Some((from, to)) = bounds.filter(|(from, _)| *from < DAY) else {
        at.error("must be HH:MM-HH:MM", "for example \"08:00-18:00\", or \"22:00-06:00\" for a night");
        return None;
    };
    at.require(from != to, "start and end at the same time", "for a whole day write \"00:00-24:00\"")
        .then_some((from, to))
}

/// Minutes after midnight.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let sound = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| sound)
    };
    let minute = number(minute).filter(|minute| *minute < 60)?;
    let time = number(hour)? * 60 + minute;
    (time <= DAY).then_some(time)
}

/// Abbreviations and the zone that is most likely meant. Some others are IANA zones themselves (`CET`).
const ABBREVIATIONS: [(&str, &str); 20] = [
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("PT", "America/Los_Angeles"),
    ("MDT", "America/Denver"),
    ("MT", "America/Denver"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("CT", "America/Chicago"),
    ("EDT", "America/New_York"),
    ("ET", "America/New_York"),
    ("BST", "Europe/London"),
    ("WEST", "Europe/Lisbon"),
    ("CEST", "Europe/Berlin"),
    ("MEZ", "Europe/Berlin"),
    ("MESZ", "Europe/Berlin"),
    ("EEST", "Europe/Athens"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("AEST", "Australia/Sydney"),
];

/// The hint for an abbreviation or an offset.
fn no_zone(name: &str) -> Option<String> {
    let abbreviation = ABBREVIATIONS.iter().find(|(short, _)| short.eq_ignore_ascii_case(name.trim()));
    if let Some((_, zone)) = abbreviation {
        return Some(format!(
            "an abbreviation stands for one half of the year, or for several places: write the zone, such \
             as {zone:?}"
        ));
    }
    let offset = name.trim().trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let is_offset = offset.starts_with(['+', '-'])
        && offset[1..].starts_with(|c: char| c.is_ascii_digit())
        && offset[1..].chars().all(|c| c.is_ascii_digit() || c == ':');
    is_offset.then(|| {
        "an offset has no daylight saving time: write the zone, such as \"Europe/Berlin\", or \"UTC\""
            .to_owned()
    })
}

fn zone_of(name: &str, at: &At<'_>) -> Option<TimeZone> {
    if let Ok(zone) = TimeZone::get(name) {
        return Some(zone);
    }
    if let Some(hint) = no_zone(name) {
        at.error(format_args!("{} is not a time zone", quoted(name)), hint);
        return None;
    }
    let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
    // The database has old names and names of files besides places.
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|known| known.contains('/')).collect();
    // A city alone most likely means the zone with its name.
    let city = |known: &&&str| known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let near = known.iter().find(city).copied().or_else(|| nearest(name, &known));
    let hint = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => "use a name from the IANA time zone database, for example \"Europe/Berlin\"".to_owned(),
    };
    at.error(format_args!("{} is not a known time zone", quoted(name)), hint);
    None
}
