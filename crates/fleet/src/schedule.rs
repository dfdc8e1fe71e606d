//! Other numbers of idle runners at certain hours: windows of days and hours in a time zone.
//!
//! On each of its days a window lasts from the first moment at which the local clock shows its start or
//! later, until the last moment at which the clock shows a time before its end. So it has no gap when
//! daylight saving time begins or ends: a skipped hour is not part of it, a repeated hour is part of it
//! twice, and a start or end within a skipped hour is the moment of the skip. Of several windows that match,
//! the first is used.

use std::time::Duration;

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use super::time::Timestamp;

/// Minutes in a day.
pub const DAY: u16 = 24 * 60;

/// How many days ahead a change is searched for. Within a year every rule about days, hours and daylight
/// saving time has applied.
const HORIZONS: [i32; 4] = [1, 8, 50, 400];

/// Windows in the order of precedence; without any, the pool's own number is always used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<Window>);

/// Days and hours, and how many runners to keep idle then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub days: Days,
    /// The start, in minutes after midnight local time.
    pub from: u16,
    /// The end, likewise, at most [`DAY`]; on the next day if it is not after the start.
    pub to: u16,
    /// The time zone of the hours.
    pub zone: TimeZone,
    pub min_idle: u32,
}

/// Start and end.
type Span = (jiff::Timestamp, jiff::Timestamp);

/// Days of the week, Monday first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days(pub [bool; 7]);

impl Days {
    fn has(self, day: Weekday) -> bool {
        self.0[usize::from(day.to_monday_zero_offset().unsigned_abs())]
    }
}

impl Schedule {
    /// How many runners to keep idle now, with `base` outside of all windows, and when that number changes
    /// next; `None` if it does not change within a year.
    pub fn min_idle_at(&self, base: u32, now: Timestamp) -> (u32, Option<Timestamp>) {
        let Some(at) = moment(now).filter(|_| !self.0.is_empty()) else { return (base, None) };
        let is = self.in_force(base, at);
        for days in HORIZONS {
            let mut bounds: Vec<_> = self.0.iter().flat_map(|window| window.bounds(at, days)).collect();
            bounds.sort_unstable();
            bounds.dedup();
            let changes = |&bound: &jiff::Timestamp| self.in_force(base, bound) != is;
            if let Some(next) = bounds.into_iter().find(changes) {
                return (is, Some(timestamp(next)));
            }
        }
        (is, None)
    }

    fn in_force(&self, base: u32, at: jiff::Timestamp) -> u32 {
        self.0.iter().find(|window| window.contains(at)).map_or(base, |window| window.min_idle)
    }

    /// The windows that overlap with another number, as pairs of indexes, the one with precedence first; and
    /// the windows that are never used, because others always have precedence.
    pub fn conflicts(&self) -> (Vec<(usize, usize)>, Vec<usize>) {
        let (mut both, mut hidden) = (Vec::new(), Vec::new());
        let spans: Vec<Vec<Span>> = self.0.iter().map(Window::sample).collect();
        for (later, own) in spans.iter().enumerate() {
            let meets = |&place: &usize| {
                spans[place].iter().any(|(from, to)| own.iter().any(|span| span.0 < *to && *from < span.1))
            };
            let earlier: Vec<usize> = (0..later).filter(meets).collect();
            let ends = || earlier.iter().flat_map(|&place| spans[place].iter().map(|span| span.1));
            let is_hidden = |at| earlier.iter().any(|&place| self.0[place].contains(at));
            // It is used, if at all, when it starts or when one of the others ends.
            let shows = own.iter().any(|&(from, to)| {
                !is_hidden(from) || ends().any(|end| from <= end && end < to && !is_hidden(end))
            });
            if own.is_empty() || shows {
                let differs = |place: &usize| self.0[*place].min_idle != self.0[later].min_idle;
                both.extend(earlier.into_iter().filter(differs).map(|place| (place, later)));
            } else {
                hidden.push(later);
            }
        }
        (both, hidden)
    }
}

impl Window {
    fn contains(&self, at: jiff::Timestamp) -> bool {
        // Where the clock is set back over midnight, the next day has begun already.
        let today = self.zone.to_datetime(at).date();
        let on = |days: i32| self.on(today.saturating_add(days.days()));
        (-2..=1).filter_map(on).any(|(from, to)| from <= at && at < to)
    }

    /// Its start and end on a day; `None` when it does not apply then.
    fn on(&self, day: Date) -> Option<Span> {
        if !self.days.has(day.weekday()) {
            return None;
        }
        let until = if self.to > self.from { day } else { day.tomorrow().ok()? };
        let (from, to) = (self.first(clock(day, self.from)?)?, self.last_before(clock(until, self.to)?)?);
        (from < to).then_some((from, to))
    }

    /// The first moment at which the clock shows this time or a later one.
    fn first(&self, shown: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(shown);
        let earlier = ambiguous.earlier().ok()?;
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
            // With the offset after the skip it would be before it.
            AmbiguousOffset::Gap { .. } => self.zone.following(earlier).next().map(|skip| skip.timestamp()),
        }
    }

    /// The end of the last moment at which the clock shows an earlier time than this.
    fn last_before(&self, shown: DateTime) -> Option<jiff::Timestamp> {
        let before = shown.checked_sub(1.nanosecond()).ok()?;
        let ambiguous = self.zone.to_ambiguous_timestamp(before);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => self.first(before),
            _ => ambiguous.later().ok()?.checked_add(1.nanosecond()).ok(),
        }
    }

    /// Its starts and ends from then on, within this many times 24 hours.
    fn bounds(&self, after: jiff::Timestamp, days: i32) -> impl Iterator<Item = jiff::Timestamp> + '_ {
        let today = self.zone.to_datetime(after).date();
        let on = move |day: i32| self.on(today.saturating_add(day.days()));
        // All until then, also where a time zone is a day ahead of others.
        let until = after.saturating_add((24 * i64::from(days)).hours()).unwrap_or(jiff::Timestamp::MAX);
        let ahead = move |bound: &jiff::Timestamp| after < *bound && *bound <= until;
        (-2..=days + 2).filter_map(on).flat_map(|(from, to)| [from, to]).filter(ahead)
    }

    /// Its times in a week in winter and in one in summer, for comparing windows of different zones.
    fn sample(&self) -> Vec<Span> {
        const WEEKS: [Date; 2] = [jiff::civil::date(2026, 1, 12), jiff::civil::date(2026, 7, 13)];
        let days = WEEKS.into_iter().flat_map(|monday| monday.series(1.day()).take(7));
        days.filter_map(|day| self.on(day)).collect()
    }
}

/// A local time on a day; 24:00 is midnight of the next day.
fn clock(day: Date, minutes: u16) -> Option<DateTime> {
    let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
    match hour {
        24.. => day.tomorrow().ok().map(|day| day.at(0, 0, 0, 0)),
        _ => Some(day.at(hour, minute, 0, 0)),
    }
}

fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    let millis = i64::try_from(at.as_millis()).ok()?;
    jiff::Timestamp::from_millisecond(millis).ok()
}

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    let since = Duration::try_from(at.duration_since(jiff::Timestamp::UNIX_EPOCH)).unwrap_or_default();
    Timestamp::default() + since
}

#[cfg(test)]
mod tests;
