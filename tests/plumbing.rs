//! What nothing else reads before it is used: workflows, issue templates, and the links between pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
            if link.contains("://") {
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
