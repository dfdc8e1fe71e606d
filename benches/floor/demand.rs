//! How soon a runner is created for a queued job by each job source, and how many GitHub calls each makes.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use dayfly::{
    fleet::{Demand, Pool},
    simulator::{Hook, Simulator},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    daemon::Running,
    news::{self, Sample},
    stand::{PATIENCE, Stand},
    table::{Table, median, millis},
};

/// What the webhooks are signed with.
const SECRET: &str = "bench";

/// For what is asked once at the start.
const SETTLE: Duration = Duration::from_secs(12);

/// Between two jobs at two hundred an hour.
const EACH: Duration = Duration::from_secs(18);

const TARGET: Duration = Duration::from_millis(20);

struct Way {
    name: &'static str,
    demand: Demand,
    min_idle: u32,
    /// Whether a job is reported at once, rather than found by the next poll.
    reported: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "idle", demand: Demand::IDLE, min_idle: 1, reported: false },
    Way { name: "queue", demand: Demand::Jobs { queue: true, webhook: false }, min_idle: 0, reported: false },
    Way {
        name: "webhook",
        demand: Demand::Jobs { queue: false, webhook: true },
        min_idle: 0,
        reported: true,
    },
    Way {
        name: "webhook and queue",
        demand: Demand::Jobs { queue: true, webhook: true },
        min_idle: 0,
        reported: true,
    },
    Way { name: "scale-set", demand: Demand::ScaleSet, min_idle: 0, reported: true },
];

pub(crate) async fn measure(stand: &Stand, quick: bool, table: &mut Table) -> Result<()> {
    for way in &WAYS {
        println!("learning of jobs by {}", way.name);
        measure_way(way, stand, quick, table).await.with_context(|| way.name)?;
        stand.clear().await?;
    }
    Ok(())
}

async fn measure_way(way: &Way, stand: &Stand, quick: bool, table: &mut Table) -> Result<()> {
    let github = stand.github().await?;
    github.push("bench/jobs", false);
    let pool = Pool { demand: way.demand, ..stand.pool(&github, way.min_idle, 4)? };
    let mut config = stand.config(pool)?;
    if matches!(way.demand, Demand::Jobs { webhook: true, .. }) {
        let secret = stand.dir.path().join("webhook-secret");
        fs::write(&secret, SECRET)?;
        config.webhook_secret_file = Some(secret);
    }
    let daemon = Running::start_with(&config)?;
    if config.webhook_secret_file.is_some() {
        github.add_hook(Hook::new("bench", format!("http://{}/webhook", daemon.address), SECRET));
    }
    daemon.idle(way.min_idle as usize).await?;
    sleep(SETTLE).await;
    if way.demand != Demand::IDLE {
        answered(way, stand, &daemon, &github, if quick { 2 } else { 10 }, table).await?;
        sleep(SETTLE).await;
    }
    let (idle, jobs) = if quick { (Duration::from_secs(20), 1) } else { (Duration::from_mins(1), 5) };
    let at_rest = asked(&github, idle, sleep(idle)).await;
    let work = async {
        let began = Instant::now();
        for job in 0..jobs {
            sleep_until(began + EACH * job).await;
            github.enqueue(Stand::job().lasting(Duration::from_secs(3)));
        }
        sleep_until(began + EACH * jobs).await;
    };
    let busy = asked(&github, EACH * jobs, work).await;
    for (what, (requests, charged)) in [("at rest", at_rest), ("with 200 jobs an hour", busy)] {
        table.reported(
            format!("{}, {what}: GitHub calls an hour", way.name),
            format!("{requests}, of the rate limit {charged}"),
        );
    }
    daemon.stop().await
}

/// How many requests an hour GitHub got meanwhile, and how many of them it charged.
async fn asked(github: &Simulator, window: Duration, meanwhile: impl Future<Output = ()>) -> (u64, u64) {
    let (requests, charged) = (github.requests().len() as u64, github.charged());
    meanwhile.await;
    let hourly = |count: u64| count * 3600 / window.as_secs();
    (hourly(github.requests().len() as u64 - requests), hourly(github.charged() - charged))
}

/// From a job's being queued to the create request of the runner for it.
async fn answered(
    way: &Way,
    stand: &Stand,
    daemon: &Running,
    github: &Simulator,
    count: usize,
    table: &mut Table,
) -> Result<()> {
    let mut samples = Vec::new();
    // The first is not counted: it requests the runner groups, as one an hour does.
    for number in 0..=count {
        let mint_before = news::minted_for(daemon).await?;
        let mut events = std::pin::pin!(news::events(stand));
        let began = i64::try_from(jiff::Timestamp::now().as_nanosecond())?;
        let job = github.enqueue(Stand::job().lasting(Duration::from_millis(200)));
        let created = news::next(&mut events, "create").await?;
        let sample = news::finish(stand, daemon, &created, began, mint_before).await?;
        if number > 0 {
            println!("create request {} after, of it mint {}", millis(sample.whole), millis(sample.mint));
            samples.push(sample);
        }
        let over = github.until(PATIENCE, |now| now.completed() == number + 1).await;
        over.map_err(|_| anyhow::anyhow!("job {job} was not served"))?;
        timeout(PATIENCE, daemon.idle(0)).await.context("the pool does not become empty")??;
        // Not in step with the polls.
        sleep(Duration::from_millis(fastrand::u64(500..1500))).await;
    }
    let rests: Vec<Duration> = samples.iter().map(Sample::rest).collect();
    let mints: Vec<Duration> = samples.iter().map(|sample| sample.mint).collect();
    let (rest, worst) = (median(&rests), rests.iter().max().copied().unwrap_or_default());
    let figure = format!("{}, longest {} (mint {})", millis(rest), millis(worst), millis(median(&mints)));
    let what = format!("{}: job queued to create request, without mint", way.name);
    if way.reported {
        table.judged(what, figure, "<= 20 ms", rest <= TARGET);
    } else {
        table.reported(what, figure);
    }
    Ok(())
}
