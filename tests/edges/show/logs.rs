//! The log: its lines, and what no setting can make it write.

use std::{
    io::{Result, Write, sink},
    sync::{Arc, Mutex},
};

use dayfly::{
    fleet::{Event, ExitReason, Held, Trouble, TroubleKind, Why},
    telemetry::{Form, Format, LogsError, log_event, subscriber},
};
use serde_json::{Value, json};
use tracing_subscriber::util::SubscriberInitExt;

use super::{exited, fleet, refused, runner};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What `speak` logs under a filter, with the caps of crates that log secrets.
fn logged(format: Format, filter: &str, speak: impl FnOnce()) -> String {
    logged_as(Form { format, ..Form::default() }, filter, speak)
}

fn logged_as(form: Form, filter: &str, speak: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let caps = ["bollard=info", "hyper=info", "octocrab=off"];
    let subscriber = subscriber(form, filter, &caps, move || writer.clone()).unwrap();
    crate::subscribers::allow_several();
    // The guard also bridges the `log` crate, which bollard speaks through.
    let guard = subscriber.set_default();
    speak();
    drop(guard);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn no_filter_makes_a_capped_crate_say_more() {
    for filter in ["trace", "bollard=trace", "bollard::docker=trace,info", "trace,hyper::proto=trace"] {
        let text = logged(Format::Text, filter, || {
            log::debug!(target: "bollard::docker", "TOPSECRET by the log crate");
            log::info!(target: "bollard", "bollard is here");
            tracing::debug!(target: "bollard", "TOPSECRET by tracing");
            tracing::trace!(target: "hyper::proto::h1", "TOPSECRET headers");
            tracing::error!(target: "octocrab", "TOPSECRET as an error");
            tracing::info!(target: "bollard", "bollard is here too");
            tracing::debug!(target: "elsewhere", "another crate");
        });
        assert!(!text.contains("TOPSECRET"), "with {filter}: {text}");
        assert_eq!(text.contains("another crate"), filter.starts_with("trace"), "with {filter}: {text}");
        if filter.contains("bollard=") || filter.starts_with("trace") {
            assert!(
                text.contains("bollard: bollard is here\n") && text.contains("bollard is here too"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_bad_filter_is_reported_in_one_line() {
    let wrong = subscriber(Form::default(), "info,dayfly=loud", &[], sink).err().unwrap();
    assert!(matches!(&wrong, LogsError::Filter { filter, .. } if filter == "info,dayfly=loud"));
    assert!(!wrong.to_string().contains('\n'));
    assert!(subscriber(Form::default(), "info,dayfly=debug", &[], sink).is_ok());
}

#[test]
fn a_job_leaves_one_line_at_its_start_and_one_at_its_end() {
    let status = fleet();
    let name = status.runners[0].name.clone();
    let hostile = "build\n{\"level\":\"ERROR\"}\u{1b}[2J";
    let text = logged(Format::Json, "info", || {
        let pool = "linux".to_owned();
        let job = Some(hostile.to_owned());
        log_event(&Event::JobStarted { pool, runner: name.clone(), job }, &status, None);
        log_event(&exited("linux", name.clone(), ExitReason::Completed, hostile, "Succeeded"), &status, None);
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [start, end] = &lines[..] else { panic!("two lines, not {text}") };
    for line in [start, end] {
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["pool"], "linux");
        assert_eq!(line["runner"], name.as_str());
        assert_eq!(line["host"], "local");
        assert_eq!(line["container"], "c0ffee012345", "the short id");
        assert_eq!(line["registration"], 23);
        assert_eq!(line["job"], "build\\n{\"level\":\"ERROR\"}\\u{1b}[2J");
    }
    assert_eq!(
        (&end["reason"], &end["result"], &end["exit_code"]),
        (&json!("completed"), &json!("Succeeded"), &json!(0))
    );
    assert_eq!(end["job_seconds"], 90.0);

    let text = logged(Format::Text, "info", || {
        log_event(
            &exited("linux", name.clone(), ExitReason::OutOfMemory, hostile, "Failed\nforged"),
            &status,
            Some(std::path::Path::new("/var/lib/dayfly/failed/x.json")),
        );
    });
    assert!(text.contains("diagnostics=/var/lib/dayfly/failed/x.json"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("WARN") && !text.contains('\u{1b}'), "{text}");
    assert!(!text.contains("output of a job"), "a job's output stays out of our log: {text}");
}

#[test]
fn a_destination_of_a_job_is_a_line_that_says_whose_it_is() {
    let status = fleet();
    let name = status.runners[0].name.clone();
    let text = logged(Format::Json, "info", || {
        let event = Event::Destination {
            pool: "linux".to_owned(),
            runner: name.clone(),
            destination: refused(),
            job: Some("build\nforged".to_owned()),
            facts: status.runners[0].facts.clone(),
        };
        log_event(&event, &status, None);
    });
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    for (field, expected) in [
        ("level", "INFO"),
        ("pool", "linux"),
        ("runner", name.as_str()),
        ("destination", "evil.example:443"),
        ("result", "refused"),
        ("job", "build\\nforged"),
        ("repository", "acme/widgets"),
        ("host", "local"),
    ] {
        assert_eq!(line[field], expected, "{field}: {text}");
    }
    let said = format!("runner {name}: egress to evil.example:443 refused");
    assert!(text.contains(&said), "{text}");
}

#[test]
fn a_launch_that_keeps_failing_warns_once() {
    let status = fleet();
    let failed = |streak: u32| Event::LaunchFailed {
        pool: "linux".parse().unwrap(),
        runner: runner("linux", streak.into()),
        trouble: Trouble {
            kind: TroubleKind::EngineFailed,
            retry_after: None,
            detail: "connect:\nrefused".to_owned(),
        },
        streak,
    };
    let text = logged(Format::Text, "debug", || {
        (1..=3).for_each(|streak| log_event(&failed(streak), &status, None));
    });
    assert_eq!(text.matches("WARN").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("engine_failed") && text.contains(r"connect:\nrefused"), "{text}");
}

#[test]
fn fields_have_one_style_and_an_event_is_one_line() {
    let text = logged(Format::Text, "debug", || {
        let (text, owned) = ("linux", "two words".to_owned());
        tracing::info!(target: "dayfly::x", text, shown = %text, owned, empty = "", number = 3, half = 1.5, "said\nthis");
        tracing::warn!(target: "dayfly::x", forged = "a\nb=\"c\"\u{1b}[2J", missing = None::<&str>, "said");
        tracing::debug!(target: "dayfly::x", "detail");
        tracing::warn!(target: "elsewhere", "said");
    });
    let lines: Vec<&str> = text.lines().map(|line| line.split_once("Z ").unwrap().1.trim_start()).collect();
    assert_eq!(
        lines,
        [
            r#"INFO said\nthis text=linux shown=linux owned="two words" empty="" number=3 half=1.5"#,
            r#"WARN said forged="a\nb=\"c\"\u{1b}[2J""#,
            "DEBUG dayfly::x: detail",
            "WARN elsewhere: said",
        ],
        "{text}"
    );
}

#[test]
fn for_the_journal_every_line_begins_with_its_priority() {
    for format in [Format::Text, Format::Json] {
        let form = Form { format, priorities: true, ..Form::default() };
        let text = logged_as(form, "debug", || {
            tracing::error!("one\ntwo");
            tracing::warn!("one\r\ntwo");
            tracing::info!("one");
            tracing::debug!("one");
        });
        let priorities: Vec<&str> = text.lines().map(|line| &line[..3]).collect();
        assert_eq!(priorities, ["<3>", "<4>", "<6>", "<7>"], "{text}");
    }
}

#[test]
fn a_start_is_no_pause_and_durations_are_rounded() {
    let status = fleet();
    let held = |held, is_starting, detail: &str| {
        let (pool, detail) = ("linux".parse().unwrap(), detail.to_owned());
        log_event(&Event::Held { pool, held, detail, is_starting }, &status, None);
    };
    let text = logged(Format::Text, "info", || {
        held(Some(Held::ScopeUnseen), true, "");
        held(None, true, "");
        held(Some(Held::ImageMissing), false, "no such\nimage");
        held(None, false, "");
        let startup = Some(std::time::Duration::from_micros(1_234_567));
        log_event(
            &Event::Ready { pool: "linux".to_owned(), runner: runner("linux", 1), startup },
            &status,
            None,
        );
    });
    let [paused, resumed, ready] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let said = r"pool linux: launches paused: its host does not have its image: no such\nimage pool=linux reason=image_missing";
    assert!(paused.contains("WARN") && paused.ends_with(said), "{paused}");
    assert!(
        resumed.contains("INFO") && resumed.ends_with("pool linux: launches resumed pool=linux"),
        "{resumed}"
    );
    assert!(ready.ends_with("startup_seconds=1.2"), "{ready}");
}

#[test]
fn a_removal_that_keeps_failing_says_why_and_warns_once() {
    let status = fleet();
    let failed = |streak| Event::RemovalFailed {
        pool: "linux".to_owned(),
        runner: runner("linux", 1),
        why: Why::Surplus,
        trouble: Trouble {
            kind: TroubleKind::EngineFailed,
            retry_after: None,
            detail: "remove the container: 500".to_owned(),
        },
        streak,
    };
    let text = logged(Format::Text, "debug", || {
        (1..=3).for_each(|streak| log_event(&failed(streak), &status, None));
    });
    assert_eq!((text.matches("WARN").count(), text.lines().count()), (1, 3), "{text}");
    assert!(text.lines().all(|line| line.contains("remove the container: 500")), "{text}");
}
