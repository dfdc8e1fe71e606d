//! The metrics: their values, and that jobs cannot add series.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use dayfly::{
    fleet::{
        Destination, Event, ExitReason, Held, Instant, Phase, RunnerReport, Source, SourceTrouble, Status,
        Trouble, TroubleKind, TroubleReport, Veto, Why,
    },
    github, host,
    telemetry::Metrics,
};

use super::{NOON, exited, fleet, pool, refused, runner, scope};

/// The value of one series, by its full name with labels.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn series(text: &str) -> Vec<&str> {
    let ours = |line: &&str| line.starts_with("dayfly_");
    let mut names: Vec<&str> =
        text.lines().filter(ours).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    names.sort_unstable();
    names
}

/// Everything that can happen to a runner, once, with a name, scope and status of its own.
pub(crate) fn happen(metrics: &Metrics, status: &Status, seed: u64) {
    let (linux, gone) = (runner("linux", seed), runner("gone", seed));
    let job = format!("job {seed}");
    let trouble = |kind| Trouble { kind, retry_after: None, detail: format!("request {seed}") };
    let mut events = vec![
        Event::Launched { pool: "linux".parse().unwrap(), runner: linux.clone(), why: Why::Demand },
        Event::Ready {
            pool: "linux".to_owned(),
            runner: linux.clone(),
            startup: Some(Duration::from_secs(3)),
        },
        Event::JobStarted { pool: "linux".to_owned(), runner: linux.clone(), job: Some(job.clone()) },
        Event::Destination {
            pool: format!("gone-{seed}"),
            runner: gone.clone(),
            destination: Destination { host: format!("{seed}.example").into(), ..refused() },
            job: Some(job.clone()),
            facts: None,
        },
        Event::Adopted { pool: format!("adopted-{seed}"), runner: gone.clone() },
        Event::Held {
            pool: "linux".parse().unwrap(),
            held: Some(Held::AtMax),
            detail: job.clone(),
            is_starting: false,
        },
        exited("linux", linux.clone(), ExitReason::Completed, &job, &format!("result {seed}")),
        exited(&format!("gone-{seed}"), gone.clone(), ExitReason::Killed, &job, "Succeeded"),
        Event::Removed { pool: format!("gone-{seed}"), runner: gone.clone(), why: Why::PoolGone },
        Event::Vetoed { pool: format!("gone-{seed}"), runner: gone, veto: Veto::GithubBusy },
        Event::Scope { scope: scope(), trouble: Some(trouble(TroubleKind::RateLimited)) },
        Event::Host { host: "local".parse().unwrap(), trouble: None },
    ];
    events.extend(TroubleKind::ALL.map(|kind| Event::RemovalFailed {
        pool: format!("gone-{seed}"),
        runner: linux.clone(),
        why: Why::Surplus,
        trouble: trouble(kind),
        streak: 1,
    }));
    events.extend(TroubleKind::ALL.map(|kind| Event::LaunchFailed {
        pool: "linux".parse().unwrap(),
        runner: linux.clone(),
        trouble: trouble(kind),
        streak: 1,
    }));
    metrics.record_pass(&events, status, NOON + Duration::from_secs(seed), Duration::from_micros(50));
    for status in [Some(200), Some(304), Some(404), Some(u16::try_from(600 + seed % 50_000).unwrap()), None] {
        metrics.record_github(
            "default",
            &github::RequestReport {
                scope: scope(),
                endpoint: "list",
                status,
                took: Duration::from_millis(80),
                rate: Some(github::Rate {
                    limit: 5000,
                    remaining: 4000,
                    reset_at: Instant::default(),
                    resource: format!("resource-{seed}"),
                }),
            },
        );
    }
    metrics.record_github(
        "default",
        &github::RequestReport {
            scope: format!("https://github.com/org-{seed}").parse().unwrap(),
            endpoint: "mint",
            status: Some(201),
            took: Duration::from_millis(80),
            rate: None,
        },
    );
    metrics.record_engine(&host::RequestReport {
        host: "local".parse().unwrap(),
        operation: "create",
        took: Duration::from_millis(8),
        failed: false,
    });
    metrics.record_poll_interval(&scope(), Duration::from_secs(10));
}

#[test]
fn ten_thousand_jobs_leave_the_number_of_series_as_it_was() {
    let (metrics, status) = (Metrics::new("0.1.0").unwrap(), fleet());
    for seed in 0..100 {
        happen(&metrics, &status, seed);
    }
    let early = metrics.gather();
    for seed in 100..10_000 {
        happen(&metrics, &status, seed);
    }
    let late = metrics.gather();
    assert_eq!(series(&early), series(&late));
    assert!(series(&late).len() < 340, "{} series for one pool", series(&late).len());
    assert_eq!(value(&late, r#"dayfly_runners_launched_total{pool="linux"}"#), Some(10_000.0));
    assert_eq!(value(&late, r#"dayfly_runner_exits_total{pool="unknown",reason="killed"}"#), Some(10_000.0));
}

#[test]
fn every_series_of_a_pool_is_there_from_the_first_pass() {
    let metrics = Metrics::new("0.1.0").unwrap();
    metrics.record_pass(&[], &fleet(), NOON, Duration::from_micros(50));
    let before = metrics.gather();
    for reason in ExitReason::ALL {
        let series = format!("dayfly_runner_exits_total{{pool=\"linux\",reason=\"{}\"}}", reason.as_str());
        assert_eq!(value(&before, &series), Some(0.0), "{series}");
    }
    for kind in TroubleKind::ALL {
        let series = format!("dayfly_launch_failures_total{{pool=\"linux\",reason=\"{}\"}}", kind.as_str());
        assert_eq!(value(&before, &series), Some(0.0), "{series}");
    }
    // No list fails for these: they are of what is made for a launch.
    let of_launches = [
        TroubleKind::TemplateFile,
        TroubleKind::DindNotReady,
        TroubleKind::EgressNotReady,
        TroubleKind::NetworksExhausted,
    ];
    for kind in TroubleKind::ALL.into_iter().filter(|kind| !of_launches.contains(kind)) {
        let failing = "_failing{";
        let of_a_scope = format!("reason=\"{}\",scope=\"{}\"", kind.as_str(), scope());
        let of_a_host = format!("host=\"local\",reason=\"{}\"", kind.as_str());
        let shown = |labels: &str| before.lines().any(|line| line.contains(failing) && line.contains(labels));
        let both = kind == TroubleKind::OutOfFiles;
        let (scope, host) = (shown(&of_a_scope), shown(&of_a_host));
        assert!(
            if both { scope && host } else { scope != host },
            "{} is of GitHub or of an engine",
            kind.as_str()
        );
    }
    for held in Held::ALL {
        let series = format!("dayfly_pool_held{{pool=\"linux\",reason=\"{}\"}}", held.as_str());
        assert_eq!(value(&before, &series), Some(0.0), "{series}");
    }
    let linux = runner("linux", 1);
    let done = exited("linux", linux, ExitReason::Completed, "build", "Succeeded");
    metrics.record_pass(&[done], &fleet(), NOON, Duration::from_micros(50));
    assert_eq!(series(&before), series(&metrics.gather()), "and events make no new ones");
}

#[test]
fn the_metrics_show_what_the_status_shows() {
    let metrics = Metrics::new("0.1.0").unwrap();
    let mut status = fleet();
    status.draining = true;
    status.pools[0].held = Some(Held::HostMemory);
    let trouble = |reason| TroubleReport { reason, since: NOON, detail: "a text".to_owned() };
    status.scopes[0].trouble = Some(trouble(TroubleKind::Refused));
    status.hosts[0].trouble = Some(trouble(TroubleKind::EngineFailed));
    status.pools[0].source_troubles =
        vec![SourceTrouble { source: Source::Queue, trouble: trouble(TroubleKind::GithubFailed) }];
    status.pools[0].oldest_starting_at = Some(NOON - Duration::from_secs(400));
    status.pools[0].oldest_queued_at = Some(NOON - Duration::from_secs(30));
    status.runners.push(RunnerReport {
        pool: "gone".to_owned(),
        phase: Phase::Ghost,
        ..status.runners[0].clone()
    });
    let events = [
        Event::Ready {
            pool: "linux".to_owned(),
            runner: runner("linux", 2),
            startup: Some(Duration::from_secs(3)),
        },
        exited("linux", runner("linux", 3), ExitReason::OutOfMemory, "build", "Failed"),
    ];
    metrics.record_pass(&events, &status, NOON, Duration::from_micros(50));
    let text = metrics.gather();
    for (series, expected) in [
        (r#"dayfly_build_info{version="0.1.0"}"#, 1.0),
        (r#"dayfly_runners{phase="busy",pool="linux"}"#, 1.0),
        (r#"dayfly_runners{phase="ghost",pool="linux"}"#, 0.0),
        (r#"dayfly_runners{phase="ghost",pool="unknown"}"#, 1.0),
        (r#"dayfly_desired_runners{pool="linux"}"#, 3.0),
        (r#"dayfly_min_idle_runners{pool="linux"}"#, 1.0),
        (r#"dayfly_max_runners{pool="linux"}"#, 10.0),
        (r#"dayfly_starting_runner_age_seconds{pool="linux"}"#, 400.0),
        (r#"dayfly_oldest_queued_job_seconds{pool="linux"}"#, 30.0),
        (r#"dayfly_pool_held{pool="linux",reason="host_memory"}"#, 1.0),
        (r#"dayfly_pool_held{pool="linux",reason="at_max"}"#, 0.0),
        (r#"dayfly_host_blocked{host="local",reason="host_memory"}"#, 1.0),
        (r#"dayfly_host_blocked{host="local",reason="host_full"}"#, 0.0),
        (r#"dayfly_host_committed_memory_bytes{host="local"}"#, 17_179_869_184.0),
        (r#"dayfly_scope_up{scope="https://github.com/acme"}"#, 1.0),
        (r#"dayfly_scope_last_listed_timestamp_seconds{scope="https://github.com/acme"}"#, 1_795_348_800.0),
        (r#"dayfly_runner_startup_seconds_count{pool="linux"}"#, 1.0),
        (r#"dayfly_runner_exits_total{pool="linux",reason="oom"}"#, 1.0),
        (r#"dayfly_job_duration_seconds_sum{pool="linux",result="failed"}"#, 90.0),
        (r#"dayfly_scope_failing{reason="refused",scope="https://github.com/acme"}"#, 1.0),
        (r#"dayfly_scope_failing{reason="github_failed",scope="https://github.com/acme"}"#, 0.0),
        (r#"dayfly_host_failing{host="local",reason="engine_failed"}"#, 1.0),
        (r#"dayfly_host_failing{host="local",reason="engine_refused"}"#, 0.0),
        (r#"dayfly_pool_job_sources_failing{pool="linux",reason="github_failed"}"#, 1.0),
        (r#"dayfly_pool_job_sources_failing{pool="linux",reason="refused"}"#, 0.0),
        ("dayfly_log_lines_dropped_total", 0.0),
        ("dayfly_draining", 1.0),
        ("dayfly_last_plan_timestamp_seconds", 1_795_348_800.0),
        ("dayfly_plan_seconds_count", 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
    assert!(text.contains("process_resident_memory_bytes"), "the process is seen too");
}

#[test]
fn what_leaves_the_configuration_leaves_the_metrics() {
    let (metrics, status) = (Metrics::new("0.1.0").unwrap(), fleet());
    happen(&metrics, &status, 1);
    assert!(metrics.gather().contains("linux"));
    let mut other = fleet();
    other.pools = vec![pool("arm")];
    other.scopes.clear();
    other.hosts.clear();
    other.runners.clear();
    metrics.record_pass(&[], &other, NOON, Duration::from_micros(50));
    let text = metrics.gather();
    assert_eq!(value(&text, r#"dayfly_desired_runners{pool="arm"}"#), Some(3.0));
    for gone in ["linux", "github.com/acme", r#"host="local""#] {
        assert!(!text.contains(gone), "{gone} is still in\n{text}");
    }
}

#[test]
fn hostile_label_values_are_escaped() {
    let metrics = Metrics::new("0.1.0\"} 1\nforged{x=\"\\").unwrap();
    let text = metrics.gather();
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
    assert!(text.contains(r#"version="0.1.0\"} 1\nforged{x=\"\\""#), "{text}");
}

#[test]
#[expect(clippy::print_stderr, reason = "the output shows what was not checked")]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (metrics, status) = (Metrics::new("0.1.0").unwrap(), fleet());
    happen(&metrics, &status, 1);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if std::env::var_os("DAYFLY_REQUIRE_PROMTOOL").is_none() => {
            eprintln!("skipped: promtool cannot be run ({error}), and DAYFLY_REQUIRE_PROMTOOL is not set");
            return;
        }
        Err(error) => panic!("DAYFLY_REQUIRE_PROMTOOL is set, but promtool cannot be run: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(metrics.gather().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
