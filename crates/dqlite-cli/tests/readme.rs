//! The program in README.md, run as its reader would run it.

use std::path::Path;
use std::process::Command;

#[test]
fn the_first_program_runs() {
    let executable = Path::new(env!("CARGO_BIN_EXE_dqlite"));
    let program = executable.with_file_name("examples").join("quickstart");
    let directory = tempfile::tempdir().expect("a directory");
    let address = dqlite_testkit::ports::free_address().expect("a port");

    let run = Command::new(&program)
        .arg(&address)
        .current_dir(&directory)
        .env("DQLITE_EXECUTABLE", executable)
        .env("DQLITE_ENGINE", dqlite_testkit::engine())
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", program.display()));

    assert_eq!(String::from_utf8_lossy(&run.stderr), "");
    assert_eq!(
        String::from_utf8_lossy(&run.stdout),
        "hello Ada, number 1\nhello Grace, number 2\n"
    );
    assert!(run.status.success(), "{}", run.status);
}
