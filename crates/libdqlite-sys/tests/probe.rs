//! What is taken for an engine, and what is refused with which words. The libraries are made on
//! the spot: no engine that is installed could be all of these.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::ffi::c_int;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use libdqlite_sys::{Library, LoadError, Sqlite, TABLE, Version, is_of_this_program};
use tempfile::TempDir;

/// A shared library in a directory of its own.
struct Made {
    directory: TempDir,
}

impl Made {
    fn from(source: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let code = directory.path().join("library.c");
        std::fs::write(&code, source).unwrap();
        let made = Self { directory };
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .args([&made.path(), &code])
            .status()
            .unwrap();
        assert!(status.success());
        made
    }

    /// One with the version `number` and those functions of the table that `has` says.
    fn engine(number: c_int, has: impl Fn(&str, bool) -> bool) -> Self {
        let mut source = format!(
            "#include <stdlib.h>
            int dqlite_version_number(void) {{ return {number}; }}
            const char *dqlite_version_string = \"made\";
            void *allocates(void) {{ return malloc(1); }}\n"
        );
        for name in Sqlite::NAMES {
            writeln!(source, "int {name}(void) {{ return 0; }}").unwrap();
        }
        for entry in TABLE
            .iter()
            .filter(|entry| entry.name != "dqlite_version_number")
        {
            if has(entry.name, entry.required) {
                writeln!(source, "int {}(void) {{ return 0; }}", entry.name).unwrap();
            }
        }
        Self::from(&source)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("libmade.so")
    }

    fn open(&self, allow_old: bool) -> Result<&'static Library, LoadError> {
        Library::open_with(&self.path(), allow_old)
    }

    fn refusal(&self) -> String {
        self.open(true).unwrap_err().to_string()
    }
}

#[test]
fn an_absent_library_is_told_in_the_loaders_words() {
    let error = Library::open("/nowhere/libdqlite.so.0".as_ref())
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/libdqlite.so.0"), "{error}");
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn a_library_that_is_something_else_is_no_engine() {
    let refusal = Made::from("int nothing(void) { return 0; }").refusal();
    assert!(refusal.contains("not a libdqlite"), "{refusal}");
    assert!(refusal.contains("dqlite_version_number"), "{refusal}");
}

#[test]
fn an_old_engine_is_refused_with_what_it_lacks_and_where_to_get_another() {
    let lacks = [
        "dqlite_node_set_block_size",
        "dqlite_node_set_auto_recovery",
    ];
    let refusal = Made::engine(11_000, |name, _| !lacks.contains(&name)).refusal();
    for word in [
        lacks[0],
        lacks[1],
        "1.10.0",
        "1.18.2",
        "tools/engine-bundle",
    ] {
        assert!(refusal.contains(word), "no {word} in: {refusal}");
    }
}

#[test]
fn a_new_number_does_not_make_up_for_missing_functions() {
    let made = Made::engine(11_807, |name, _| name != "dqlite_node_start");
    assert!(made.refusal().contains("dqlite_node_start"));
}

#[test]
fn an_engine_before_the_floor_is_taken_only_when_asked_for() {
    let made = Made::engine(11_801, |_, required| required);
    let error = made.open(false).unwrap_err();
    assert!(matches!(error, LoadError::BelowFloor { .. }), "{error:?}");
    for word in ["1.18.1", "1.18.2", "RETURNING", "DQLITE_ALLOW_OLD_ENGINE=1"] {
        assert!(error.to_string().contains(word), "no {word} in: {error}");
    }
    let library = made.open(true).unwrap();
    assert_eq!(library.version(), Version::new(1, 18, 1));
    let missing = [
        "dqlite_node_set_snapshot_params_v2",
        "dqlite_node_set_busy_timeout",
    ];
    assert_eq!(library.missing(), missing);
    assert!(library.symbols().dqlite_node_set_busy_timeout.is_none());
}

#[test]
fn a_whole_engine_is_described() {
    let made = Made::engine(11_807, |_, _| true);
    let library = made.open(false).unwrap();
    assert_eq!(library.version().to_string(), "1.18.7");
    assert_eq!(library.version_text(), Some("made"));
    assert_eq!(library.path(), made.path());
    assert!(library.missing().is_empty());
}

#[test]
fn what_calls_are_bound_to_is_read_from_the_library() {
    let made = Made::engine(11_807, |_, _| true);
    let library = made.open(false).unwrap();
    let malloc = library.bound_to("malloc").unwrap();
    assert_eq!(Some(malloc), library.resolve("malloc"));
    assert!(!is_of_this_program(malloc));
    let here = what_calls_are_bound_to_is_read_from_the_library as *const () as usize;
    assert!(is_of_this_program(here));
    let own = library.resolve("dqlite_version_number").unwrap();
    assert!(library.extent().contains(&own));
    assert!(!library.extent().contains(&malloc) && !library.extent().contains(&here));
    assert_eq!(library.bound_to("no_such_function"), None);
    assert_eq!(library.resolve("no_such_function"), None);
}
