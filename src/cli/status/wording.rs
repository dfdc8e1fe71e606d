//! Words that the parts of the page share.

use crate::{
    cli::terminal::cell,
    fleet::{Held, Timestamp},
};

/// Longer names and addresses are cut; runners' names have at most 64 characters.
pub(super) const MOST: usize = 80;

/// A duration in its two largest units.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(since).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m {}s", seconds % 60),
        () if days == 0 => format!("{hours}h {}m", minutes % 60),
        () => format!("{days}d {}h", hours % 24),
    }
}

/// A reason in words; an unknown reason of a newer daemon is shown as it is.
pub(in crate::cli) fn reason(word: &str) -> String {
    let known = Held::ALL.iter().find(|held| held.as_str() == word);
    known.map_or_else(|| cell(word, MOST), |held| held.in_words().to_owned())
}
