//! Many short jobs on a Swarm, with the daemon killed and a node paused in between: at the end nothing is left.
//! `DAYFLY_SOAK_JOBS` is the number of jobs, a few by default.

use std::{io::Write as _, time::Instant};

use super::site::{Site, on_swarm};
use crate::{
    soak::{PATIENCE, process},
    world::within,
};

/// Jobs by default.
const JOBS: usize = 20;

/// Queued jobs at once.
const QUEUED: usize = 30;

/// A fault after so many jobs.
const A_FAULT: usize = 15;

#[tokio::test]
async fn many_jobs_on_a_swarm_with_faults_leave_nothing_behind() {
    let jobs = std::env::var("DAYFLY_SOAK_JOBS").map_or(JOBS, |jobs| jobs.parse().unwrap());
    let Some(mut site) = Site::new("many jobs on a Swarm with faults leave nothing behind").await else {
        return;
    };
    let pool = on_swarm("linux").sized(2, 12);
    site.start(&[&pool]).await;
    let (files, memory) = process(&site.world);
    let began = Instant::now();
    let (mut enqueued, mut faults) = (0, 0);
    while enqueued < jobs || site.world.github.snapshot().completed() < jobs {
        let completed = site.world.github.snapshot().completed();
        while enqueued < jobs && enqueued - completed < QUEUED {
            site.world.github.enqueue(pool.job());
            enqueued += 1;
        }
        within(PATIENCE, "another job ends", async || {
            (site.world.github.snapshot().completed() > completed).then_some(())
        })
        .await;
        if completed / A_FAULT > faults {
            faults += 1;
            match faults % 4 {
                0 => site.resume("worker").await,
                2 => site.pause("worker").await,
                _ => {
                    site.world.kill();
                    site.world.start().await;
                }
            }
        }
    }
    let took = began.elapsed();
    site.resume("worker").await;
    site.world.signal("-USR1");
    within(PATIENCE, "nothing is left", async || site.left().await.is_empty().then_some(())).await;
    let (files_after, memory_after) = process(&site.world);
    let now = site.world.github.snapshot();
    // Not a print macro: the test harness would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "{jobs} jobs on a Swarm in {} s, {faults} faults: {} succeeded, {} failed, {} lost; open files {files} -> \
         {files_after}, memory {memory} -> {memory_after} KiB",
        took.as_secs(),
        now.succeeded,
        now.failed,
        now.lost,
    );
    assert_eq!((now.succeeded, now.lost), (jobs, 0), "{now:?}");
    assert!(files_after <= files + 20, "open files: {files} -> {files_after}");
}
