//! Asks GitHub what the course says, until it is told to stop.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    ScaleSetNews, ScaleSetPool,
    course::{Answer, Ask, Course},
    remembered,
};
use crate::{
    fleet::Instant,
    github::scale_set::{ScaleSetError, ScaleSetId, ScaleSetRunners, ScaleSets, SessionId},
};

/// Serves a pool's scale set until `stop`, and then closes the session, all within twice the
/// pool's `goodbye`.
///
/// `capacity` is how many runners the pool may have in all; 0 while it drains. `clock` tells when
/// answers were received. `tell` is called with news in order, and must not block. `runners` are
/// told which set they are of, and that they may be minted only while it is ours.
pub async fn serve(
    sets: &ScaleSets,
    runners: &ScaleSetRunners,
    pool: &ScaleSetPool,
    mut capacity: watch::Receiver<u32>,
    stop: CancellationToken,
    clock: impl Fn() -> Instant + Sync,
    tell: impl Fn(ScaleSetNews) + Sync,
) {
    let before = pool.remembered.as_deref().and_then(remembered::recall);
    let mut course = Course::new(pool, before);
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(pool.waits.goodbye).await;
    };
    tokio::pin!(late);
    while !stop.is_cancelled() || course.has_message_in_hand() {
        let waited = tokio::select! {
            biased;
            () = stop.cancelled() => !course.has_message_in_hand(),
            () = tokio::time::sleep(course.pause()) => false,
        };
        if waited {
            break;
        }
        let ask = course.next();
        // A poll can be cut off at any time: what it might have brought is sent again.
        let is_poll = matches!(ask, Ask::Poll(..));
        let most = *capacity.borrow_and_update();
        let answer = tokio::select! {
            biased;
            answer = answered(sets, pool, ask, most) => answer,
            () = stop.cancelled(), if is_poll => break,
            Ok(()) = capacity.changed(), if is_poll => continue,
            () = &mut late => break,
        };
        for news in learned(&mut course, answer, runners, pool, clock()) {
            tell(news);
        }
    }
    runners.let_go("the daemon is stopping");
    if let Some(session) = course.session() {
        let (set, id) = (session.set, session.id.clone());
        let closed = tokio::time::timeout(pool.waits.goodbye, sets.close(set, &id)).await;
        match closed {
            Ok(Ok(())) => pool.remembered.as_deref().into_iter().for_each(remembered::forget),
            Ok(Err(error)) => tracing::debug!(set = %pool.name, %error, "failed to close the session"),
            Err(_) => tracing::debug!(set = %pool.name, "failed to close the session in time"),
        }
    }
}

async fn answered(sets: &ScaleSets, pool: &ScaleSetPool, ask: Ask, capacity: u32) -> Answer {
    match ask {
        Ask::Ensure => Answer::Ensured(sets.ensure(&pool.group, &pool.name, &pool.labels).await),
        Ask::Close(set, session) => {
            let closed = sets.close(set, &session).await;
            if let Err(error) = &closed {
                tracing::debug!(set = %pool.name, %error, "failed to close an earlier session");
            }
            Answer::Closed(closed.is_ok())
        }
        Ask::Open(set) => Answer::Opened(sets.open(set, &pool.owner).await),
        Ask::DisableUpdate(set) => {
            if let Err(error) = sets.disable_update(set).await {
                tracing::warn!(set = %pool.name, %error, "failed to disable automatic updates of the scale set's runners");
            }
            Answer::UpdateDisabled
        }
        Ask::Refresh(session) => Answer::Refreshed(sets.refresh(&session).await),
        Ask::Poll(session, last) => Answer::Polled(sets.poll(&session, last, capacity).await),
        Ask::Acquire(session, requests) => Answer::Acquired(sets.acquire(&session, &requests).await),
        Ask::Acknowledge(session, id) => Answer::Acknowledged(sets.acknowledge(&session, id).await),
    }
}

/// What an answer means, for the runners and for the note of the session too.
fn learned(
    course: &mut Course,
    answer: Answer,
    runners: &ScaleSetRunners,
    pool: &ScaleSetPool,
    at: Instant,
) -> Vec<ScaleSetNews> {
    let opened = match &answer {
        Answer::Opened(Ok(session)) => Some((session.set, session.id.clone())),
        _ => None,
    };
    if let Some((set, session)) = opened {
        runners.hold(set);
        note(pool, set, &session);
    }
    let news = course.hear(answer, at);
    for news in &news {
        match news {
            ScaleSetNews::Waiting { says, .. } => {
                runners.let_go(format!("it has another open session ({says})"));
            }
            ScaleSetNews::LabelsChanged { why, .. } => runners.let_go(why.clone()),
            ScaleSetNews::Trouble { error: ScaleSetError::NoSuchSet, .. } => {
                runners.let_go("it was deleted on GitHub");
            }
            _ => {}
        }
    }
    news
}

pub(super) fn note(pool: &ScaleSetPool, set: ScaleSetId, session: &SessionId) {
    if let Some(file) = pool.remembered.as_deref()
        && let Err(error) = remembered::remember(file, set, session)
    {
        let file = file.display();
        tracing::warn!(%file, %error, "failed to save the session's id; after a kill the session has to expire first");
    }
}
