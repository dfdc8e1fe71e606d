//! What nothing else reads before it is used: workflows, issue templates, and the links between pages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_norway::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder, or of it alone, with an extension.
fn files(folder: &str, extension: &str, below: bool) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && below {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "there is no {extension} file in {folder}");
    files
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn workflows_are_sound_and_use_actions_of_a_named_version() {
    for path in files(".github/workflows", "yml", false) {
        let shown = path.display();
        let workflow = yaml(&path);
        assert!(workflow["permissions"].is_mapping(), "{shown} does not say what it may do");
        for (name, job) in workflow["jobs"].as_mapping().unwrap() {
            let name = name.as_str().unwrap();
            assert!(job["runs-on"].is_string() && job["timeout-minutes"].is_number(), "{shown}: {name}");
            for step in job["steps"].as_sequence().unwrap() {
                let uses = step["uses"].as_str();
                assert!(uses.is_some() != step["run"].is_string(), "{shown}: {name} has a step with neither");
                let version = uses.map(|uses| uses.split_once("@v").map(|(_, version)| version));
                let is_versioned = version.is_none_or(|version| {
                    version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
                });
                assert!(is_versioned, "{shown}: {uses:?} has no version");
            }
        }
    }
    let ci = fs::read_to_string(root().join(".github/workflows/ci.yml")).unwrap();
    assert!(ci.contains("run: .ci/run"), "CI does not run what a person runs");
}

#[test]
fn issue_templates_are_forms() {
    for path in files(".github/ISSUE_TEMPLATE", "yml", false) {
        let form = yaml(&path);
        if path.file_name().unwrap() != "config.yml" {
            assert!(form["name"].is_string() && form["body"].is_sequence(), "{}", path.display());
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages = files("docs", "md", true).into_iter().chain(files(".", "md", false));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            // The second are GitHub's pages of the repository that shows this file.
            if link.contains("://") || link.starts_with("../../actions/") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let shown = page.display();
            assert!(target.exists(), "{shown}: {link} leads nowhere");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|found| found == heading), "{shown}: there is no heading for {link}");
            }
        }
    }
}

#[test]
fn the_files_that_contributors_are_sent_to_exist() {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    // Of a command, its program.
    let named = text.split('`').skip(1).step_by(2).map(|name| name.split(' ').next().unwrap_or(name));
    let is_path = |name: &&str| name.contains('/') && !name.contains("NAME") && !name.starts_with('/');
    let paths: Vec<&str> = named.filter(is_path).collect();
    assert!(paths.len() > 20, "the paths were not found");
    for path in paths {
        let found = [path.to_owned(), format!("src/{path}")];
        assert!(found.iter().any(|path| root().join(path).exists()), "CONTRIBUTING.md names {path}");
    }
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_changelog_has_this_version_or_says_that_it_is_not_released() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let headings = ["## [Unreleased]".to_owned(), format!("## [{version}]")];
    assert!(headings.iter().any(|heading| changelog.contains(heading)), "CHANGELOG.md lacks {version}");
}

/// House words that have a standard name, in lower case: what users read has the standard name.
const HOUSE_WORDS: &str = "a listing of, a look, absurdly, anew, as good as, by hand, does not bear, drawn, ever more rarely, \
     ever more slowly, evidence for people, for want of, goes first, goodbye, held back, hold back, \
     holds back, knock, last words, learn of, learns of, leaves at the next scrape, \
     less and less often, look at, looked at, looking at, looks at, mend, mends, nobody, \
     not belong into, said aloud, slip of the pen, somebody, stand idle, stand ready, stands idle, \
     taken in, takes in, tell, telling, tells, the whole thing, to a listing, to a look, told, \
     who we are";

/// The house words in a text, as whole words.
fn house_words(text: &str) -> Vec<&'static str> {
    let words: Vec<String> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-' || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let text = format!(" {} ", words.join(" "));
    HOUSE_WORDS.split(", ").filter(|word| text.contains(&format!(" {word} "))).collect()
}

/// The string literals of a source file without its tests, and its doc comments too where `clap` shows them.
fn shown_texts(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let is_help = path.ends_with("cli/arguments.rs") || path.ends_with("cli/runner_api.rs");
    let (mut shown, mut in_string) = (String::new(), false);
    for line in text.lines() {
        let comment = line.trim_start();
        if !in_string && comment.starts_with("//") {
            if let Some(help) = comment.strip_prefix("///").filter(|_| is_help) {
                shown.push_str(help);
                shown.push('\n');
            }
            continue;
        }
        let mut characters = line.chars();
        while let Some(c) = characters.next() {
            match c {
                '\\' if in_string => drop(characters.next()),
                // A quote as a character of its own.
                '\'' if !in_string && characters.as_str().starts_with("\"'") => drop(characters.nth(1)),
                '"' => {
                    in_string = !in_string;
                    shown.push('\n');
                }
                c if in_string => shown.push(c),
                _ => {}
            }
        }
        shown.push('\n');
    }
    shown
}

#[test]
fn what_users_read_has_no_house_words() {
    assert_eq!(house_words("Look at it, anew: nobody TOLD us"), ["anew", "look at", "nobody", "told"]);
    let sources = ["src", "crates/executor/src", "crates/fleet/src"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs", true));
    let is_test = |path: &PathBuf| path.ends_with("tests.rs") || path.iter().any(|part| part == "tables");
    let texts = sources.filter(|path| !is_test(path)).map(|path| (shown_texts(&path), path));
    let pages = [("docs", "md", true), (".", "md", false), ("config", "toml", true), ("deploy", "yml", true)];
    let pages = pages.into_iter().flat_map(|(folder, extension, below)| files(folder, extension, below));
    // The changelog names the old words that were replaced.
    let pages = pages.filter(|path| !path.ends_with("CHANGELOG.md"));
    let pages = pages.map(|path| (fs::read_to_string(&path).unwrap(), path));
    let mut found = Vec::new();
    for (text, path) in texts.chain(pages) {
        for line in text.lines() {
            found.extend(
                house_words(line).into_iter().map(|word| format!("{}: {word}: {line}", path.display())),
            );
        }
    }
    assert!(found.is_empty(), "house words:\n{}", found.join("\n"));
}
