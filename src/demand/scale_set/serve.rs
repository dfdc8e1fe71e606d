//! Makes the requests of a session, until it is to stop, and publishes what the responses prove.

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    ScaleSetPool,
    session::{Request, Response, SessionState},
    session_file,
};
use crate::{
    clock,
    fleet::Evidence,
    github::scale_set::{ScaleSetId, ScaleSetRunners, ScaleSets, SessionId},
};

/// Serves a pool's scale set until `stop`, and then closes the session, all within twice the
/// pool's `shutdown`.
///
/// `capacity` is how many runners the pool may have in all; 0 while it drains. `publish` is called in the order of the
/// facts, and must not block. `runners` are given the set that they are of, and may be minted only while it is ours.
pub async fn serve(
    runners: &ScaleSetRunners,
    pool: &ScaleSetPool,
    mut capacity: watch::Receiver<u32>,
    stop: CancellationToken,
    publish: impl Fn(Evidence) + Sync,
) {
    let sets = runners.sets();
    let before = pool.session_file.as_deref().and_then(session_file::read);
    let mut session = SessionState::new(pool, sets.client().scope().clone(), before);
    let late = async {
        stop.cancelled().await;
        sleep(pool.waits.shutdown).await;
    };
    tokio::pin!(late);
    while !stop.is_cancelled() || session.has_pending_message() {
        let stops = tokio::select! {
            biased;
            () = stop.cancelled() => !session.has_pending_message(),
            () = sleep(session.pause()) => false,
        };
        if stops {
            break;
        }
        let request = session.next();
        // A poll can be cut off at any time: what it might have brought is sent again.
        let is_poll = matches!(request, Request::Poll(..));
        let most = *capacity.borrow_and_update();
        let response = tokio::select! {
            biased;
            response = send(sets, pool, request, most) => response,
            () = stop.cancelled(), if is_poll => break,
            Ok(()) = capacity.changed(), if is_poll => continue,
            () = &mut late => break,
        };
        if let Response::Opened(Ok(opened)) = &response {
            save(pool, opened.set, &opened.id);
        }
        let evidence = session.on_response(response, clock::now(), sets.client().clock());
        match session.set() {
            Ok(set) => runners.hold(set),
            Err(why) => runners.let_go(why),
        }
        evidence.into_iter().for_each(&publish);
    }
    runners.let_go("the daemon is stopping");
    if let Some(session) = session.session() {
        match timeout(pool.waits.shutdown, sets.close(session.set, &session.id)).await {
            Ok(Ok(())) => pool.session_file.as_deref().into_iter().for_each(session_file::remove),
            Ok(Err(error)) => debug!(set = %pool.name, %error, "failed to close the session"),
            Err(_) => debug!(set = %pool.name, "failed to close the session in time"),
        }
    }
}

async fn send(sets: &ScaleSets, pool: &ScaleSetPool, request: Request, capacity: u32) -> Response {
    match request {
        Request::EnsureSet => {
            Response::Ensured(sets.ensure(&pool.group, pool.name.as_str(), &pool.labels).await)
        }
        Request::Close(set, session) => {
            let closed = sets.close(set, &session).await;
            if let Err(error) = &closed {
                debug!(set = %pool.name, %error, "failed to close an earlier session");
            }
            Response::Closed(closed.is_ok())
        }
        Request::Open(set) => Response::Opened(sets.open(set, &pool.owner).await),
        Request::DisableUpdate(set) => {
            if let Err(error) = sets.disable_update(set).await {
                warn!(set = %pool.name, %error, "failed to disable automatic updates of the scale set's runners");
            }
            Response::UpdateDisabled
        }
        Request::Refresh(session) => Response::Refreshed(sets.refresh(&session).await),
        Request::Poll(session, last) => Response::Polled(sets.poll(&session, last, capacity).await),
        Request::Acquire(session, requests) => Response::Acquired(sets.acquire(&session, &requests).await),
        Request::Acknowledge(session, id) => Response::Acknowledged(sets.acknowledge(&session, id).await),
    }
}

/// Writes down which session is open.
pub(super) fn save(pool: &ScaleSetPool, set: ScaleSetId, session: &SessionId) {
    if let Some(file) = pool.session_file.as_deref()
        && let Err(error) = session_file::write(file, set, session)
    {
        let file = file.display();
        warn!(%file, %error, "failed to save the session's id; after a kill the session has to expire first");
    }
}
