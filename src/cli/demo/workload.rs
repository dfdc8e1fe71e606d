//! The demo's jobs: bursts of them, the same again for the same seed.

use std::time::Duration;

/// A job and when it arrives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrival {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) name: String,
    pub(super) duration: Duration,
}

/// Typical names of jobs.
const NAMES: [&str; 8] =
    ["build", "test (linux)", "lint", "docs", "test (integration)", "package", "deploy (staging)", "bench"];

/// The longest burst.
const BURST: u32 = 8;

/// `jobs` jobs, on average `rate` a second and `job_seconds` long, in bursts.
pub(super) fn arrivals(jobs: u32, rate: f64, job_seconds: f64, seed: u64) -> Vec<Arrival> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut arrivals, mut at) = (Vec::new(), Duration::ZERO);
    while arrivals.len() < jobs as usize {
        let left = jobs as usize - arrivals.len();
        let burst = (random.u32(1..=BURST) as usize).min(left);
        for _ in 0..burst {
            let number = arrivals.len() + 1;
            arrivals.push(Arrival {
                at,
                name: format!("{} #{number}", random.choice(NAMES).unwrap_or("build")),
                duration: Duration::from_secs_f64(job_seconds * (0.5 + random.f64())),
            });
        }
        // Exponential gaps make a Poisson process of the bursts.
        let gap = -(1.0 - random.f64()).ln() * f64::from(u32::try_from(burst).unwrap_or(1)) / rate;
        at += Duration::from_secs_f64(gap);
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_jobs_and_their_rate_is_about_right() {
        let jobs = arrivals(1000, 2.0, 3.0, 7);
        assert_eq!(jobs, arrivals(1000, 2.0, 3.0, 7));
        assert_ne!(jobs, arrivals(1000, 2.0, 3.0, 8));
        assert_eq!(jobs.len(), 1000);
        let span = jobs.last().unwrap().at.as_secs_f64();
        assert!((350.0..700.0).contains(&span), "{span}");
        let mean = jobs.iter().map(|job| job.duration.as_secs_f64()).sum::<f64>() / 1000.0;
        assert!((2.8..3.2).contains(&mean), "{mean}");
    }
}
