//! A node whose engine dies says what it was at.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::control::{FromNode, State};
use dqlite::{Config, CrashReport, ErrorKind, Event, Node};
use dqlite_proto::outcome::Retry;
use dqlite_proto::{Code, Params, Request, ResponseKind, ValueRef};
use dqlite_testkit::raw::{Raw, query};
use dqlite_testkit::{engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);
const ENDLESS: &str = "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s) \
                       SELECT count(*) FROM s WHERE x <> ? /* and so on, and so on, and so on */";

fn shoot(node: &Node, events: &Receiver<Event>) -> CrashReport {
    let pid = i32::try_from(node.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGABRT).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut report = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left).unwrap() {
            Event::Crashed(crash) => report = Some(crash),
            Event::Control(FromNode::State {
                to: State::Ready, ..
            }) => {
                return report.unwrap();
            }
            _ => {}
        }
    }
}

fn kinds(report: &CrashReport) -> Vec<String> {
    let listed = report.suspects.listed.iter();
    listed.map(|suspect| suspect.kind.to_string()).collect()
}

#[test]
fn the_statements_in_flight_are_reported_without_their_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let address = ports::free_address().unwrap();
    let node = Node::builder(address.clone(), directory.path())
        .executable(EXECUTABLE)
        .engine(engine())
        .start()
        .unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let events = node.events();
    let mut secret = Params::new();
    secret.push(ValueRef::Text(b"secret")).unwrap();
    let params = secret.as_ref();

    // One that is prepared, and one behind it that has not begun.
    let mut first = Raw::open(&address, "test").unwrap();
    first.run("CREATE TABLE t(v)").unwrap();
    let prepared = first.ask(&Request::Prepare { sql: ENDLESS }).unwrap();
    assert_eq!(prepared.kind(), ResponseKind::STMT);
    let endless = Request::Query {
        statement: 0,
        params,
    };
    first
        .send(&[Request::Leader, endless, query("SELECT 'later'")])
        .unwrap();
    assert_eq!(first.reply().unwrap().kind(), ResponseKind::SERVER);
    // One that is not, and an idle connection that ran something before.
    let mut second = Raw::open(&address, "test").unwrap();
    let endless = Request::QuerySql {
        sql: ENDLESS,
        params,
    };
    second.send(&[Request::Leader, endless]).unwrap();
    assert_eq!(second.reply().unwrap().kind(), ResponseKind::SERVER);
    let mut idle = Raw::open(&address, "test").unwrap();
    idle.run("INSERT INTO t VALUES ('idle')").unwrap();

    let report = shoot(&node, &events);
    assert_eq!(report.ending, "killed by SIGABRT");
    assert_eq!(kinds(&report), ["QUERY", "QUERY_SQL"], "{report}");
    let [first, second] = &report.suspects.listed[..] else {
        panic!("{report}");
    };
    assert_eq!(first.text, ENDLESS[..120]);
    assert_eq!(first.bytes as usize, ENDLESS.len());
    assert_eq!(first.hash, second.hash);
    assert!(!format!("{report:?}").contains("secret"), "{report:?}");
    assert_eq!(node.last_crash().unwrap(), report);

    // The next process notes anew.
    Raw::open(&address, "test").unwrap().run("SELECT 1").ok();
    let report = shoot(&node, &events);
    assert_eq!(report.to_string(), "killed by SIGABRT");
    node.stop().unwrap();
}

/// A client that writes as fast as it can, through one connection after the other.
fn write(config: &Config, ends: &AtomicBool, written: &AtomicU64, lost: &AtomicU64) {
    let mut connection = None;
    while !ends.load(Ordering::Relaxed) {
        let open = connection
            .take()
            .map_or_else(|| Connection::open(config), Ok);
        let done = open.and_then(|mut open| {
            open.execute("INSERT INTO t VALUES (1)", ())?;
            Ok(open)
        });
        match done {
            Ok(open) => {
                connection = Some(open);
                written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                // Nothing else than what a program can tell and act on. Writers of a busy disk, or
                // of a checkpoint, are asked to come again.
                let known = [ErrorKind::Lost, ErrorKind::NoLeader];
                let is_busy = error.code() == Some(Code::BUSY) && error.retry() == Retry::Here;
                assert!(is_busy || known.contains(&error.kind()), "{error:?}");
                let is_loss = error.kind() == ErrorKind::Lost;
                lost.fetch_add(u64::from(is_loss), Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn clients_under_load_hear_of_a_loss_once_and_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let address = ports::free_address().unwrap();
    let mut config = Config::parse(&address).unwrap().with_database("app");
    config.connect_timeout = PATIENCE;
    let node = Node::builder(address, directory.path())
        .executable(EXECUTABLE)
        .engine(engine())
        .start()
        .unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let mut client = Connection::open(&config).unwrap();
    client.execute("CREATE TABLE t(v)", ()).unwrap();
    let (ends, written, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| write(&config, &ends, &written, &lost));
        }
        for _ in 0..5 {
            // One that dies as soon as it is up would be held back.
            let up = Instant::now();
            await_more(&written, 20);
            while up.elapsed() < Duration::from_secs(1) {
                await_more(&written, 1);
            }
            let pid = i32::try_from(node.pid().unwrap()).unwrap();
            let begun = Instant::now();
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            // Answers that were on their way may come yet.
            while node.pid().and_then(|now| i32::try_from(now).ok()) == Some(pid) {
                assert!(begun.elapsed() < PATIENCE);
                std::thread::sleep(PAUSE);
            }
            await_more(&written, 1);
            times.push(begun.elapsed());
        }
        ends.store(true, Ordering::Relaxed);
    });
    times.sort_unstable();
    let (written, lost) = (written.into_inner(), lost.into_inner());
    println!("killed to SQL again: {times:?}; {written} writes, {lost} losses");
    // Each of four connections is lost with each of five processes, and perhaps one on its way.
    assert!((1..=40).contains(&lost), "{lost}");
    assert!(times[2] < Duration::from_secs(5), "{times:?}");
    let mut client = Connection::open(&config).unwrap();
    let row = client.query_one("SELECT count(*) FROM t", ()).unwrap();
    assert!(row.get::<u64>(0).unwrap() >= written);
    node.stop().unwrap();
}

fn await_more(written: &AtomicU64, more: u64) {
    let (before, begun) = (written.load(Ordering::Relaxed), Instant::now());
    while written.load(Ordering::Relaxed) < before + more {
        assert!(begun.elapsed() < PATIENCE, "nothing is written");
        std::thread::sleep(PAUSE);
    }
}
