//! From demand to running runners: the engine alone and Dayfly in turn, several rounds of each.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::{
    daemon::Running,
    engine::{self, Likeness, PAUSE},
    stand::{PATIENCE, Stand},
    table::{Table, median, millis},
    warnings,
};

/// How many requests the engine is given at once; the best counts.
const AT_ONCE: [usize; 4] = [2, 4, 8, 16];

/// From the moment that launching could begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Until the first container ran.
    pub(crate) first: Duration,
    /// Until the last container ran.
    pub(crate) running: Duration,
    /// Until the last runner was connected.
    pub(crate) online: Duration,
}

/// Launches `counts` of runners, or the usual ones where that is empty.
pub(crate) async fn measure(stand: &Stand, quick: bool, counts: &[usize], table: &mut Table) -> Result<()> {
    let usual: &[usize] = if quick { &[1, 5] } else { &[1, 10, 50, 100, 200] };
    let mut likenesses = (None, None);
    for &count in if counts.is_empty() { usual } else { counts } {
        let rounds = match count {
            _ if quick => 3,
            ..=5 => 9,
            6..=20 => 7,
            21..=50 => 3,
            51..=100 => 2,
            _ => 1,
        };
        let mut floors: Vec<Vec<Times>> = vec![Vec::new(); AT_ONCE.len()];
        let (mut ours, warned) = (Vec::new(), warnings::count());
        for round in 1..=rounds {
            // The order alternates, so that a machine that gets busier favours neither.
            for turn in 0..=AT_ONCE.len() {
                match (turn + round) % (AT_ONCE.len() + 1) {
                    0 => {
                        ours.push(launch(stand, count).await?);
                        likenesses.1 = Some(Likeness::take(stand).await?);
                    }
                    // More at once than there are is nothing new.
                    which if which > 1 && AT_ONCE[which - 1] / 2 >= count => continue,
                    which => {
                        floors[which - 1].push(engine::launch(stand, count, AT_ONCE[which - 1]).await?);
                        likenesses.0 = Some(Likeness::take(stand).await?);
                    }
                }
                next(stand).await?;
            }
            if let (Some(floor), Some(dayfly)) = &likenesses {
                Likeness::compare(floor, dayfly)?;
            }
            let last = |times: &[Times]| {
                let shown = |times: &Times| format!("{} ({})", millis(times.running), millis(times.first));
                times.last().map_or_else(String::new, shown)
            };
            let shown: Vec<String> = floors.iter().map(|floor| last(floor)).collect();
            println!(
                "{count} runners (the first), round {round} of {rounds}: engine alone at {AT_ONCE:?} at \
                 once {}; dayfly {}",
                shown.join(" / "),
                last(&ours)
            );
        }
        report(table, count, &floors, &ours);
        let warned = warnings::count() - warned;
        table.judged(format!("warnings of {count} launches"), warned.to_string(), "0", warned == 0);
    }
    Ok(())
}

/// From the pass that decides to launch, to so many runners.
async fn launch(stand: &Stand, count: usize) -> Result<Times> {
    let github = stand.github().await?;
    let wanted = u32::try_from(count)?;
    let daemon = Running::start(stand, stand.pool(&github, wanted, wanted)?)?;
    let online = github.until(PATIENCE, |snapshot| snapshot.online() == count).await;
    let online = online.map_err(|_| anyhow!("not all runners came online"))?;
    let (first, last) = stand.started_at(count).await?;
    // A runner's name contains the time at which its launch was decided.
    let began = daemon.first_decided()?;
    daemon.stop().await?;
    Ok(Times { first: first.since(began), running: last.since(began), online: online.at.since(began) })
}

async fn next(stand: &Stand) -> Result<()> {
    stand.clear().await?;
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

fn report(table: &mut Table, count: usize, floors: &[Vec<Times>], ours: &[Times]) {
    let of =
        |times: &[Times], which: fn(&Times) -> Duration| median(&times.iter().map(which).collect::<Vec<_>>());
    let best = |which: fn(&Times) -> Duration| {
        let medians = floors.iter().zip(AT_ONCE).filter(|(floor, _)| !floor.is_empty());
        medians.map(|(floor, at_once)| (of(floor, which), at_once)).min().unwrap_or_default()
    };
    for (what, which) in [
        ("running", (|times: &Times| times.running) as fn(&Times) -> Duration),
        ("running, the first", |times| times.first),
        ("online", |times| times.online),
    ] {
        let (floor, at_once) = best(which);
        let ours = of(ours, which);
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        let figure =
            format!("{} / engine alone {} ({at_once} at once) = {ratio:.2}", millis(ours), millis(floor));
        let what = format!("from nothing to {count} {what}");
        // Beyond 150 GitHub's limits hold the rest back for a minute.
        if what.ends_with("running") && (5..=150).contains(&count) {
            table.judged(what, figure, "<= 1.05", ratio <= 1.05);
        } else {
            table.reported(what, figure);
        }
    }
}
