//! House rules that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file under version control or about to be, of these kinds.
fn sources(extensions: &[&str]) -> Vec<Source> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("paths are UTF-8")
        .lines()
        .filter(|path| extensions.iter().any(|extension| path.ends_with(extension)))
        .filter_map(|path| {
            let text = fs::read_to_string(root().join(path)).ok()?;
            Some(Source {
                path: path.to_owned(),
                text,
            })
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("fuzz/")
}

fn complain(what: &str, where_: &[String]) {
    assert!(where_.is_empty(), "{what}:\n{}", where_.join("\n"));
}

#[test]
fn files_stay_short_outside_tests() {
    let long: Vec<_> = sources(&[".rs", ".py", ".pyi"])
        .into_iter()
        .filter(|source| !is_test(&source.path) && source.text.lines().count() > LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    complain("files over 500 lines", &long);
}

#[test]
fn lines_stay_short() {
    let mut long = Vec::new();
    for source in sources(&[".rs", ".py", ".pyi"]) {
        for (number, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                long.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    complain("lines over 100 columns", &long);
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let silent: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|source| !source.text.starts_with("//!") && !source.text.starts_with("#!["))
        .map(|source| source.path)
        .collect();
    complain("files without a first sentence", &silent);
}

#[test]
fn danger_stays_in_its_places() {
    let places = [
        "crates/libdqlite-sys/src/",
        "crates/dqlite-node/src/engine/",
        "crates/dqlite-cli/src/exports.rs",
        "crates/dqlite-python/src/arrow/import.rs",
        "crates/dqlite-python/src/decode.rs",
    ];
    let strays: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|source| !is_test(&source.path))
        .filter(|source| !places.iter().any(|place| source.path.starts_with(place)))
        .filter(|source| source.text.contains("unsafe {") || source.text.contains("unsafe fn"))
        .map(|source| source.path)
        .collect();
    complain("unsafe outside its places", &strays);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "todo".to_owned() + "!(",
    ];
    let mut found = Vec::new();
    for source in sources(&[".rs", ".py", ".pyi", ".md", "Makefile"]) {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    complain("work left in comments", &found);
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let silenced: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|source| !source.path.ends_with("tidy.rs"))
        .filter(|source| source.text.contains("#[allow(") || source.text.contains("#![allow("))
        .map(|source| source.path)
        .collect();
    complain("use #[expect(lint, reason = ...)]", &silenced);
}

#[test]
fn the_changelog_has_a_place_for_the_next_change() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(changelog.contains("## Unreleased"));
}
