//! A node whose engine dies says what it was at.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dqlite::control::{FromNode, State};
use dqlite::{CrashReport, Event, Node};
use dqlite_proto::{Params, Request, ResponseKind, ValueRef};
use dqlite_testkit::raw::{Raw, query};
use dqlite_testkit::{engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(30);
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
