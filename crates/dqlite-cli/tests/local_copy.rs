//! Stale reads from local copies, when nodes follow, hang and are gone.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use dqlite::blocking::{Connection, LocalCopies};
use dqlite::{Address, Config, ErrorKind, Lag, LocalCopy, Role};
use dqlite_testkit::{Cluster, sqlite};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const LONG: Duration = Duration::from_secs(20);

fn config(cluster: &Cluster) -> Config {
    let config = Config::parse(&cluster.addresses().join(",")).unwrap();
    config.with_database("app").with_timeout(LONG)
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn count(copy: &LocalCopy) -> String {
    sqlite::query(copy.path(), "SELECT count(*) FROM t").unwrap()
}

fn fill(cluster: &Cluster) -> Connection {
    let mut connection = Connection::open(&config(cluster)).unwrap();
    connection.execute("CREATE TABLE t (s)", ()).unwrap();
    let sets = (0..2000).map(|n| (format!("{n}{}", " ".repeat(500)),));
    connection
        .execute_many("INSERT INTO t VALUES (?)", sets)
        .unwrap();
    connection
}

#[test]
fn copies_come_from_followers_and_outlive_the_quorum() {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 3).unwrap();
    let connection = fill(&cluster);
    cluster.wait_until_caught_up("app").unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A program that has never seen the leader.
    let copies = LocalCopies::new(&config(&cluster), folder.path());
    let copy = copies.refresh().unwrap();
    assert_eq!(count(&copy), "2000");
    let stamp = copy.stamp();
    assert_eq!(stamp.role, Some(Role::Voter));
    assert_eq!(stamp.lag, Lag::Followed(connection.address().to_owned()));
    assert_ne!(stamp.address, connection.address());
    assert_eq!(fs::metadata(copy.path()).unwrap().len(), stamp.bytes);
    let words = stamp.to_string();
    assert!(
        words.starts_with("a copy of app from 127.0.0.1:"),
        "{words}"
    );

    // Two of three are gone: nobody leads, and the third is still read.
    let leader = cluster.wait_for_leader().unwrap();
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    cluster.kill(leader).unwrap();
    cluster.kill(others[0]).unwrap();
    let copy = copies.refresh().unwrap();
    assert_eq!(count(&copy), "2000");
    assert_eq!(copy.stamp().address, cluster.address(others[1]));
    cluster.kill(others[1]).unwrap();
    let error = copies.refresh().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    for address in cluster.addresses() {
        let line = format!("connect to {address}: connection refused");
        assert!(error.to_string().contains(&line), "{error}");
    }
    // What was copied last is still there.
    assert_eq!(count(&copies.latest().unwrap()), "2000");
    assert_eq!(
        copies.no_older_than(LONG * 1000).unwrap().path(),
        copy.path()
    );
}

#[test]
fn a_node_may_be_chosen_and_a_frozen_one_is_passed_over() {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 3).unwrap();
    let connection = fill(&cluster);
    cluster.wait_until_caught_up("app").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let leader = Address::parse(connection.address()).unwrap();
    let copies = LocalCopies::new(&config(&cluster), folder.path());
    let copy = copies.clone().from_node(leader.clone()).refresh().unwrap();
    assert_eq!(
        (&copy.stamp().lag, count(&copy).as_str()),
        (&Lag::Led, "2000")
    );
    assert!(copies.latest().is_none(), "one node's copies are its own");

    let frozen = (0..3).find(|index| cluster.address(*index) != leader.as_str());
    let frozen = frozen.unwrap();
    cluster.pause(frozen).unwrap();
    for _ in 0..3 {
        let copy = copies.refresh().unwrap();
        assert_ne!(copy.stamp().address, cluster.address(frozen));
    }
    let only = Address::parse(&cluster.address(frozen)).unwrap();
    let error = copies.clone().from_node(only).refresh().unwrap_err();
    assert!(error.to_string().contains("no answer in time"), "{error}");
    cluster.resume(frozen).unwrap();
}

#[test]
fn callers_share_a_copy_and_leave_nothing_behind() {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 1).unwrap();
    let _connection = fill(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let copies = dqlite::LocalCopies::new(&config(&cluster), folder.path());
        let many = (0..20).map(|_| {
            let copies = copies.clone();
            tokio::spawn(async move { copies.no_older_than(LONG).await.unwrap() })
        });
        let mut paths = Vec::new();
        for task in many.collect::<Vec<_>>() {
            paths.push(task.await.unwrap().path().to_owned());
        }
        paths.dedup();
        assert_eq!(paths.len(), 1, "one copy served all");
        // Given up at any moment, nothing stays.
        for step in 0..20 {
            let time = Duration::from_micros(step * 200);
            let _ = tokio::time::timeout(time, copies.refresh()).await;
        }
        let kept = copies.refresh().await.unwrap();
        assert_eq!(count(&kept), "2000");
    });
    // The threads of what was given up have ended.
    drop(runtime);
    assert_eq!(files(folder.path()), 0);
    let nowhere = LocalCopies::new(&config(&cluster), "/nonexistent");
    let error = nowhere.refresh().unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot keep a local copy in /nonexistent: no such file"
    );
}
