//! The reference pages: below its marker, a page has what the code says. `REWRITE_REFERENCE=1` writes it.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};
use dayfly::{
    cli::Cli,
    fleet::{ExitReason, Held, Phase, TroubleKind, Unmatched, Veto, Why},
    github::webhook::DeliveryResult,
    telemetry::Metrics,
};
use serde_json::Value;

use super::{NOON, fleet, metrics::happen};

const MARKER: &str = "<!-- Everything below is generated: just reference -->\n";

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Fails when a page differs from this below its marker; writes it instead if so asked.
fn check(page: &str, generated: &str) {
    let path = root(&format!("docs/reference/{page}.md"));
    let text = fs::read_to_string(&path).unwrap();
    let (head, found) = text.split_once(MARKER).expect("a marker");
    if env::var_os("REWRITE_REFERENCE").is_some() {
        fs::write(path, format!("{head}{MARKER}\n{}\n", generated.trim())).unwrap();
    } else {
        assert_eq!(found.trim(), generated.trim(), "{page}.md is out of date; run `just reference`");
    }
}

/// A command's help, and that of the commands below it. Options that every command has are shown once, at the top.
fn help(command: &mut Command, name: &str, page: &mut String) {
    let text = command.render_long_help().to_string();
    let own = text.split("\n  -h, --help\n").next().unwrap().trim_end().trim_end_matches("\nOptions:");
    let shown = if name.contains(' ') { own } else { &text };
    // Help pads the empty lines within an option's text.
    let lines: Vec<_> = shown.trim().lines().map(str::trim_end).collect();
    let _ = write!(page, "## {name}\n\n```text\n{}\n```\n\n", lines.join("\n"));
    for below in command.get_subcommands_mut().filter(|below| !below.is_hide_set()) {
        if below.get_name() != "help" {
            help(below, &format!("{name} {}", below.get_name()), page);
        }
    }
}

#[test]
fn the_page_on_commands_is_their_help() {
    let (mut cli, mut page) = (Cli::command(), String::new());
    cli.build();
    help(&mut cli, "dayfly", &mut page);
    check("commands", &page);
}

/// A table of the file's keys for each section: a comment describes the key below it, and a key behind a `#` has no
/// default.
fn keys(file: &str) -> String {
    let (mut page, mut comment) = (String::from("## Top of the file\n"), Vec::new());
    // The first paragraph is about the file.
    let lines: Vec<&str> = file.split_once("\n\n").unwrap().1.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let words = line.strip_prefix("# ").unwrap_or(line);
        let described = comment.join(" ").replace('|', "\\|");
        // A table that would have an effect of its own is a comment as a whole.
        if words.starts_with('[') && words.ends_with(']') {
            let section = words.replace(".default]", ".NAME]").replace(".local]", ".NAME]");
            let _ = write!(
                page,
                "\n## {section}\n\n{described}\n\n| key | default | description |\n| --- | --- | --- |\n"
            );
        } else if let Some((key, value)) = words.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            // `schedule` has a default and an example.
            let mut section = lines[at..].iter().take_while(|line| !line.starts_with('['));
            if line.starts_with('#') && section.any(|line| line.starts_with(&format!("{key} = "))) {
                comment.push(format!("Example: `{value}`."));
                continue;
            }
            let (default, example) = match (line.starts_with('#'), described.starts_with("Required")) {
                (false, false) => (format!("`{value}`"), String::new()),
                _ => (String::new(), format!(" Example: `{value}`.")),
            };
            if page.ends_with("file\n") {
                page.push_str("\n| key | default | description |\n| --- | --- | --- |\n");
            }
            let _ = writeln!(page, "| `{key}` | {default} | {described}{example} |");
        } else if !words.is_empty() {
            comment.push(words.to_owned());
            continue;
        }
        comment.clear();
    }
    page
}

#[test]
fn the_page_on_the_configuration_is_the_commented_file() {
    check("configuration", &keys(&fs::read_to_string(root("config/dayfly.toml")).unwrap()));
}

/// Name, type, labels and help of each metric in Prometheus' text format.
fn metrics(text: &str) -> String {
    let mut page =
        String::from("## Metrics\n\n| metric | type | labels | description |\n| --- | --- | --- | --- |\n");
    for help in text.lines().filter_map(|line| line.strip_prefix("# HELP dayfly_")) {
        let (name, help) = help.split_once(' ').unwrap();
        let kind = format!("# TYPE dayfly_{name} ");
        let kind = text.lines().find_map(|line| line.strip_prefix(&kind)).unwrap();
        let ours = |line: &&str| line.starts_with("dayfly_") && line[7..].starts_with(name);
        let series = text.lines().find(ours).unwrap();
        let labels = series.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        let labels: Vec<_> = labels.split("\",").filter_map(|pair| pair.split_once('=')).collect();
        let labels: Vec<_> = labels
            .iter()
            .filter(|(label, _)| *label != "le")
            .map(|(label, _)| format!("`{label}`"))
            .collect();
        let help = help.replace("\\\\", "\\");
        let _ = writeln!(page, "| `dayfly_{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    page
}

/// The words of a closed set, and what they mean.
fn words<T: Copy>(title: &str, all: &[T], of: impl Fn(T) -> (&'static str, &'static str)) -> String {
    let rows = all.iter().map(|&one| of(one)).map(|(word, meaning)| format!("| `{word}` | {meaning} |\n"));
    format!("\n### {title}\n\n| value | meaning |\n| --- | --- |\n{}", rows.collect::<String>())
}

#[test]
fn the_page_on_metrics_has_every_metric_and_every_reason() {
    let all = Metrics::new("0.1.0").unwrap();
    all.expect_webhooks();
    happen(&all, &fleet(), 1);
    all.record_token_expiration("default", Some(NOON));
    let text = all.gather();
    let mut page = metrics(&text);
    // A family without a series is not in the text, so the names are read from the code too.
    let folder = fs::read_dir(root("src/telemetry/metrics")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path()).chain([root("src/telemetry/metrics.rs")]);
    for file in files {
        let source = fs::read_to_string(file).unwrap();
        for name in source.split("\"dayfly_").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(
                page.contains(&format!("| `dayfly_{name}` |")),
                "dayfly_{name} has no series in this test"
            );
        }
    }
    let removals: Vec<_> =
        Why::ALL.iter().copied().filter(|why| !matches!(why, Why::Spare | Why::Demand)).collect();
    page.push_str("\n## Values of `reason`\n");
    page += &words("`dayfly_pool_held`, `dayfly_host_blocked`", Held::ALL, |held| {
        (held.as_str(), held.in_words())
    });
    page += &words("`dayfly_runner_exits_total`", ExitReason::ALL, |exit| (exit.as_str(), exit.in_words()));
    page += &words("`dayfly_runners_removed_total`", &removals, |why| (why.as_str(), why.in_words()));
    page += &words("`dayfly_scale_down_vetoed_total`", Veto::ALL, |veto| (veto.as_str(), veto.in_words()));
    page += &words("`dayfly_unmatched_queued_jobs`", Unmatched::ALL, |why| (why.as_str(), why.in_words()));
    check("metrics", &page);
    let head = fs::read_to_string(root("docs/reference/metrics.md")).unwrap();
    let phases = Phase::ALL.iter().map(|phase| phase.as_str());
    let described = phases.chain(TroubleKind::ALL.map(TroubleKind::as_str));
    for word in described.chain(DeliveryResult::ALL.map(DeliveryResult::as_str)) {
        assert!(head.contains(&format!("| `{word}` |")), "metrics.md does not describe {word}");
    }
}

#[test]
fn the_symptoms_in_quotation_marks_are_those_that_are_shown() {
    let page = fs::read_to_string(root("docs/how-to/troubleshooting.md")).unwrap();
    let quoted: Vec<_> = page.split("\n| \"").skip(1).map(|row| row.split('"').next().unwrap()).collect();
    assert!(quoted.len() > 3, "{quoted:?}");
    for symptom in quoted {
        assert!(Held::ALL.iter().any(|held| held.in_words() == symptom), "nothing is shown as {symptom:?}");
    }
}

/// Fails when the page on the web server lacks a field of the status document, or an address.
pub(crate) fn check_http(document: &Value) {
    let page = fs::read_to_string(root("docs/reference/http.md")).unwrap();
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_named =
                    [format!("`{name}`"), format!("`{name}[]`")].iter().any(|name| page.contains(name));
                assert!(is_named, "http.md does not name {name}");
                check_http(value);
            }
        }
        Value::Array(values) => values.iter().for_each(check_http),
        Value::String(address) if address.starts_with("GET ") => {
            assert!(page.contains(&format!("| `{address}` |")), "http.md does not name {address}");
        }
        _ => {}
    }
}
