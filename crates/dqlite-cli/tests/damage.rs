//! Real nodes on damaged data: refused, or recovered with a report, and never silently emptied.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::control::{FromNode, Stage};
use dqlite::{Config, Event, Node, NodeBuilder, NodeError};
use dqlite_client::cluster::blocking::Admin;
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{Cluster, engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_mins(1);

fn connect(address: &str) -> Connection {
    let mut config = Config::parse(address).unwrap().with_database("app");
    config.connect_timeout = PATIENCE;
    Connection::open(&config).unwrap()
}

fn fill(connection: &mut Connection, rows: i64) {
    let sql = "CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY AUTOINCREMENT)";
    connection.execute(sql, ()).unwrap();
    for _ in 0..rows {
        let sql = "INSERT INTO numbers DEFAULT VALUES";
        connection.execute(sql, ()).unwrap();
    }
}

fn count(connection: &mut Connection) -> i64 {
    let row = connection.query_one("SELECT count(*) FROM numbers", ());
    row.and_then(|row| row.get(0)).unwrap()
}

/// Names of the engine's files, by a part of the name.
fn files(directory: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(part))
        .collect();
    found.sort();
    found
}

/// Closed segments, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = files(directory, "-0000");
    found.retain(|path| !path.to_string_lossy().contains("corrupt"));
    found
}

fn flip(path: &Path, from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Everything that must not change when a start is refused.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let engine = ["metadata", "snapshot", "-0000", "open-", ".yaml"];
    let all = engine.iter().flat_map(|part| files(directory, part));
    all.map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// One lone node with three segments and forty rows, stopped.
struct Lone {
    directory: TempDir,
    node: Node,
}

impl Lone {
    fn make(options: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let builder = Node::builder(ports::free_address().unwrap(), directory.path().join("n"))
            .executable(EXECUTABLE)
            .engine(engine())
            .restart(false);
        let node = options(builder).build().unwrap();
        let lone = Self { directory, node };
        for _ in 0..2 {
            lone.node.start().unwrap();
            fill(&mut connect(lone.node.address()), 20);
            lone.node.stop().unwrap();
        }
        lone
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("n")
    }

    /// A refused start, which changes nothing; its words.
    fn refused(&self) -> String {
        let before = contents(&self.path());
        let error = self.node.start().unwrap_err();
        let after = contents(&self.path());
        let changed = before
            .iter()
            .find(|(path, bytes)| after.get(*path) != Some(bytes));
        let changed = changed.map(|(path, _)| path);
        assert!(changed.is_none(), "{changed:?}: {error}");
        text(&error, Stage::DataDir)
    }

    fn count(&self) -> i64 {
        count(&mut connect(self.node.address()))
    }
}

fn text(error: &NodeError, wanted: Stage) -> String {
    let NodeError::Start { stage, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*stage, wanted, "{error}");
    error.to_string()
}

/// The sentence of the first warning of this name.
fn warning(events: &Receiver<Event>, wanted: &str) -> String {
    await_that(wanted, || {
        for event in events.try_iter() {
            if let Event::Control(FromNode::Warn { code, text, .. }) = event
                && code == wanted
            {
                return Ok(text);
            }
        }
        Err(())
    })
    .unwrap()
}

#[test]
fn metadata_that_is_gone_is_not_made_up() {
    let lone = Lone::make(|builder| builder);
    let saved: Vec<_> = files(&lone.path(), "metadata")
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    for (path, bytes) in &saved {
        fs::write(path, &bytes[..20]).unwrap();
    }
    let said = lone.refused();
    assert!(said.contains("metadata1 and metadata2: cut off"), "{said}");
    assert!(said.contains("restore it from a backup"), "{said}");
    for (path, _) in &saved {
        fs::remove_file(path).unwrap();
    }
    let said = lone.refused();
    assert!(said.contains("missing, although there is a log"), "{said}");
    for (path, bytes) in &saved {
        fs::write(path, bytes).unwrap();
    }
    lone.node.start().unwrap();
    assert_eq!(lone.count(), 40);
}

#[test]
fn a_lone_voter_goes_on_with_a_report() {
    let lone = Lone::make(|builder| builder);
    let last = segments(&lone.path()).pop().unwrap();
    flip(&last, 20);
    let events = lone.node.events();
    lone.node.start().unwrap();
    let said = warning(&events, "data_put_aside");
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("entries"), "{said}");
    assert_eq!(files(&lone.path(), "corrupt-").len(), 1);
    let left = lone.count();
    assert!((20..40).contains(&left), "{left} rows");
    println!("{left} of 40 rows left: {said}");
}

#[test]
fn a_hole_in_the_log_is_refused_and_named() {
    let lone = Lone::make(|builder| builder);
    let all = segments(&lone.path());
    let middle = &all[all.len() - 2];
    let saved = fs::read(middle).unwrap();
    let name = middle.file_name().unwrap().to_str().unwrap();
    flip(middle, 20);
    let said = lone.refused();
    assert!(said.contains(name) && said.contains("wrong sum"), "{said}");
    fs::remove_file(middle).unwrap();
    let said = lone.refused();
    assert!(said.contains("begins with entry"), "{said}");
    fs::write(middle, saved).unwrap();
    lone.node.start().unwrap();
    assert_eq!(lone.count(), 40);
}

#[test]
fn auto_recovery_can_be_switched_off() {
    let lone = Lone::make(|builder| builder.option("auto_recovery", false));
    let last = segments(&lone.path()).pop().unwrap();
    flip(&last, 20);
    let said = lone.refused();
    assert!(said.contains("wrong sum"), "{said}");
}

#[test]
fn damaged_snapshots_are_refused() {
    let few = |builder: NodeBuilder| {
        let builder = builder.option("snapshot_threshold", 8);
        builder.option("snapshot_trailing", 8)
    };
    let lone = Lone::make(few);
    let metas = files(&lone.path(), ".meta");
    assert!(!metas.is_empty(), "no snapshot was made");
    for meta in &metas {
        let saved = fs::read(meta).unwrap();
        flip(meta, 12);
        if meta == metas.last().unwrap() {
            let said = lone.refused();
            assert!(said.contains("wrong sum"), "{said}");
        }
        fs::write(meta, saved).unwrap();
    }
    let data = metas.last().unwrap().with_extension("");
    let saved = fs::read(&data).unwrap();
    fs::write(&data, &saved[..saved.len() / 2]).unwrap();
    let said = lone.refused();
    println!("{said}");
    fs::write(&data, saved).unwrap();
    lone.node.start().unwrap();
    assert_eq!(lone.count(), 40);
}

#[test]
fn snapshots_that_are_half_gone_are_refused() {
    let few = |builder: NodeBuilder| {
        let builder = builder.option("snapshot_threshold", 8);
        builder.option("snapshot_trailing", 8)
    };
    let lone = Lone::make(few);
    let all = files(&lone.path(), "snapshot-");
    let saved: Vec<_> = all.iter().map(|path| fs::read(path).unwrap()).collect();
    for meta in [true, false] {
        for path in &all {
            if path.extension().is_some() == meta {
                fs::remove_file(path).unwrap();
            }
        }
        let said = lone.refused();
        assert!(said.contains("is missing, and the log"), "{said}");
        for (path, bytes) in all.iter().zip(&saved) {
            fs::write(path, bytes).unwrap();
        }
    }
    for path in &all {
        fs::remove_file(path).unwrap();
    }
    let said = lone.refused();
    assert!(said.contains("first index should have been 1"), "{said}");
    for (path, bytes) in all.iter().zip(&saved) {
        fs::write(path, bytes).unwrap();
    }
    lone.node.start().unwrap();
    assert_eq!(lone.count(), 40);
}

/// Kills a node and flips a bit in its segment that is open, at a place given by the last one used.
fn kill_and_flip(node: &Node, directory: &Path, place: impl Fn(usize) -> usize) -> PathBuf {
    let pid = Pid::from_raw(i32::try_from(node.pid().unwrap()).unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    await_that("the node is gone", || {
        (!node.is_running()).then_some(()).ok_or(())
    })
    .unwrap();
    let open = files(directory, "open-").into_iter().find(|path| {
        let used = fs::read(path).unwrap();
        let last = used.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if last > 0 {
            flip(path, used.len() - place(last));
        }
        last > 0
    });
    open.unwrap()
}

/// One that was killed with twenty rows more in a segment that is open, in whose middle a bit is
/// wrong.
fn killed(options: impl Fn(NodeBuilder) -> NodeBuilder) -> (Lone, PathBuf) {
    let lone = Lone::make(options);
    lone.node.start().unwrap();
    fill(&mut connect(lone.node.address()), 20);
    let open = kill_and_flip(&lone.node, &lone.path(), |last| last / 2);
    (lone, open)
}

#[test]
fn what_a_flipped_bit_cuts_off_an_open_segment_is_kept_and_reported() {
    let (lone, open) = killed(|builder| builder);
    let before = fs::read(&open).unwrap();
    let events = lone.node.events();
    lone.node.start().unwrap();
    let said = warning(&events, "data_put_aside");
    assert!(said.contains("the latest entries"), "{said}");
    let kept = files(&lone.path(), "corrupt-");
    assert_eq!(kept.len(), 1);
    assert!(fs::read(&kept[0]).unwrap() == before);
    let left = lone.count();
    assert!((40..60).contains(&left), "{left} rows");
    println!("{left} of 60 rows left: {said}");
}

#[test]
fn a_flipped_bit_in_an_open_segment_is_refused_where_nothing_may_be_lost() {
    let (lone, open) = killed(|builder| builder.auto_recovery(false));
    let said = lone.refused();
    let name = open.file_name().unwrap().to_str().unwrap();
    assert!(
        said.contains(name) && said.contains("whole entries follow"),
        "{said}"
    );
}

/// Three voters with forty rows; the data of one that does not lead is damaged while it is down.
fn damaged_member(options: impl Fn(NodeBuilder) -> NodeBuilder) -> (Cluster, usize, PathBuf) {
    let cluster = Cluster::start_with(Path::new(EXECUTABLE), 3, options).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    fill(&mut connect(&cluster.addresses().join(",")), 40);
    cluster.wait_until_caught_up("app").unwrap();
    let victim = (leader + 1) % 3;
    cluster.stop_node(victim).unwrap();
    let directory = cluster.directory().join(format!("n{victim}"));
    flip(&segments(&directory).pop().unwrap(), 20);
    (cluster, victim, directory)
}

#[test]
fn a_member_joins_again_with_a_fresh_id() {
    let (cluster, victim, directory) = damaged_member(|builder| builder);
    let node = cluster.node(victim);
    let (events, before) = (node.events(), node.id());
    cluster.start_node(victim).unwrap();
    let said = warning(&events, "data_damaged");
    assert!(said.contains("wrong sum"), "{said}");
    cluster.wait_for_voters(3).unwrap();
    cluster.wait_until_caught_up("app").unwrap();
    assert_ne!(node.id(), before);
    assert_eq!(count(&mut connect(node.address())), 40);
    let aside = files(cluster.directory(), ".damaged-");
    assert_eq!(aside.len(), 1);
    assert!(!segments(&aside[0]).is_empty());
    assert!(files(&directory, "corrupt-").is_empty());
}

/// A follower of three is killed while its segment is open, a bit in it flips, and the others go
/// on; gives what it said when it was started again, and how many members have its old id.
fn flipped_follower(place: impl Fn(usize) -> usize) -> (Option<String>, bool) {
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let mut client = connect(&cluster.addresses().join(","));
    fill(&mut client, 40);
    cluster.wait_until_caught_up("app").unwrap();
    let victim = (leader + 1) % 3;
    let (node, before) = (cluster.node(victim), cluster.node(victim).id());
    let directory = cluster.directory().join(format!("n{victim}"));
    kill_and_flip(node, &directory, place);
    fill(&mut client, 20);
    let events = node.events();
    cluster.start_node(victim).unwrap();
    cluster.wait_for_voters(3).unwrap();
    cluster.wait_until_caught_up("app").unwrap();
    // As a leader it has every row that was acknowledged.
    let mut admin = Admin::new(&Config::parse(&cluster.addresses().join(",")).unwrap());
    await_that("the damaged one leads", || {
        // Somebody else may lead, or be elected meanwhile.
        let moved = admin.transfer(Some(node.id()));
        match cluster.wait_for_leader().unwrap() {
            leads if leads == victim => Ok(()),
            leads => Err((leads, moved)),
        }
    })
    .unwrap();
    assert_eq!(count(&mut connect(node.address())), 60);
    let said = events.try_iter().find_map(|event| match event {
        Event::Control(FromNode::Warn { code, text, .. }) if code == "data_damaged" => Some(text),
        _ => None,
    });
    (said, node.id() == before)
}

#[test]
fn a_follower_with_a_flipped_bit_in_an_open_segment_resynchronises() {
    // Whole entries follow: this is damage, and the node begins anew.
    let (said, same) = flipped_follower(|last| last / 2);
    let said = said.unwrap();
    assert!(said.contains("whole entries follow"), "{said}");
    assert!(!same);
}

#[test]
fn a_follower_whose_last_entry_is_torn_catches_up() {
    // Nothing follows: the same as a power cut in the middle of a write.
    let (said, same) = flipped_follower(|last| last);
    assert!(said.is_none() == same, "{said:?}");
}

#[test]
fn a_member_told_to_fail_keeps_its_data() {
    let fail = |builder: NodeBuilder| builder.option("on_damage", "fail");
    let (cluster, victim, directory) = damaged_member(fail);
    let before = contents(&directory);
    let error = cluster.node(victim).start().unwrap_err();
    let said = text(&error, Stage::DataDir);
    assert!(
        said.contains("on_damage") && said.contains("wrong sum"),
        "{said}"
    );
    assert_eq!(contents(&directory), before);
    assert!(files(cluster.directory(), ".damaged-").is_empty());
}

#[test]
fn a_member_without_a_leader_keeps_its_data() {
    let (cluster, victim, directory) = damaged_member(|builder| builder);
    for other in (0..3).filter(|index| *index != victim) {
        cluster.kill(other).unwrap();
    }
    let before = contents(&directory);
    let error = cluster.node(victim).start().unwrap_err();
    let said = text(&error, Stage::DataDir);
    assert!(said.contains("no other member leads"), "{said}");
    assert_eq!(contents(&directory), before);
    assert!(files(cluster.directory(), ".damaged-").is_empty());
}
