//! The table against the public header: `dqlite.h` of the package libdqlite-dev, which
//! `tools/engine-bundle` fetches with the machine's own apt client without installing it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libdqlite_sys::TABLE;
use tempfile::TempDir;

/// Runs the C compiler on `source`, with headers of `directory`, without making a file.
fn compile(directory: &Path, arguments: &[&str], source: &str) -> Output {
    let mut compiler = Command::new("cc")
        .arg("-I")
        .arg(directory)
        .args(arguments)
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    compiler.wait_with_output().unwrap()
}

/// Puts `dqlite.h` into `directory`.
fn fetch(directory: &Path) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/engine-bundle");
    let fetched = Command::new(tool)
        .arg("--header")
        .arg(directory)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&fetched.stderr);
    assert!(fetched.status.success(), "{complaints}");
}

#[test]
fn signatures_are_those_of_the_public_header() {
    let directory = TempDir::new().unwrap();
    fetch(directory.path());
    let directory = directory.path();
    let header = compile(directory, &["-E"], "#include <dqlite.h>\n");
    assert!(header.status.success());
    let header = String::from_utf8_lossy(&header.stdout).into_owned();
    let mut source =
        String::from("#include <stdbool.h>\n#include <stddef.h>\n#include <dqlite.h>\n");
    let mut compared = 0;
    for entry in TABLE
        .iter()
        .filter(|entry| header.contains(&format!("{}(", entry.name)))
    {
        let (result, parameters) = entry.signature.split_first().unwrap();
        let parameters = if parameters.is_empty() {
            "void".into()
        } else {
            parameters.join(", ")
        };
        // C accepts a second declaration of a function only if it is the same.
        writeln!(source, "{result} {}({parameters});", entry.name).unwrap();
        compared += 1;
    }
    let checked = compile(directory, &["-Werror", "-fsyntax-only"], &source);
    let complaints = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{complaints}");
    assert!(
        compared >= 15,
        "only {compared} functions were found in the header"
    );
}
