//! Writers that nobody lets in: the node says so and comes back; who is merely slow is no reason.
//!
//! The engine's own socket takes connections of its own process only. So this program is the
//! node's executable, too: one with a writer inside that bypasses the gateway when it is told to.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

#[path = "../src/exports.rs"]
mod exports;
#[path = "../src/log.rs"]
mod log;
#[path = "../src/node.rs"]
mod node;
#[path = "../src/orphan.rs"]
mod orphan;
#[path = "../src/report.rs"]
mod real;

/// The command line, as far as a supervisor uses it.
mod args {
    pub(crate) struct Node {
        pub(crate) engine: Option<std::path::PathBuf>,
    }
}

/// The node's own, but for the writer that begins once the node serves.
mod report {
    use dqlite::control::FromNode;
    use dqlite_node::event::Event;

    use crate::real;

    pub(crate) use crate::real::{bye, fatal, pong, refusal, status};

    pub(crate) fn line(event: Event) -> FromNode {
        if matches!(event, Event::Ready { .. }) {
            std::thread::spawn(super::hold);
        }
        real::line(event)
    }
}

use std::env;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::control::{FromNode, State};
use dqlite::{Event, Node};
use dqlite_proto::frame::HANDSHAKE;
use dqlite_proto::{Code, Header, Request, ResponseKind};
use dqlite_testkit::raw::{encode, exec};
use dqlite_testkit::{engine, ports};

const DATABASE: &str = "app";
const PATIENCE: Duration = Duration::from_secs(50);
/// A file whose removal says that the lock is held.
const HOLD: &str = "DQLITE_TEST_HOLD";
/// How long writers wait for one another.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// Longer than refusals without an explanation need for a verdict.
const LONG: Duration = Duration::from_secs(16);

const TESTS: &[(&str, fn())] = &[
    (
        "a_lock_that_no_client_holds_is_given_back",
        a_lock_that_no_client_holds_is_given_back,
    ),
    (
        "a_client_that_holds_the_lock_for_long_is_no_reason",
        a_client_that_holds_the_lock_for_long_is_no_reason,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "node") {
        // node --control stdio --engine PATH
        let engine = arguments.last().map(PathBuf::from);
        return node::run(&args::Node { engine });
    }
    let mut out = io::stdout();
    // What test runners ask of a program.
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in TESTS {
        if is("--list") && !is("--ignored") {
            writeln!(out, "{name}: test").unwrap();
        } else if !is("--list") && wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            test();
        }
    }
    ExitCode::SUCCESS
}

/// Once the file is there, takes the lock behind the gateway's back, for as long as this lasts.
fn hold() {
    let file = env::var_os(HOLD).map(PathBuf::from).unwrap();
    while !file.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let mut engine = UnixStream::connect_addr(&private()).unwrap();
    engine.write_all(&HANDSHAKE.to_le_bytes()).unwrap();
    ask(&mut engine, &Request::open(DATABASE));
    ask(&mut engine, &exec("BEGIN IMMEDIATE"));
    fs::remove_file(file).unwrap();
    loop {
        thread::park();
    }
}

fn ask(engine: &mut UnixStream, request: &Request<'_>) {
    engine.write_all(&encode(&[*request])).unwrap();
    let mut header = [0; 8];
    engine.read_exact(&mut header).unwrap();
    let header = Header::decode(header);
    let mut body = vec![0; usize::try_from(header.body_bytes()).unwrap()];
    engine.read_exact(&mut body).unwrap();
    assert_ne!(ResponseKind(header.kind), ResponseKind::FAILURE);
}

/// The socket that the engine of this process listens on: its name is the kernel's choice.
fn private() -> SocketAddr {
    let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let own: Vec<PathBuf> = fds.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let name = sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [.., flags, _, _, inode, name] = fields[..] else {
            return None;
        };
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        let listens = flags == "00010000" && own.contains(&socket);
        name.strip_prefix('@').filter(|_| listens)
    });
    SocketAddr::from_abstract_name(name.unwrap()).unwrap()
}

/// A node that runs in this program, and what it tells.
fn start(directory: &Path) -> (Node, Receiver<Event>, PathBuf) {
    let file = directory.join("hold");
    let node = Node::builder(ports::free_address().unwrap(), directory.join("data"))
        .executable(env::current_exe().unwrap())
        .engine(engine())
        .env(HOLD, file.to_str().unwrap())
        .busy_timeout(BUSY_TIMEOUT)
        .build()
        .unwrap();
    let events = node.events();
    node.start().unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let mut connection = node.connect_blocking(DATABASE).unwrap();
    connection.execute("CREATE TABLE t (a)", ()).unwrap();
    (node, events, file)
}

fn insert(connection: &mut Connection) -> Result<(), dqlite::Error> {
    connection.execute("INSERT INTO t VALUES (1)", ()).map(drop)
}

/// The next word on the control channel, if there is one.
fn heard(events: &Receiver<Event>) -> Option<FromNode> {
    loop {
        match events.try_recv() {
            Ok(Event::Control(said)) => return Some(said),
            Ok(_) => {}
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        }
    }
}

fn a_lock_that_no_client_holds_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let (node, events, file) = start(directory.path());
    let pid = node.pid();
    fs::write(&file, "").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while file.exists() {
        assert!(Instant::now() < deadline, "nobody took the lock");
        thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    let mut connection = node.connect_blocking(DATABASE).unwrap();
    let refused = insert(&mut connection).unwrap_err();
    assert_eq!(refused.code(), Some(Code::BUSY), "{refused}");
    let mut verdict = None;
    let mut why = None;
    while why.is_none() {
        assert!(Instant::now() < deadline, "verdict: {verdict:?}");
        match heard(&events) {
            Some(FromNode::Watchdog {
                verdict: name,
                evidence,
            }) => verdict = Some((name, evidence)),
            Some(FromNode::State {
                to: State::Restarting,
                why: reason,
                ..
            }) => why = Some(reason),
            Some(_) => {}
            None => thread::sleep(Duration::from_millis(10)),
        }
    }
    let (name, evidence) = verdict.unwrap();
    assert_eq!(name, "writers-stuck", "{evidence}");
    assert!(why.unwrap().contains("exit status 75"));
    eprintln!("after {:?}: {evidence}", begun.elapsed());
    node.wait_ready(PATIENCE).unwrap();
    assert_ne!(node.pid(), pid);
    let mut connection = node.connect_blocking(DATABASE).unwrap();
    insert(&mut connection).unwrap();
    let rows = connection.query("SELECT * FROM t", ()).unwrap();
    assert_eq!(rows.len(), 1);
    node.stop().unwrap();
}

fn a_client_that_holds_the_lock_for_long_is_no_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (node, events, _) = start(directory.path());
    let pid = node.pid();
    let mut holder = node.connect_blocking(DATABASE).unwrap();
    holder.execute("BEGIN IMMEDIATE", ()).unwrap();
    let mut other = node.connect_blocking(DATABASE).unwrap();
    let begun = Instant::now();
    let mut refusals = 0;
    while begun.elapsed() < LONG {
        let refused = insert(&mut other).unwrap_err();
        assert_eq!(refused.code(), Some(Code::BUSY), "{refused}");
        refusals += 1;
    }
    insert(&mut holder).unwrap();
    holder.execute("COMMIT", ()).unwrap();
    insert(&mut other).unwrap();
    while let Some(said) = heard(&events) {
        assert!(!matches!(said, FromNode::Watchdog { .. }), "{said:?}");
    }
    assert_eq!(node.pid(), pid);
    eprintln!("{refusals} refusals");
    node.stop().unwrap();
}
