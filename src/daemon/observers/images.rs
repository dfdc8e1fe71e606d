//! Pulls the images of the pools in the background, before any job needs them.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    backoff::Backoff,
    clock,
    daemon::engine::Engine,
    demand::Publisher,
    fleet::{Evidence, HostName, ImageState, PullPolicy},
    text::chain,
};

/// How often it is checked whether an engine still has an image.
const IMAGE_LOOK: Duration = Duration::from_mins(1);

/// How often a pull is repeated for `pull = "always"`.
const IMAGE_REFRESH: Duration = Duration::from_mins(15);

/// The first and the longest delay before a failed pull is retried.
const PULL_RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// Keeps one image on one engine, for as long as the daemon runs.
pub(super) async fn keep_image(
    engine: Engine,
    host: HostName,
    image: String,
    pull: PullPolicy,
    publisher: Publisher,
) {
    let docker = &engine.docker;
    let publish = |state| {
        let (host, image) = (host.clone(), image.clone());
        publisher.publish(Evidence::Image { host, image, state });
    };
    let (mut pauses, mut refresh_at) = (engine.pauses(), clock::now());
    let mut backoff = Backoff::new(PULL_RETRY.0, PULL_RETRY.1);
    loop {
        let present = match docker.image(&image).await {
            Ok(present) => present,
            Err(error) => {
                publish(ImageState::Unknown(chain(&error)));
                pauses.wait().await;
                continue;
            }
        };
        pauses.reset();
        let wanted = match (&present, pull) {
            (None, PullPolicy::Missing | PullPolicy::Always) => true,
            (Some(_), PullPolicy::Always) => clock::now() >= refresh_at,
            _ => false,
        };
        match present {
            // Jobs need not wait for a newer image while there is one.
            Some(id) => publish(ImageState::Present(id)),
            None if !wanted => {
                publish(ImageState::Missing(format!(
                    "the engine has no image {image}, and `pull` is \"never\""
                )));
            }
            None if !backoff.is_failing() => publish(ImageState::Pulling),
            // Why the last attempt failed says more.
            None => {}
        }
        if !wanted {
            sleep(IMAGE_LOOK).await;
            continue;
        }
        debug!(%host, image, "pulling");
        match docker.pull(&image).await {
            Ok(id) => {
                publish(ImageState::Present(id));
                backoff.reset();
                refresh_at = clock::now() + IMAGE_REFRESH;
                sleep(IMAGE_LOOK).await;
            }
            Err(error) => {
                let error = chain(&error);
                if !matches!(docker.image(&image).await, Ok(Some(_))) {
                    debug!(%host, image, error, "failed to pull the image");
                    // The pools that wait for it report that.
                    publish(ImageState::Missing(error));
                } else if backoff.is_failing() {
                    debug!(%host, image, error, "failed to update the image");
                } else {
                    warn!(%host, image, error, "failed to update the image, the present one stays in use");
                }
                let retry = backoff.fail();
                refresh_at = clock::now() + retry;
                sleep(retry).await;
            }
        }
    }
}
