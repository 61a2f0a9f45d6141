//! The table against the public header, where a machine has one: `dqlite.h` of the compiler's own
//! directories or of the directory that `DQLITE_INCLUDE` names.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use libdqlite_sys::TABLE;

/// Runs the C compiler on `source` without making a file.
fn compile(arguments: &[&str], source: &str) -> Output {
    let mut command = Command::new("cc");
    if let Some(directory) = std::env::var_os("DQLITE_INCLUDE") {
        command.arg("-I").arg(directory);
    }
    let mut compiler = command
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

#[test]
fn signatures_are_those_of_the_public_header() {
    let header = compile(&["-E"], "#include <dqlite.h>\n");
    if !header.status.success() {
        // Not every machine that builds this has the engine's development files.
        return;
    }
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
    let checked = compile(&["-Werror", "-fsyntax-only"], &source);
    let complaints = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{complaints}");
    assert!(
        compared >= 10,
        "only {compared} functions were found in the header"
    );
}
