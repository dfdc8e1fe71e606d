//! Watches the files that a pool's template names, so that idle runners with the old content are replaced.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{
    demand::Publisher,
    fleet::{Evidence, Pool},
    host::TemplateFiles,
    text::chain,
};

/// How often they are read.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reads a pool's files again and again, for as long as the daemon runs.
pub(super) async fn watch_files(pool: Pool, publisher: Publisher) {
    let (mut last, mut is_failing) = (None, false);
    loop {
        match TemplateFiles::read(&pool.template).await {
            Ok(files) => {
                let files = files.digest();
                if last.is_some_and(|last| last != files) {
                    info!(pool = %pool.name, "env_file or seccomp profile has changed; replacing idle runners");
                }
                if last.replace(files) != Some(files) {
                    publisher.publish(Evidence::TemplateFiles { pool: pool.name.clone(), files });
                }
                is_failing = false;
            }
            // Launches need them, and fail with the same reason.
            Err(error) if !is_failing => {
                is_failing = true;
                warn!(pool = %pool.name, error = chain(&error), "cannot launch runners of this pool");
            }
            Err(error) => debug!(pool = %pool.name, error = chain(&error), "still cannot launch runners"),
        }
        sleep(INTERVAL).await;
    }
}
