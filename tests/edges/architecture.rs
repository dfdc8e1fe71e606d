//! Holds the picture in `src/lib.rs` to the truth: who may import whom, that no files import each other, that
//! the core is pure, and that every file says what it is for.

mod circles;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use self::circles::Modules;

/// The other packages and what is of them, by their names in the crate's root.
const PACKAGES: [&str; 4] = ["executor", "fleet", "simulator", "text"];

/// The source folders of all packages.
const FOLDERS: [&str; 4] = ["src", "crates/executor/src", "crates/fleet/src", "crates/simulator/src"];

/// Each module, and the modules that it may import.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "daemon",
            "http",
            "telemetry",
            "config",
            "demand",
            "egress",
            "github",
            "host",
            "backoff",
            "clock",
            "fleet",
            "files",
            "text",
            "simulator",
        ],
    ),
    (
        "daemon",
        &[
            "http",
            "telemetry",
            "config",
            "demand",
            "egress",
            "github",
            "host",
            "executor",
            "backoff",
            "clock",
            "fleet",
            "files",
            "text",
        ],
    ),
    ("http", &["github", "host", "fleet"]),
    ("telemetry", &["github", "host", "clock", "fleet", "text"]),
    ("config", &["egress", "github", "host", "fleet", "files"]),
    ("demand", &["github", "host", "backoff", "clock", "fleet", "files", "text"]),
    ("github", &["executor", "backoff", "clock", "fleet", "files", "text"]),
    ("host", &["egress", "executor", "backoff", "clock", "fleet", "files", "text"]),
    ("egress", &[]),
    ("clock", &["fleet"]),
    ("files", &[]),
    ("backoff", &["fleet"]),
];

/// Ways to open a file that wait for the other end of a pipe, or read without a bound. Other modules than
/// `files` have no use for them; the simulator and the demo open what they made themselves.
const OPENS: [&str; 6] =
    ["File::open", "File::create", "File::options", "OpenOptions", "fs::read(", "fs::read_to_string"];

/// What the core may depend on: neither I/O nor a runtime, and nothing that logs.
const DEPENDENCIES_OF_THE_CORE: [&str; 5] = ["fnv", "jiff", "serde", "thiserror", "ulid"];

/// What the executor may depend on: no client of GitHub or of an engine, and no runtime.
const DEPENDENCIES_OF_THE_EXECUTOR: [&str; 6] =
    ["base64", "dayfly-fleet", "rustix", "secrecy", "thiserror", "tracing"];

/// What has no place in the core: I/O, async, clocks, randomness, logging, and orders that differ
/// from run to run.
const IMPURE: [&str; 13] = [
    "tokio",
    "async ",
    ".await",
    "::now()",
    "SystemTime",
    "tracing",
    "log::",
    "rand::",
    "HashMap",
    "HashSet",
    "std::fs",
    "std::net",
    "std::env",
];

/// All source files of a folder with their text, without comments and without what follows the tests' mark.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    // The executor is the smallest.
    let least = if folder == "crates/executor/src" { 7 } else { 10 };
    assert!(files.len() > least, "the sources were not found");
    files
}

fn code(text: &str) -> String {
    // Tests are the end of a file, unless they are in a file of their own.
    let inline = |at: &usize| {
        let rest = text[*at..].trim_start_matches("#[cfg(test)]").trim_start();
        !rest.starts_with("mod ") || rest.find('{') < rest.find(';')
    };
    let text = match text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(inline) {
        Some(tests) => &text[..tests],
        None => text,
    };
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The first names of all paths that begin with `root`, those in braces too.
fn first_names(code: &str, root: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if fresh && !c.is_whitespace() => {
                    names.insert(name(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn imports_point_one_way() {
    for (path, text) in sources("src") {
        let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        let module = parts[0].trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} is new: say in MAY_IMPORT what it may import"));
        let code = code(&text);
        let root = if module == "main" { "dayfly::" } else { "crate::" };
        for name in first_names(&code, root) {
            let known =
                PACKAGES.contains(&name.as_str()) || MAY_IMPORT.iter().any(|(module, _)| *module == name);
            let fine = !known || name == module || allowed.contains(&name.as_str());
            assert!(fine, "src/{} imports {name}, which {module} may not", path.display());
        }
        let depth = parts.len() - usize::from(parts.ends_with(&["mod.rs"]));
        let upwards = "super::".repeat(depth);
        assert!(!code.contains(&upwards), "src/{}: write crate:: instead of {upwards}", path.display());
    }
}

/// What a package depends on, but for its tests.
fn dependencies_of(package: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn the_simulation_builds_without_the_edges() {
    assert_eq!(dependencies_of("crates/executor"), DEPENDENCIES_OF_THE_EXECUTOR);
}

#[test]
fn the_core_is_pure() {
    assert_eq!(dependencies_of("crates/fleet"), DEPENDENCIES_OF_THE_CORE);
    for (path, text) in sources("crates/fleet/src") {
        for impure in IMPURE {
            assert!(!code(&text).contains(impure), "crates/fleet/src/{} has {impure:?}", path.display());
        }
    }
}

#[test]
fn no_files_import_each_other() {
    for folder in FOLDERS {
        let modules = Modules::of(folder);
        let circles = modules.circles();
        assert!(circles.is_empty(), "these files of {folder} import each other: {circles:?}");
    }
}

#[test]
fn the_simulator_shares_the_type_of_a_moment_with_the_product_and_nothing_else() {
    for (path, text) in sources("crates/simulator/src") {
        let code = code(&text);
        for name in first_names(&code, "dayfly_fleet::") {
            assert_eq!(name, "Timestamp", "crates/simulator/src/{}", path.display());
        }
        assert!(!code.contains("dayfly::"), "crates/simulator/src/{} knows the product", path.display());
    }
}

#[test]
fn files_are_opened_in_one_place() {
    let exempt = ["files.rs", "cli/demo.rs", "cli/demo"];
    for (path, text) in sources("src") {
        if exempt.iter().any(|exempt| path.starts_with(exempt)) {
            continue;
        }
        for opens in OPENS {
            assert!(!code(&text).contains(opens), "src/{} has {opens}: use crate::files", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in FOLDERS {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//! "),
                "{folder}/{} does not open with a //! sentence",
                path.display()
            );
        }
    }
}

#[test]
fn imports_are_read_in_every_form() {
    let code = "use crate::{\n    fleet::{Pool, github},\n    host,\n};\nlet x = crate::daemon::run;";
    let names = first_names(code, "crate::");
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["daemon", "fleet", "host"]);
}

/// The items that must have a doc comment. Fields and variants need one only for a unit, a source or a
/// caveat, which the lint `missing_docs` cannot distinguish.
#[test]
fn every_public_item_has_a_doc_comment() {
    const KINDS: [&str; 11] = [
        "fn ",
        "async fn ",
        "const fn ",
        "unsafe fn ",
        "struct ",
        "enum ",
        "trait ",
        "type ",
        "static ",
        "const ",
        "union ",
    ];
    for folder in FOLDERS {
        for (path, text) in sources(folder) {
            let text = text.split("#[cfg(test)]").next().unwrap();
            let mut documented = false;
            for line in text.lines().map(str::trim) {
                let item =
                    line.strip_prefix("pub ").filter(|item| KINDS.iter().any(|kind| item.starts_with(kind)));
                if let Some(item) = item {
                    assert!(documented, "{folder}/{}: `{item}` has no doc comment", path.display());
                }
                documented = line.starts_with("///")
                    || line.starts_with("$(#[")
                    || (documented && is_part_of_attribute(line));
            }
        }
    }
}

/// Whether a line between a doc comment and its item is an attribute, or belongs to one.
fn is_part_of_attribute(line: &str) -> bool {
    !(line.is_empty() || line.ends_with([';', '{', '}']))
}
