//! Pulls the images of the pools in the background, before any job needs them, and removes those that a pull has
//! replaced.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::{
    backoff::Backoff,
    clock,
    config::ImageSource,
    daemon::engine::Engine,
    demand::Publisher,
    fleet::{Evidence, HostName, ImageState, PullPolicy, PullProgress},
    text::chain,
};

/// How often it is checked whether an engine still has an image.
const IMAGE_LOOK: Duration = Duration::from_mins(1);

/// How often a pull is repeated for `pull = "always"`.
const IMAGE_REFRESH: Duration = Duration::from_mins(15);

/// The first and the longest delay before a failed pull is retried.
const PULL_RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// How often the progress of a pull is published: each time is a pass.
const PROGRESS: Duration = Duration::from_secs(1);

/// The first and the longest delay before the removal of a replaced image is tried again.
const REMOVAL_RETRY: (Duration, Duration) = (IMAGE_LOOK, Duration::from_hours(1));

/// Keeps one image on one engine.
pub(super) struct ImageKeeper {
    pub(super) engine: Engine,
    pub(super) host: HostName,
    pub(super) image: String,
    pub(super) source: ImageSource,
    pub(super) publisher: Publisher,
}

/// An image that a pull of this process has replaced.
struct Replaced {
    id: String,
    backoff: Backoff,
    retry_at: Instant,
}

impl ImageKeeper {
    /// Keeps the image for as long as the daemon runs.
    pub(super) async fn run(self) {
        let Self { host, image, .. } = &self;
        let api = &self.engine.api;
        let (mut pauses, mut refresh_at) = (self.engine.pauses(), clock::now());
        let mut backoff = Backoff::new(PULL_RETRY.0, PULL_RETRY.1);
        let mut replaced = Vec::new();
        loop {
            let present = match api.image(image, self.source.pull).await {
                Ok(present) => present,
                Err(error) => {
                    self.publish(ImageState::Unknown(chain(&error)));
                    pauses.wait().await;
                    continue;
                }
            };
            pauses.reset();
            self.remove(&mut replaced, present.as_deref()).await;
            let wanted = match (&present, self.source.pull) {
                (None, PullPolicy::Missing | PullPolicy::Always) => true,
                (Some(_), PullPolicy::Always) => clock::now() >= refresh_at,
                _ => false,
            };
            match &present {
                // Jobs need not wait for a newer image while there is one.
                Some(id) => self.publish(ImageState::Present(id.clone())),
                None if !wanted => {
                    self.publish(ImageState::Missing(format!(
                        "the engine has no image {image}, and `pull` is \"never\""
                    )));
                }
                None if !backoff.is_failing() => self.publish(ImageState::Pulling),
                // Why the last attempt failed says more.
                None => {}
            }
            if !wanted {
                sleep(IMAGE_LOOK).await;
                continue;
            }
            debug!(%host, image, "pulling");
            match self.pull().await {
                Ok(id) => {
                    self.publish(ImageState::Present(id.clone()));
                    if let Some(before) = present
                        && before != id
                    {
                        info!(%host, image, before, id, "pulled a newer image, idle runners are replaced");
                        replaced.push(Replaced::new(before));
                    }
                    backoff.reset();
                    refresh_at = clock::now() + IMAGE_REFRESH;
                    sleep(IMAGE_LOOK).await;
                }
                Err(error) => {
                    if !matches!(api.image(image, self.source.pull).await, Ok(Some(_))) {
                        debug!(%host, image, error, "failed to pull the image");
                        // The pools that wait for it report that.
                        self.publish(ImageState::Missing(error));
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

    fn publish(&self, state: ImageState) {
        let (host, image) = (self.host.clone(), self.image.clone());
        self.publisher.publish(Evidence::Image { host, image, state });
    }

    /// Pulls the image, and publishes how far that is.
    async fn pull(&self) -> Result<String, String> {
        let publish = |progress| {
            let (host, image) = (self.host.clone(), self.image.clone());
            self.publisher.publish(Evidence::Pull { host, image, progress });
        };
        let mut last = None;
        let on_progress = |progress: PullProgress| {
            let now = Instant::now();
            if last.is_none_or(|last| now.duration_since(last) >= PROGRESS) {
                last = Some(now);
                publish(Some(progress));
            }
        };
        let login = self.source.login.as_ref();
        let pulled = self.engine.api.pull(&self.image, login, on_progress).await;
        publish(None);
        pulled.map_err(|error| chain(&error))
    }

    /// Removes the replaced images that are due and that nothing uses any more. One that is present again by the
    /// image's name is not replaced any more.
    async fn remove(&self, replaced: &mut Vec<Replaced>, present: Option<&str>) {
        let Self { host, image, .. } = self;
        replaced.retain(|old| Some(old.id.as_str()) != present);
        let mut kept = Vec::new();
        for mut old in replaced.drain(..) {
            if Instant::now() < old.retry_at {
                kept.push(old);
                continue;
            }
            match self.engine.api.remove_replaced(image, &old.id).await {
                Ok(true) => {
                    info!(%host, image, id = old.id, "removed the image that a newer one has replaced");
                    continue;
                }
                Ok(false) => debug!(%host, image, id = old.id, "a replaced image is still in use"),
                Err(error) => {
                    let error = chain(&error);
                    debug!(%host, image, id = old.id, error, "failed to remove a replaced image");
                }
            }
            old.retry_at = Instant::now() + old.backoff.fail();
            kept.push(old);
        }
        *replaced = kept;
    }
}

impl Replaced {
    /// Launches that were planned with it need it for a moment yet.
    fn new(id: String) -> Self {
        let backoff = Backoff::new(REMOVAL_RETRY.0, REMOVAL_RETRY.1);
        Self { id, backoff, retry_at: Instant::now() + REMOVAL_RETRY.0 }
    }
}
