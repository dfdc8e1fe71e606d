//! No text and no variable causes a panic, and every problem stays on one line.

use dayfly::config::Tokens;
use proptest::prelude::*;

use super::Written;

/// Text that is nearly a configuration.
fn nearly() -> impl Strategy<Value = String> {
    let known = vec![
        "instance",
        "state_dir",
        "credentials",
        "hosts",
        "http",
        "poll",
        "pool",
        "name",
        "url",
        "labels",
        "max",
        "min_idle",
        "container",
        "memory",
        "cpus",
        "env",
        "ulimits",
        "schedule",
        "hours",
        "days",
        "timezone",
        "repositories",
        "webhook_secret_file",
        "demand",
        "allowed_hosts",
        "listen",
        "interval",
        "token_file",
        "token_env",
        "default",
        "local",
        "endpoint",
        "max_job_age",
        "\"ä ö\"",
        "\"\\n\"",
        "\"\"",
    ];
    let key = prop_oneof!["[a-z_]{1,8}", prop::sample::select(known).prop_map(str::to_owned)];
    let odd = vec![
        "3",
        "-1",
        "nan",
        "1e999",
        "99999999999999999999999999999999999999999999",
        "1979-05-27",
        "true",
        "[]",
        "{}",
        "[[], {}, \"a\", 3]",
        "[{ max = 3, labels = [3, \"\"] }, 4]",
        "{ a = { b = [1] }, max = \"x\" }",
        "\"\\u0000\\n\"",
        "[{ days = \"fri-mon,x\", hours = \"24:00-99:99\", timezone = \"\\u0000\", min_idle = 4294967295 }]",
        "[{ hours = \"22:00-06:00\", timezone = \"UTC\", min_idle = 0 }, { hours = \"00:00-24:00\", \
         timezone = \"UTC\", min_idle = 1 }]",
        "[\"queue\", \"webhook\", \"idle\"]",
    ];
    let value =
        prop_oneof![prop::sample::select(odd).prop_map(str::to_owned), "\"[^\"\\\\]{0,12}\"", ".{0,8}"];
    let line = prop_oneof![
        (key.clone(), value.clone()).prop_map(|(key, value)| format!("{key} = {value}")),
        (key.clone(), key.clone(), value).prop_map(|(a, b, value)| format!("{a}.{b} = {value}")),
        key.clone().prop_map(|key| format!("[{key}]")),
        (key.clone(), key.clone()).prop_map(|(a, b)| format!("[{a}.{b}]")),
        key.prop_map(|key| format!("[[{key}]]")),
        Just("[[pool]]".to_owned()),
        Just("[pool.container]".to_owned()),
        ".{0,20}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_and_no_variable_is_the_end_of_it(
        text in nearly(),
        name in "DAYFLY_[A-Z_.ä\n]{0,12}|DAYFLY_(POOL|HOSTS|HTTP)(__[A-Z0-9]{0,6}){0,3}",
        value in "[^\\x00]{0,12}|\\[\\{ max = 3 \\}\\]",
    ) {
        let written = Written::new(&text).with(&name, &value);
        let reported = match written.load_with(Tokens::Needed) {
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                problems.0
            }
            Ok(config) => config.warnings,
        };
        for problem in &reported {
            let line = problem.to_string();
            prop_assert!(!line.contains('\n') && !line.contains("cannot be read"), "{line}");
        }
    }
}
