//! A node whose engine is wedged ends itself, and comes back.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dqlite::control::{FromNode, State};
use dqlite::{Event, Node};
use dqlite_testkit::{Cluster, engine, ports};
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any election.
const FOR_GOOD: Duration = Duration::from_secs(2);
const DATABASE: &str = "app";

/// The first event for which `wanted` gives something.
fn await_event<T>(events: &Receiver<Event>, wanted: impl Fn(&FromNode) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Event::Control(said) = events.recv_timeout(left).unwrap()
            && let Some(found) = wanted(&said)
        {
            return found;
        }
    }
}

fn verdict(said: &FromNode) -> Option<(String, String)> {
    match said {
        FromNode::Watchdog { verdict, evidence } => Some((verdict.clone(), evidence.clone())),
        _ => None,
    }
}

/// Threads of a process that are none of ours: the engine's loop and its pool.
fn engine_threads(pid: u32) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks = tasks.map(|task| task.unwrap().path());
    let inherited = tasks.filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        !name.starts_with("dqlite") && !task.ends_with(pid.to_string())
    });
    let id = |task: std::path::PathBuf| task.file_name().unwrap().to_str().unwrap().parse();
    inherited
        .map(|task| Pid::from_raw(id(task).unwrap()))
        .collect()
}

/// Sets the soft limit of another process; gives what it was.
fn limit_descriptors(pid: u32, limit: u64) -> u64 {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    let now = rustix::process::prlimit(
        pid,
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(limit),
            maximum: Some(getrlimit(Resource::RLIMIT_NOFILE).unwrap().1),
        },
    );
    now.unwrap().current.unwrap()
}

#[test]
fn an_engine_that_does_not_answer_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder(ports::free_address().unwrap(), dir.path())
        .executable(EXECUTABLE)
        .engine(engine())
        .option("watchdog_timeout", 1.0)
        .build()
        .unwrap();
    let events = node.events();
    node.start().unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let mut connection = node.connect_blocking(DATABASE).unwrap();
    connection.execute("CREATE TABLE t (a)", ()).unwrap();
    let pid = node.pid().unwrap();
    // Frozen one by one as a debugger does it, while the rest of the process runs on.
    let frozen = engine_threads(pid);
    for thread in &frozen {
        ptrace::seize(*thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(*thread).unwrap();
    }
    let (name, evidence) = await_event(&events, verdict);
    assert_eq!(name, "mute", "{evidence}");
    // A process is gone when its debugger knows of the end of each thread.
    for thread in frozen {
        while let Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) =
            waitpid(thread, Some(WaitPidFlag::__WALL))
        {}
    }
    let why = await_event(&events, |said| match said {
        FromNode::State {
            to: State::Restarting,
            why,
            ..
        } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("exit status 75"), "{why}");
    await_event(&events, |said| {
        matches!(said, FromNode::Ready { .. }).then_some(())
    });
    assert_ne!(node.pid(), Some(pid));
    let mut connection = node.connect_blocking(DATABASE).unwrap();
    let rows = connection.query("SELECT * FROM t", ()).unwrap();
    assert_eq!(rows.len(), 0);
    node.stop().unwrap();
}

#[test]
fn a_voter_whose_raft_gave_up_starts_again() {
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let follower = (leader + 1) % 3;
    let node = cluster.node(follower);
    let events = node.events();
    let id = node.id();
    let mut connection = cluster.node(leader).connect_blocking(DATABASE).unwrap();
    connection.execute("CREATE TABLE t (a)", ()).unwrap();
    // The leader's stream is open from here on.
    cluster.wait_until_caught_up(DATABASE).unwrap();
    // The engine gets no descriptor for its next segment of the log. A node may miss its leader
    // for a moment, one whose raft gave up misses it for good.
    let usual = limit_descriptors(node.pid().unwrap(), 0);
    let deadline = Instant::now() + PATIENCE;
    let mut missed: Option<Instant> = None;
    while missed.is_none_or(|since| since.elapsed() < FOR_GOOD) {
        assert!(Instant::now() < deadline, "the engine went on");
        connection
            .execute("INSERT INTO t VALUES (randomblob(1000000))", ())
            .unwrap();
        missed = match node.leader() {
            Some(_) => None,
            None => missed.or_else(|| Some(Instant::now())),
        };
    }
    limit_descriptors(node.pid().unwrap(), usual);
    let deadline = Instant::now() + PATIENCE;
    let (name, evidence) = await_event(&events, verdict);
    assert_eq!(name, "detached", "{evidence}");
    while node.is_running() {
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
    node.start().unwrap();
    cluster.wait_for_voters(3).unwrap();
    cluster.wait_until_caught_up(DATABASE).unwrap();
    assert_eq!(node.id(), id);
}
