//! A node never outlives the application that started it, however that ends.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and report what they measured, too"
)]

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dqlite::Node;
use dqlite_testkit::{engine, ports};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
/// Set in a process of this test that plays the application.
const ROLE: &str = "ORPHAN_TEST_APPLICATION";
const DIRECTORY: &str = "ORPHAN_TEST_DIRECTORY";
const LIMIT: Duration = Duration::from_secs(5);

/// Starts a copy of this test as the application, which keeps its nodes in `dir`; gives it and
/// the pids of the nodes.
fn application(test: &str, end: &str, dir: &TempDir) -> (Child, Vec<u32>) {
    let mut command = Command::new(env::current_exe().unwrap());
    let command = command.args(["--exact", test, "--nocapture"]);
    let command = command.env(ROLE, end).env(DIRECTORY, dir.path());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pids = lines.map(Result::unwrap).find_map(|line| {
        let pids = line.split_once("nodes:")?.1.to_owned();
        Some(
            pids.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect(),
        )
    });
    (child, pids.unwrap())
}

/// The application: two nodes, and then the end that was asked for.
fn play(end: &str) -> ! {
    let dir = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    let nodes: Vec<Node> = ["a", "b"]
        .iter()
        .map(|name| {
            let address = ports::free_address().unwrap();
            let node = Node::builder(address, dir.join(name)).executable(EXECUTABLE);
            node.engine(engine()).start().unwrap()
        })
        .collect();
    let pids: Vec<String> = nodes
        .iter()
        .map(|node| node.pid().unwrap().to_string())
        .collect();
    println!("nodes: {}", pids.join(" "));
    std::io::stdout().flush().unwrap();
    // The test says when: by a line, or by a signal.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    match end {
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        other => panic!("cannot end by {other}"),
    }
}

fn assert_gone(pids: &[u32], since: Instant) {
    let mut alive = pids.to_vec();
    while !alive.is_empty() {
        alive.retain(|pid| is_alive(*pid));
        assert!(since.elapsed() < LIMIT, "alive after {LIMIT:?}: {alive:?}");
        std::thread::yield_now();
    }
    println!("gone after {:?}", since.elapsed());
}

/// A zombie whose new parent has not looked yet does nothing any more.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest.trim_start());
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

#[test]
fn a_killed_application_leaves_no_node() {
    if let Ok(end) = env::var(ROLE) {
        play(&end);
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut application, pids) =
        application("a_killed_application_leaves_no_node", "sigkill", &dir);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let begun = Instant::now();
    application.kill().unwrap();
    application.wait().unwrap();
    assert_gone(&pids, begun);
}

#[test]
fn an_application_that_aborts_leaves_no_node() {
    if let Ok(end) = env::var(ROLE) {
        play(&end);
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut application, pids) =
        application("an_application_that_aborts_leaves_no_node", "abort", &dir);
    let begun = Instant::now();
    application.stdin.take().unwrap().write_all(b"\n").unwrap();
    application.wait().unwrap();
    assert_gone(&pids, begun);
}

#[test]
fn an_application_that_exits_without_a_stop_leaves_no_node() {
    if let Ok(end) = env::var(ROLE) {
        play(&end);
    }
    let test = "an_application_that_exits_without_a_stop_leaves_no_node";
    let dir = tempfile::tempdir().unwrap();
    let (mut application, pids) = application(test, "exit", &dir);
    let begun = Instant::now();
    application.stdin.take().unwrap().write_all(b"\n").unwrap();
    application.wait().unwrap();
    assert_gone(&pids, begun);
}
