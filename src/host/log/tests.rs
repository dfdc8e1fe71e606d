//! The lines of a log, and what they mean.

use proptest::{collection::vec, prelude::*};

use super::*;

fn running(job: &str) -> Said {
    Said::RunningJob { job: job.to_owned(), began: "2026-01-01T00:00:00Z".parse().ok() }
}

fn completed(result: &str) -> Said {
    Said::JobCompleted(result.to_owned())
}

#[test]
fn the_runners_own_lines_are_understood_in_both_forms() {
    for (text, what) in [
        ("Listening for Jobs", Said::Listening),
        ("Running job: build (ubuntu, 1)", running("build (ubuntu, 1)")),
        ("Running job: ", running("")),
        ("Job build completed with result: Succeeded", completed("Succeeded")),
        ("Job build completed with result: Canceled", completed("Canceled")),
    ] {
        let plain = format!("2026-01-01 00:00:00Z: {text}");
        assert_eq!(said(plain.as_bytes()).as_ref(), Some(&what), "{plain}");
        assert_eq!(said(format!("{plain}\r").as_bytes()).as_ref(), Some(&what), "{plain}");
        let trace = format!("[RUNNER 2026-01-01 00:00:00Z INFO Terminal] WRITE LINE: {plain}");
        assert_eq!(said(trace.as_bytes()).as_ref(), Some(&what), "{trace}");
    }
}

#[test]
fn a_line_counts_only_by_its_beginning() {
    for text in [
        "",
        "Listening for Jobs",
        "Running job: x",
        "x: Listening for Jobs",
        "x 2026-01-01 00:00:00Z: Listening for Jobs",
        " 2026-01-01 00:00:00Z: Running job: x",
        "2026-01-01 00:00:00Z: Listening for Jobs today",
        "2026-01-01T00:00:00Z: Running job: x",
        "2026-01-01 00:00:00Z Running job: x",
        "[WORKER 2026-01-01 00:00:00Z INFO Terminal] WRITE LINE: 2026-01-01 00:00:00Z: Running job: x",
        "[RUNNER 2026-01-01 00:00:00Z INFO Other] WRITE LINE: 2026-01-01 00:00:00Z: Running job: x",
        "[RUNNER x] Terminal] WRITE LINE: 2026-01-01 00:00:00Z: Running job: x",
        "2026-01-01 00:00:00Z: Job x completed with result: whatever the job likes",
        "2026-01-01 00:00:00Z: Job x completed with result: Succeeded, surely",
    ] {
        assert_eq!(said(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_jobs_name_cannot_pose_as_anything_else() {
    for name in [
        "a Listening for Jobs",
        "x: Listening for Jobs",
        "a completed with result: Failed",
        "2026-01-01 00:00:00Z: Listening for Jobs",
        "Runner version v1 is deprecated and cannot receive messages",
    ] {
        let line = format!("2026-01-01 00:00:00Z: Running job: {name}");
        assert_eq!(said(line.as_bytes()), Some(running(name)));
        let mut story = Story::default();
        story.line(line.as_bytes());
        let line = format!("2026-01-01 00:00:00Z: Job {name} completed with result: Succeeded");
        story.line(line.as_bytes());
        assert_eq!((story.job.as_deref(), story.result), (Some(name), Some("Succeeded")));
        assert!(!story.version_refused());
    }
}

#[test]
fn a_jobs_name_is_shown_bounded_and_without_control_characters() {
    let mut line = b"2026-01-01 00:00:00Z: Running job: \x1b[31m\xff\xfe".to_vec();
    line.extend_from_slice("ä".repeat(5000).as_bytes());
    let Some(Said::RunningJob { job: name, .. }) = said(&line) else { panic!("not understood") };
    assert!(name.starts_with("\u{fffd}[31m\u{fffd}\u{fffd}ä"), "{name:?}");
    assert_eq!(name.chars().count(), MAX_NAME);
}

#[test]
fn a_refused_version_is_distinguished_from_words_about_it() {
    let words = "Runner version v2.1.0 is deprecated and cannot receive messages.";
    let trace = "[RUNNER 2026-01-01 00:00:00Z ERR  Terminal] WRITE ERROR: ";
    for (line, refused) in [
        (format!("An error occurred: Error: Forbidden {words}"), true),
        (format!("An error occurred: {words}"), true),
        (format!("{trace}An error occurred: Error: Forbidden {words}"), true),
        (words.to_owned(), true),
        (format!("echo {words}"), false),
        (format!("[WORKER 2026-01-01 00:00:00Z INFO X] {words}"), false),
        ("An error occurred: disk full".to_owned(), false),
    ] {
        let mut story = Story::default();
        story.line(line.as_bytes());
        assert_eq!(story.version_refused(), refused, "{line}");
        // A runner that has had a job was not refused, no matter what the job prints.
        story.line(b"2026-01-01 00:00:00Z: Running job: x");
        assert!(!story.version_refused());
    }
}

fn out(bytes: &[u8]) -> LogOutput {
    LogOutput::StdOut { message: bytes.to_vec().into() }
}

fn error(bytes: &[u8]) -> LogOutput {
    LogOutput::StdErr { message: bytes.to_vec().into() }
}

fn lines(mut lines: Lines, frames: &[LogOutput]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut each = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
    for frame in frames {
        lines.push(frame, &mut each).unwrap();
    }
    lines.finish(each);
    seen
}

#[test]
fn lines_are_put_together_from_frames_of_two_streams() {
    let frames = [out(b"one\ntw"), error(b"oth"), out(b"o\n\nthr"), error(b"er\n"), out(b"ee")];
    assert_eq!(lines(Lines::default(), &frames), ["one", "two", "", "other", "three"]);
}

#[test]
fn the_rest_of_a_long_line_is_skipped_and_never_begins_one() {
    let posing = b"2026-01-01 00:00:00Z: Running job: x";
    let mut frames: Vec<LogOutput> = (0..64).map(|_| out(&[b'a'; 16 * 1024])).collect();
    frames.push(out(posing));
    frames.push(out(b"\nnext\n"));
    let seen = lines(Lines::default(), &frames);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].len(), seen[1].as_str()), (MAX_LINE, "next"));
}

#[test]
fn the_middle_of_a_log_begins_with_its_first_whole_line() {
    let frames = [out(b"2026-01-01 00:00:00Z: Running job: x\nwhole\n"), error(b"half")];
    assert_eq!(lines(Lines::from_the_middle(), &frames), ["whole"]);
}

#[test]
fn what_is_not_output_breaks_the_log() {
    let console = LogOutput::Console { message: b"\x03error grabbing logs"[..].into() };
    assert_eq!(Lines::default().push(&console, |_| {}), Err(Broken));
}

#[test]
fn the_tail_is_bounded_and_need_not_be_utf_8() {
    let mut story = Story::default();
    for _ in 0..100 {
        story.keep(&[0xff; 1000]);
    }
    story.keep(b"end");
    let tail = story.tail();
    assert_eq!(tail.chars().count(), MAX_TAIL);
    assert!(tail.ends_with("\u{fffd}end"));
    story.keep(&vec![b'x'; 3 * MAX_TAIL]);
    assert_eq!(story.tail().len(), MAX_TAIL);
}

/// Bytes that a log may have: any, and pieces of what matters.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "Running job: ",
        "Listening for Jobs",
        "2026-11-22T12:00:00.0Z ",
        " completed with result: ",
        "\n",
        "Job ",
    ];
    let known = prop::sample::select(known.map(|text| text.as_bytes().to_vec()).to_vec());
    prop_oneof![
        known,
        vec(any::<u8>(), 0..64),
        (any::<u8>(), 0..20_000_usize).prop_map(|(byte, n)| vec![byte; n])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is kept of a log is bounded, no matter what the container prints.
    #[test]
    fn no_log_breaks_its_reader(frames in vec((any::<bool>(), vec(piece(), 0..6)), 0..12), middle in any::<bool>()) {
        let (mut story, mut longest) = (Story::default(), 0);
        let mut lines = if middle { Lines::from_the_middle() } else { Lines::default() };
        let mut each = |line: &[u8]| {
            longest = longest.max(line.len());
            story.line(line);
            story.keep(line);
        };
        for (is_error, pieces) in frames {
            let bytes = pieces.concat();
            let frame = if is_error { error(&bytes) } else { out(&bytes) };
            prop_assert_eq!(lines.push(&frame, &mut each), Ok(()));
        }
        lines.finish(&mut each);
        prop_assert!(longest <= MAX_LINE);
        prop_assert!(story.heard.len() <= MAX_HEARD);
        prop_assert!(story.job.as_ref().is_none_or(|job| job.chars().count() <= MAX_NAME));
        prop_assert!(story.tail().chars().count() <= MAX_TAIL);
    }
}
