//! `dqlite wire decode`, run as its user would run it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dqlite_proto::{Columns, Request, Response, RowsFrame, ValueRef};

const REQUESTS: &str = "       0  handshake version=1
       8  LEADER
      24  OPEN name=\"app\"
";

fn requests() -> Vec<u8> {
    let mut capture = 1_u64.to_le_bytes().to_vec();
    for request in [Request::Leader, Request::open("app")] {
        request.encode(0, &mut capture).unwrap();
    }
    capture
}

/// As many replies as do not fit into a pipe when they are written out.
fn many_replies() -> Vec<u8> {
    let columns = Columns::new(&["id"]).into();
    let frame = RowsFrame::build(columns, &[vec![ValueRef::Integer(7)]], true);
    let mut capture = Vec::new();
    for _ in 0..10_000 {
        Response::Rows(frame.clone()).encode(&mut capture);
    }
    capture
}

fn saved(directory: &tempfile::TempDir, capture: &[u8]) -> PathBuf {
    let path = directory.path().join("capture");
    fs::write(&path, capture).unwrap();
    path
}

fn decode(capture: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dqlite"));
    command.args(["wire", "decode"]).arg(capture).args(options);
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_file_is_written_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&directory, &requests());
    assert_eq!(text(&decode(&path, &[]).output().unwrap()), REQUESTS);
}

#[test]
fn a_dash_reads_stdin() {
    let mut child = decode(Path::new("-"), &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&requests()).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap()), REQUESTS);
}

#[test]
fn the_direction_can_be_told() {
    let directory = tempfile::tempdir().unwrap();
    // Not from the first byte of the connection: without the handshake.
    let path = saved(&directory, &requests()[8..24]);
    let run = |direction| text(&decode(&path, &["--direction", direction]).output().unwrap());
    assert_eq!(run("requests"), "       0  LEADER\n");
    // The same type number is that of FAILURE among the replies, and that needs a text.
    assert!(run("replies").starts_with("       0  FAILURE malformed: "));
    assert_eq!(run("auto"), run("requests"));

    let wrong = decode(&path, &["--direction", "up"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn rows_are_written_out_as_far_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (1..=3).map(|id| vec![ValueRef::Integer(id)]).collect();
    let mut capture = Vec::new();
    let frame = RowsFrame::build(Columns::new(&["id"]).into(), &rows, true);
    Response::Rows(frame).encode(&mut capture);
    let path = saved(&directory, &capture);
    assert_eq!(
        text(&decode(&path, &["--rows", "2"]).output().unwrap()),
        "       0  ROWS columns=[\"id\"] rows=3 DONE
            1
            2
            and 1 more
"
    );
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nothing");
    let output = decode(&path, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    let start = format!("dqlite: read the capture {}: ", path.display());
    assert!(error.starts_with(&start), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&directory, &many_replies());
    let mut child = decode(&path, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    // The reader is dropped here, and the pipe with it, while there is more to write.
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert_eq!(first, "       0  ROWS columns=[\"id\"] rows=1 DONE\n");
    assert_eq!(text(&child.wait_with_output().unwrap()), "");
}
