//! What can be asked of, and changed on, a node that runs.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::control::{FromNode, State};
use dqlite::{Changes, Event, Node, NodeError};
use dqlite_testkit::{Cluster, engine, ports};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde_json::Value;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(40);
const SLOW: &str = "WITH RECURSIVE n(i) AS \
                    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) \
                    SELECT count(*) FROM n";

fn node(directory: &TempDir) -> Node {
    let address = ports::free_address().unwrap();
    let builder = Node::builder(address, directory.path().join("n"));
    let builder = builder.executable(EXECUTABLE).engine(engine());
    builder.restart(false).build().unwrap()
}

/// The next line of the log that holds `word`, and whether one with `other` came before it.
fn line(events: &Receiver<Event>, word: &str, other: &str) -> (String, bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Log(line)) if line.contains(word) => return (line, seen),
            Ok(Event::Log(line)) => seen |= line.contains(other),
            Ok(_) => {}
            Err(error) => panic!("no {word:?} in the log: {error}"),
        }
    }
}

fn set(node: &Node, changes: &Changes) -> Result<(), NodeError> {
    node.set(changes, PATIENCE)
}

#[test]
fn statements_are_logged_as_it_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    node.start().unwrap();
    let events = node.events();
    let mut connection = node.connect_blocking("app").unwrap();
    connection.execute("CREATE TABLE secrets (a)", ()).unwrap();
    set(
        &node,
        &Changes {
            trace_sql: Some("info".into()),
            ..Changes::default()
        },
    )
    .unwrap();
    let sql = "INSERT INTO secrets VALUES (?)";
    connection.execute(sql, ("hush-hush",)).unwrap();
    let (traced, untraced) = line(&events, "INSERT INTO secrets", "CREATE TABLE");
    assert!(!untraced, "traced before it was asked for");
    assert!(
        traced.contains("INFO") && traced.contains("ms in app: "),
        "{traced}"
    );
    assert!(!traced.contains("hush"), "{traced}");

    set(
        &node,
        &Changes {
            trace_sql: Some("off".into()),
            slow_statement_ms: Some(1),
            ..Changes::default()
        },
    )
    .unwrap();
    let count: i64 = connection.query_one(SLOW, ()).unwrap().get(0).unwrap();
    assert_eq!(count, 400_000);
    let (slow, traced) = line(&events, "WITH RECURSIVE", "statement: ");
    assert!(
        slow.contains("WARN") && slow.contains("statement_slow: "),
        "{slow}"
    );
    assert!(!traced, "traced although it is off");
    node.stop().unwrap();
}

#[test]
fn a_change_is_refused_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    node.start().unwrap();
    let wrong = [
        (
            "log_level",
            Changes {
                log_level: Some("loud".into()),
                ..Changes::default()
            },
        ),
        (
            "trace_sql",
            Changes {
                trace_sql: Some("on".into()),
                ..Changes::default()
            },
        ),
        (
            "slow_statement_ms",
            Changes {
                slow_statement_ms: Some(1 << 40),
                trace_sql: Some("info".into()),
                ..Changes::default()
            },
        ),
        (
            "leader_probe_limit",
            Changes {
                leader_probe_limit: Some(0),
                ..Changes::default()
            },
        ),
        (
            "leader_probe_limit",
            Changes {
                leader_probe_limit: Some(257),
                ..Changes::default()
            },
        ),
    ];
    for (name, changes) in wrong {
        match set(&node, &changes) {
            Err(NodeError::Refused { code, text, .. }) => {
                assert_eq!(code, "bad_option");
                assert!(text.contains(name), "{text}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    set(
        &node,
        &Changes {
            leader_probe_limit: Some(256),
            ..Changes::default()
        },
    )
    .unwrap();
    let settings = &node.status(PATIENCE).unwrap()["settings"];
    assert_eq!(settings["leader_probe_limit"], 256);
    assert_eq!(settings["trace_sql"], "off");
    assert_eq!(settings["slow_statement_ms"], 0);
}

#[test]
fn the_status_tells_engine_places_databases_and_members() {
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    let leader = cluster.node(cluster.wait_for_leader().unwrap());
    let mut connection = leader.connect_blocking("app").unwrap();
    connection.execute("CREATE TABLE t (a)", ()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let leader = cluster.node(cluster.wait_for_leader().unwrap());
        let status = leader.status(PATIENCE).unwrap();
        let members = status["members"].as_array().unwrap();
        let online = |member: &Value| member["online"] == true;
        if members.len() == 3 && members.iter().all(online) {
            break status;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        status["engine"]["version"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
    assert!(
        status["engine"]["path"]
            .as_str()
            .unwrap()
            .contains("libdqlite")
    );
    assert_eq!(status["node"]["bind"], status["node"]["address"]);
    assert_eq!(status["tls"], Value::Null);
    for member in status["members"].as_array().unwrap() {
        assert!(
            member["last_contact_s"].as_f64().unwrap() < 60.0,
            "{member}"
        );
        assert_eq!(member["weight"], 0);
        assert_eq!(member["failure_domain"], "0");
    }
    let databases = status["databases"].as_array().unwrap();
    let app = databases.iter().find(|database| database["name"] == "app");
    println!("{databases:?}");
    if leader.is_leader() {
        let size = app.unwrap()["size_bytes"].as_u64().unwrap();
        assert!(size >= 8192 && size.is_multiple_of(4096), "{size}");
    }
}

/// Names that no engine survives must not reach it from a status either.
#[test]
fn the_status_opens_nothing_that_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    node.start().unwrap();
    for name in [":memory:", "file:x?mode=memory"] {
        let opened = node.connect_blocking(name).map(drop);
        println!("{name}: {:?}", opened.map_err(|error| error.to_string()));
    }
    let status = node.status(PATIENCE).unwrap();
    assert_eq!(status["databases"], serde_json::json!([]));
    assert_eq!(node.restarts(), 0);
    assert_eq!(node.status(PATIENCE).unwrap()["node"]["state"], "ready");
}

#[test]
fn every_event_comes_to_a_function() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let (told, heard) = std::sync::mpsc::channel();
    node.on_event(move |event| {
        if let Event::Control(FromNode::State { to, .. }) = event {
            // The test may be over.
            let _ = told.send(*to);
            assert_ne!(*to, State::Starting, "a panic here harms nobody");
        }
    });
    node.start().unwrap();
    node.wait_ready(PATIENCE).unwrap();
    node.stop().unwrap();
    let mut states = Vec::new();
    while states.last() != Some(&State::Stopped) {
        states.push(heard.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(states.first(), Some(&State::Starting));
    assert!(states.contains(&State::Ready), "{states:?}");
}

#[test]
fn a_child_starts_with_no_signal_blocked() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let status = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            // Of this thread only; the supervisor inherits it.
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).unwrap();
            node.start().unwrap();
            std::fs::read_to_string(format!("/proc/{}/status", node.pid().unwrap())).unwrap()
        });
        started.join().unwrap()
    });
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0, "{status}");
    let terminate = 1 << (Signal::SIGTERM as u64 - 1);
    assert_eq!(mask("SigIgn:") & terminate, 0, "{status}");
    assert_ne!(mask("SigCgt:") & terminate, 0, "{status}");
    node.stop().unwrap();
}

#[test]
fn what_is_no_dqlite_executable_is_named_as_such() {
    let directory = tempfile::tempdir().unwrap();
    for (program, words) in [
        ("/bin/true", "/bin/true is not a dqlite executable"),
        ("/bin/false", "/bin/false is not a dqlite executable"),
        ("/bin/ls", "/bin/ls is not a dqlite executable"),
        ("/bin/sh", "/bin/sh is not a dqlite executable"),
        ("/usr/bin/yes", "/usr/bin/yes"),
    ] {
        let address = ports::free_address().unwrap();
        let builder = Node::builder(address, directory.path().join("n")).executable(program);
        let node = builder
            .start_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let error = node.start().unwrap_err();
        assert!(matches!(error, NodeError::Launch { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{program}: {error}");
        assert!(!node.is_running());
        assert_eq!(node.pid(), None);
    }
}

#[test]
fn one_that_left_ends_with_a_status_of_its_own_and_does_not_start_again() {
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    let leaver = cluster.node(2);
    let events = leaver.events();
    leaver.leave(PATIENCE).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let why = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Event::Control(FromNode::State {
            to: State::Stopped,
            why,
            ..
        }) = events.recv_timeout(left).unwrap()
        {
            break why;
        }
    };
    assert_eq!(why, "exit status 16");
    assert!(
        leaver
            .start()
            .unwrap_err()
            .to_string()
            .contains("no longer a member")
    );
    assert_eq!(leaver.state(), State::Removed);
}

#[test]
fn a_url_leads_to_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    node.start().unwrap();
    assert_eq!(node.url(), format!("dqlite://{}", node.address()));
    let config = dqlite::Config::parse(&node.url())
        .unwrap()
        .with_database("app");
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (a)", ()).unwrap();
}
