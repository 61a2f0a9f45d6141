//! Nodes whose clocks disagree by years, and jump: none of them may care.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::{Config, Node};
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{engine, ports};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(40);
/// How far ahead the clocks are, in seconds: days, and thirty years.
const AHEAD: [u64; 3] = [0, 1_000_000, 946_000_000];

/// The executable with the clocks that only run forward so many seconds ahead of the machine's.
fn executable(directory: &Path, ahead: u64) -> PathBuf {
    let script = directory.join(format!("dqlite-{ahead}-ahead"));
    let offsets = format!("--monotonic {ahead} --boottime {ahead}");
    let text = format!("#!/bin/sh\nexec unshare -rT {offsets} {EXECUTABLE} \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Three nodes on the same data as before, the clocks of each as far ahead as `turn` says.
fn start(directory: &Path, addresses: &[String], turn: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..3)
        .map(|index| {
            let ahead = AHEAD[(index + turn) % 3];
            Node::builder(&addresses[index], directory.join(format!("n{index}")))
                .cluster(addresses)
                .executable(executable(directory, ahead))
                .engine(engine())
                .no_unix_socket()
                .build()
                .unwrap()
        })
        .collect();
    for node in &nodes {
        node.start().unwrap();
    }
    for node in &nodes {
        node.wait_ready(PATIENCE).unwrap();
    }
    nodes
}

fn connect(addresses: &[String]) -> Connection {
    let config = Config::parse(&addresses.join(",")).unwrap();
    let mut config = config.with_database("app");
    config.connect_timeout = PATIENCE;
    Connection::open(&config).unwrap()
}

#[test]
fn clocks_that_disagree_and_jump_are_no_matter() {
    let directory = tempfile::tempdir().unwrap();
    let addresses: Vec<String> = (0..3).map(|_| ports::free_address().unwrap()).collect();
    for turn in 0..3 {
        let nodes = start(directory.path(), &addresses, turn);
        let mut connection = connect(&addresses);
        let sql = "CREATE TABLE IF NOT EXISTS turns (turn INTEGER)";
        connection.execute(sql, ()).unwrap();
        let turn = i64::try_from(turn).unwrap();
        let sql = "INSERT INTO turns VALUES (?)";
        connection.execute(sql, (turn,)).unwrap();
        let row = connection.query_one("SELECT count(*) FROM turns", ());
        assert_eq!(row.unwrap().get::<i64>(0).unwrap(), turn + 1);
        await_that("three voters", || {
            let leader = nodes
                .iter()
                .find(|node| node.is_leader())
                .ok_or("no leader")?;
            let members = leader.members();
            let votes = members.iter().filter(|one| one.role == dqlite::Role::Voter);
            let votes = votes.count();
            (votes == 3).then_some(()).ok_or("no three voters")
        })
        .unwrap();
        assert!(nodes.iter().all(|node| node.restarts() == 0));
        for node in nodes {
            node.stop().unwrap();
        }
    }
}
