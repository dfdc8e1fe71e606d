//! How soon an event is answered, and what GitHub is asked when there is none.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use bollard::{
    errors::Error,
    models::EventMessage,
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder,
    },
};
use dayfly::{
    host::LABEL_INSTANCE,
    simulator::{Endpoint, Simulator},
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout};

use super::{
    daemon::{Running, page},
    stand::{PATIENCE, Stand},
    table::{Table, median, millis},
};

/// For the lists to become the same again after all runners have come online.
const SETTLE: Duration = Duration::from_secs(12);

/// Between two samples, so that nothing of the one is still going on in the other.
const PAUSE: Duration = Duration::from_secs(2);

const TARGET: Duration = Duration::from_millis(20);

pub(crate) async fn measure(stand: &Stand, quick: bool, table: &mut Table) -> Result<()> {
    let (runners, window) = if quick { (3, 20) } else { (10, 60) };
    let github = stand.github().await?;
    let pool = stand.pool(&github, u32::try_from(runners)?, u32::try_from(2 * runners)?)?;
    let daemon = Running::start(stand, pool)?;
    let first = daemon.idle(runners).await?;
    println!("{runners} idle runners; watching what GitHub is asked for {window} s");
    sleep(SETTLE).await;
    at_rest(&github, Duration::from_secs(window), runners, table).await?;

    let mut killed = Vec::new();
    for runner in &first {
        daemon.idle(runners).await?;
        sleep(PAUSE).await;
        let id = runner.container_id.as_ref().context("a runner without a container")?;
        let sample = kill(stand, &daemon, &id.0).await?;
        println!("killed: create request {} after, of it mint {}", millis(sample.whole), millis(sample.mint));
        killed.push(sample);
    }
    let mut taken = Vec::new();
    for _ in 0..runners {
        daemon.idle(runners).await?;
        sleep(PAUSE).await;
        let sample = take_job(stand, &daemon, &github).await?;
        println!("job: create request {} after, of it mint {}", millis(sample.whole), millis(sample.mint));
        taken.push(sample);
    }
    daemon.stop().await?;
    stand.clear().await?;
    for (what, samples) in [
        ("container exit to create request, without mint", killed),
        ("job in the log to create request, without mint", taken),
    ] {
        let rests: Vec<Duration> = samples.iter().map(Sample::rest).collect();
        let mints: Vec<Duration> = samples.iter().map(|s| s.mint).collect();
        let (rest, worst) = (median(&rests), rests.iter().max().copied().unwrap_or_default());
        let figure = format!("{}, longest {} (mint {})", millis(rest), millis(worst), millis(median(&mints)));
        table.judged(what, figure, "<= 20 ms", rest <= TARGET);
    }
    Ok(())
}

/// What GitHub is asked while nothing happens.
async fn at_rest(github: &Simulator, window: Duration, runners: usize, table: &mut Table) -> Result<()> {
    let (before, charged_before) = (github.requests().len(), github.charged());
    sleep(window).await;
    let requests = github.requests().split_off(before);
    let charged = github.charged() - charged_before;
    let lists = requests.iter().filter(|request| request.endpoint == Endpoint::ListRunners).count();
    let conditional = requests.iter().filter(|request| request.headers.contains_key("if-none-match")).count();
    ensure!(lists > 0, "nothing was asked in {} s", window.as_secs());
    let hourly = requests.len() as u64 * 3600 / window.as_secs();
    table.judged(
        format!("GitHub calls at rest, {runners} idle, 10 s interval"),
        format!("{hourly} an hour, {conditional} of {} conditional", requests.len()),
        "every one conditional",
        conditional == requests.len(),
    );
    let hourly = charged * 3600 / window.as_secs();
    table.judged("rate limit used at rest", format!("{hourly} an hour"), "0", charged == 0);
    Ok(())
}

/// From an event to the request that answers it.
pub(crate) struct Sample {
    pub(crate) whole: Duration,
    /// How long GitHub's part took, as the daemon measured it.
    pub(crate) mint: Duration,
}

impl Sample {
    /// What is ours of it.
    pub(crate) fn rest(&self) -> Duration {
        self.whole.saturating_sub(self.mint)
    }
}

/// Kills an idle runner: from the engine's word of it to the replacement's create request.
async fn kill(stand: &Stand, daemon: &Running, id: &str) -> Result<Sample> {
    let mint_before = minted_for(daemon).await?;
    let mut events = std::pin::pin!(events(stand));
    let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
    stand.docker.kill_container(id, Some(options)).await?;
    let died = next(&mut events, "die").await?;
    let began = died.time_nano.context("an event without a time")?;
    sample(stand, daemon, &mut events, began, mint_before).await
}

/// Gives a runner a job: from the line in its log to the create request of another spare.
async fn take_job(stand: &Stand, daemon: &Running, github: &Simulator) -> Result<Sample> {
    let mint_before = minted_for(daemon).await?;
    let mut events = std::pin::pin!(events(stand));
    let job = github.enqueue(Stand::job().lasting(Duration::from_secs(3)));
    let created = next(&mut events, "create").await?;
    let view = github.jobs().into_iter().find(|view| view.id == job).context("the job is gone")?;
    let runner = view.runner.context("nobody took the job")?;
    let options = LogsOptionsBuilder::new().stdout(true).timestamps(true).tail("all").build();
    let log: Vec<_> = stand.docker.logs(&runner, Some(options)).try_collect().await?;
    let log: String = log.iter().map(ToString::to_string).collect();
    let line = log.lines().find(|line| line.contains("Running job:")).context("the log shows no job")?;
    let began = nanos(line.split(' ').next().unwrap_or_default())?;
    finish(stand, daemon, &created, began, mint_before).await
}

async fn sample(
    stand: &Stand,
    daemon: &Running,
    events: &mut (impl Stream<Item = Result<EventMessage, Error>> + Unpin),
    began: i64,
    mint_before: Duration,
) -> Result<Sample> {
    let created = next(events, "create").await?;
    finish(stand, daemon, &created, began, mint_before).await
}

pub(crate) async fn finish(
    stand: &Stand,
    daemon: &Running,
    created: &EventMessage,
    began: i64,
    mint_before: Duration,
) -> Result<Sample> {
    let id = created.actor.as_ref().and_then(|actor| actor.id.as_deref()).context("an event of nobody")?;
    let inspected = stand.docker.inspect_container(id, None::<InspectContainerOptions>).await?;
    // The engine notes it as soon as it has read the request.
    let ended = nanos(inspected.created.as_deref().unwrap_or_default())?;
    let whole = Duration::from_nanos(u64::try_from(ended - began).context("created before the event")?);
    Ok(Sample { whole, mint: minted_for(daemon).await?.saturating_sub(mint_before) })
}

/// How long all mints so far took together.
pub(crate) async fn minted_for(daemon: &Running) -> Result<Duration> {
    let metrics = page(daemon.address, "/metrics").await?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("dayfly_github_request_seconds_sum{endpoint=\"mint\"} "));
    // Before the first there is none.
    Ok(Duration::from_secs_f64(line.unwrap_or("0").trim().parse()?))
}

pub(crate) fn events(stand: &Stand) -> impl Stream<Item = Result<EventMessage, Error>> + use<> {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![format!("{LABEL_INSTANCE}={}", stand.instance)]),
    ]);
    // From now on, even if the connection is made only by the first poll.
    let now = jiff::Timestamp::now();
    let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
    stand.docker.events(Some(EventsOptionsBuilder::new().since(&since).filters(&filters).build()))
}

pub(crate) async fn next(
    events: &mut (impl Stream<Item = Result<EventMessage, Error>> + Unpin),
    action: &str,
) -> Result<EventMessage> {
    let found = async {
        loop {
            let event = events.next().await.context("the engine ended its events")??;
            if event.action.as_deref() == Some(action) {
                return Ok(event);
            }
        }
    };
    timeout(PATIENCE, found).await.with_context(|| format!("no {action} came"))?
}

fn nanos(text: &str) -> Result<i64> {
    let moment: jiff::Timestamp = text.parse().with_context(|| format!("no moment: {text:?}"))?;
    Ok(i64::try_from(moment.as_nanosecond())?)
}
