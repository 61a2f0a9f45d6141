//! One real node: started and stopped many times, and everything that can keep it from starting.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use dqlite::control::{FromNode, Stage, State};
use dqlite::{Event, Node, NodeBuilder, NodeError};
use dqlite_testkit::engine::unpack;
use dqlite_testkit::{ask, engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(30);
/// The many cycles end after this long, however many they were.
const CYCLES_LIMIT: Duration = Duration::from_secs(25);
const CYCLES: usize = 200;

/// Held for writing by the test that counts what this process holds, for reading by all others.
static QUIET: RwLock<()> = RwLock::new(());

fn noisy() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

fn builder(data_dir: &Path) -> NodeBuilder {
    let address = ports::free_address().unwrap();
    Node::builder(address, data_dir)
        .executable(EXECUTABLE)
        .engine(engine())
}

fn start_error(builder: NodeBuilder) -> NodeError {
    let node = builder.build().unwrap();
    let begun = Instant::now();
    let error = node.start().unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}: {error}",
        begun.elapsed()
    );
    assert!(!node.is_running());
    assert_eq!(node.pid(), None);
    error
}

#[track_caller]
fn assert_stage(error: &NodeError, wanted: Stage, words: &[&str]) {
    let NodeError::Start { stage, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*stage, wanted, "{error}");
    assert_says(error, words);
}

#[track_caller]
fn assert_says(error: &NodeError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

/// What this process holds: descriptors, threads, children.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    fds: usize,
    threads: usize,
    children: usize,
}

fn held() -> Held {
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.map(|task| {
        // A thread may end between the listing and the look.
        let list = fs::read_to_string(task.unwrap().path().join("children"));
        list.unwrap_or_default().split_whitespace().count()
    });
    Held {
        fds: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        children: children.sum(),
    }
}

#[test]
fn many_cycles_leave_nothing_behind() {
    let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).build().unwrap();
    let cycle = || {
        node.start().unwrap();
        node.wait_ready(PATIENCE).unwrap();
        let stopped = node.stop().unwrap();
        assert!(!stopped.killed, "{stopped:?}");
        stopped.took
    };
    cycle();
    let before = held();
    let begun = Instant::now();
    let mut stops = Vec::new();
    while stops.len() < CYCLES && begun.elapsed() < CYCLES_LIMIT {
        stops.push(cycle());
    }
    assert_eq!(held(), before);
    stops.sort_unstable();
    let cycles = stops.len();
    let (median, longest) = (stops[cycles / 2], stops[cycles - 1]);
    let took = begun.elapsed();
    println!("{cycles} cycles in {took:?}; a stop took {median:?} (p50), {longest:?} (max)");
    assert!(cycles >= 20, "{cycles} cycles in {took:?}");
    assert!(median < Duration::from_secs(1), "{median:?}");
}

#[test]
fn a_lone_node_is_ready_at_once_and_keeps_its_identity() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).start().unwrap();
    assert_eq!(node.state(), State::Ready);
    assert!(node.is_leader());
    assert_eq!(node.id(), 3_297_041_220_608_546_238);
    assert!(node.socket_path().unwrap().exists());
    assert_eq!(
        ask::leader(node.address()).unwrap().as_deref(),
        Some(node.address())
    );
    let status = node.status(PATIENCE).unwrap();
    assert_eq!(status["node"]["address"], node.address(), "{status}");
    assert_eq!(status["leader"]["address"], node.address(), "{status}");
    assert!(
        status["disk"]["data_dir_bytes"].as_u64().unwrap() > 0,
        "{status}"
    );
    let address = node.address().to_owned();
    node.stop().unwrap();
    node.start().unwrap();
    assert_eq!(node.id(), 3_297_041_220_608_546_238);
    assert!(ask::leader(&address).unwrap().is_some());
    let info = fs::read_to_string(dir.path().join("info.yaml")).unwrap();
    assert!(info.contains(&address), "{info}");
}

#[test]
fn a_killed_node_is_back_within_a_second() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).build().unwrap();
    let mut times = Vec::new();
    for _ in 0..5 {
        node.start().unwrap();
        times.push(time_of_a_crash(&node));
        assert_eq!(node.restarts(), 1);
        node.stop().unwrap();
    }
    times.sort_unstable();
    println!("killed to ready: {times:?}");
    assert!(times[2] < Duration::from_secs(1), "{times:?}");
}

fn time_of_a_crash(node: &Node) -> Duration {
    let events = node.events();
    let pid = i32::try_from(node.pid().unwrap()).unwrap();
    let begun = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let event = events.recv_timeout(left).unwrap();
        if matches!(event, Event::Control(FromNode::Ready { .. })) {
            return begun.elapsed();
        }
    }
}

#[test]
fn a_node_that_gets_sigterm_says_goodbye() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).start().unwrap();
    let events = node.events();
    let pid = i32::try_from(node.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Event::Control(FromNode::State {
            to: State::Stopped,
            why,
            ..
        }) = events.recv_timeout(left).unwrap()
        {
            assert_eq!(why, "exit status 0");
            break;
        }
    }
    node.stop().unwrap();
    assert_eq!(node.restarts(), 0);
}

#[test]
fn two_nodes_cannot_share_a_directory() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let first = builder(dir.path()).start().unwrap();
    let second = Node::builder(first.address(), dir.path()).executable(EXECUTABLE);
    let second = second
        .engine(engine())
        .start_timeout(Duration::from_secs(3));
    let error = start_error(second);
    let pid = first.pid().unwrap().to_string();
    assert_stage(&error, Stage::Lock, &["in use", &pid]);
    assert_eq!(first.restarts(), 0);
    assert!(ask::leader(first.address()).unwrap().is_some());
}

#[test]
fn a_taken_port_is_named() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let node = Node::builder(&address, dir.path())
        .executable(EXECUTABLE)
        .engine(engine());
    assert_stage(&start_error(node), Stage::Bind, &[&address, "in use"]);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // These fail for root, too.
    for path in [file.join("data"), file.clone(), "/proc/dqlite-test".into()] {
        let error = start_error(builder(&path));
        assert_stage(&error, Stage::DataDir, &[path.to_str().unwrap()]);
    }
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    builder(dir.path()).start().unwrap();
    let error = start_error(builder(dir.path()));
    assert_stage(&error, Stage::Identity, &["127.0.0.1:"]);
    let info = fs::read_to_string(dir.path().join("info.yaml")).unwrap();
    let address = info
        .lines()
        .find_map(|line| line.strip_prefix("Address: "))
        .unwrap();
    let same = Node::builder(address, dir.path())
        .executable(EXECUTABLE)
        .engine(engine());
    assert_stage(
        &start_error(same.node_id(7)),
        Stage::Identity,
        &["7", "3297041220608546238"],
    );
}

#[test]
fn a_missing_engine_lists_every_place() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no-engine");
    let error = start_error(builder(&dir.path().join("data")).engine(&missing));
    let NodeError::EngineNotFound { tried, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_says(&error, &[missing.to_str().unwrap(), "No such file"]);
    assert!(!dir.path().join("data").exists());

    // Nothing named: every usual place is tried, and there is none on this machine.
    let env = json!({"DQLITE_ENGINE": "", "HOME": dir.path(), "XDG_CACHE_HOME": dir.path()});
    let node = Node::builder("127.0.0.1:9", dir.path().join("data")).executable(EXECUTABLE);
    let error = start_error(node.option("env", env));
    let NodeError::EngineNotFound { tried, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(tried.len() >= 3, "{tried:?}");
    assert_says(&error, &["user cache", "libdqlite.so.0"]);
}

/// Downloaded once, so that later runs need no network.
fn libraries_of_1_11() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-1.11");
    if !kept.exists() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let libraries = unpack(&["libdqlite0", "libraft2", "libuv1"], dir.path()).unwrap();
        fs::rename(libraries, &kept).unwrap();
    }
    kept
}

#[test]
fn an_engine_that_is_too_old_is_refused() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let libraries = libraries_of_1_11();
    let old = libraries.join("libdqlite.so.0");
    let node = builder(&dir.path().join("data")).engine(&old);
    let node = node.option("env", json!({"LD_LIBRARY_PATH": libraries}));
    let error = start_error(node);
    assert_says(&error, &[old.to_str().unwrap(), "1.18"]);
    assert!(matches!(
        error,
        NodeError::EngineNotFound { .. }
            | NodeError::Start {
                stage: Stage::Load,
                ..
            }
    ));
    assert!(!dir.path().join("data").exists());
}

#[test]
fn malformed_addresses_are_refused_before_anything_is_started() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for address in [
        "",
        "h",
        "h:0",
        "h:65536",
        "0.0.0.0:9001",
        "[::]:1",
        "::1:1",
        "@x",
        "h:1:2",
    ] {
        let node = Node::builder(address, &data).executable(EXECUTABLE);
        let error = node.build().unwrap_err();
        assert!(matches!(error, NodeError::Config(_)), "{address}: {error}");
        assert!(!data.exists());
    }
}

/// Speaks the control channel without the library: what the executable says for itself.
fn last_line(input: &str) -> (Value, Option<i32>) {
    let mut command = Command::new(EXECUTABLE);
    command
        .args(["node", "--control", "stdio", "--engine"])
        .arg(engine());
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = pipes.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A child that has made up its mind may be gone.
    let _gone = stdin.write_all(input.as_bytes());
    drop(stdin);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = lines.map(Result::unwrap).last().unwrap();
    (
        serde_json::from_str(&last).unwrap(),
        child.wait().unwrap().code(),
    )
}

#[test]
fn the_executable_judges_options_itself() {
    let _noise = noisy();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let app = json!({"pid": 1, "name": "test", "version": "0"});
    let table: BTreeMap<&str, Value> = BTreeMap::from([
        ("0.0.0.0:9001", json!({"address": "0.0.0.0:9001"})),
        ("voters", json!({"address": "h:1", "voters": 2})),
        ("wieght", json!({"address": "h:1", "wieght": 2})),
        ("node_id", json!({"address": "h:1", "node_id": "0"})),
    ]);
    for (word, mut options) in table {
        options["data_dir"] = json!(data);
        let config = json!({"type": "config", "v": 1, "options": options, "app": app});
        let (fatal, status) = last_line(&format!("{config}\n"));
        assert_eq!(fatal["type"], "fatal", "{fatal}");
        assert_eq!(fatal["stage"], "config", "{fatal}");
        assert!(fatal["text"].as_str().unwrap().contains(word), "{fatal}");
        assert_eq!(status, Some(10));
    }
    for garbage in ["\n", "{}\n", "not json\n", "{\"type\":\"stop\",\"n\":1}\n"] {
        let (fatal, status) = last_line(garbage);
        assert_eq!(fatal["stage"], "config", "{fatal}");
        assert_eq!(status, Some(10));
    }
    assert!(!data.exists());
}

#[test]
fn an_application_that_leaves_before_it_speaks_starts_nothing() {
    let _noise = noisy();
    let (hello, status) = last_line("");
    assert_eq!(hello["type"], "hello");
    assert_eq!(status, Some(0));
}

#[test]
fn a_long_data_directory_has_its_socket_all_the_same() {
    let _noise = noisy();
    let dir: TempDir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120)).join("e".repeat(120));
    let node = builder(&long).start().unwrap();
    assert!(node.socket_path().unwrap().exists());
    assert!(!node.stop().unwrap().killed);
}
