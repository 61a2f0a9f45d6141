//! The supervisor against a scripted process: every way to start, live, crash and stop.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dqlite::control::{FromNode, Stage, State};
use dqlite::proto::{RequestKind, suspects};
use dqlite::{CrashReport, Event, Node, NodeBuilder, NodeError, Role};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};
use tempfile::TempDir;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_node.sh");
const PATIENCE: Duration = Duration::from_secs(20);

struct Fake {
    dir: TempDir,
}

impl Fake {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn builder(&self, behaviour: &str) -> NodeBuilder {
        let env = json!({"FAKE": behaviour, "FAKE_DIR": self.dir.path()});
        let builder = Node::builder("127.0.0.1:1", self.dir.path().join("data"));
        builder.executable(FAKE).option("env", env)
    }

    fn wrote(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Waits for an event that `found` likes.
fn await_event<T>(events: &Receiver<Event>, mut found: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(it) = found(&events.recv_timeout(left).unwrap()) {
            return it;
        }
    }
}

fn await_state(events: &Receiver<Event>, wanted: State) -> String {
    await_event(events, |event| match event {
        Event::Control(FromNode::State { to, why, .. }) if *to == wanted => Some(why.clone()),
        _ => None,
    })
}

fn start_error(behaviour: &str) -> (NodeError, Duration) {
    let fake = Fake::new();
    let node = fake
        .builder(behaviour)
        .start_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let begun = Instant::now();
    let events = node.events();
    let error = node.start().unwrap_err();
    let took = begun.elapsed();
    assert!(!node.is_running());
    assert_eq!(node.pid(), None);
    drop(node);
    drop(events);
    (error, took)
}

#[test]
fn a_node_starts_tells_what_it_is_and_stops() {
    let fake = Fake::new();
    let node = fake.builder("").build().unwrap();
    assert_eq!(node.state(), State::Stopped);
    assert_eq!(node.id(), 0x2dc1_7185_8c31_55be);
    node.start().unwrap();
    assert_eq!(node.state(), State::Ready);
    assert_eq!(node.id(), u64::MAX);
    assert_eq!(node.role(), Some(Role::Voter));
    assert!(node.is_leader());
    assert_eq!(node.engine().unwrap().version, "1.18.7");
    assert_eq!(node.bind_address().as_deref(), Some("127.0.0.1:1"));
    assert!(node.socket_path().unwrap().ends_with("data/node.sock"));
    let pid = node.pid().unwrap();
    assert!(is_alive(pid));
    node.wait_ready(Duration::ZERO).unwrap();

    let stopped = node.stop().unwrap();
    assert!(stopped.handed_over && !stopped.killed);
    assert_eq!(stopped.leader.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(stopped.drained, 3);
    assert_eq!(stopped.ending, "exit status 0");
    assert!(!is_alive(pid));
    assert_eq!(node.state(), State::Stopped);
    assert_eq!(node.stop().unwrap(), stopped);

    node.start().unwrap();
    assert_eq!(node.restarts(), 0);
    assert!(matches!(
        node.start(),
        Err(NodeError::AlreadyRunning { .. })
    ));
    let pid = node.pid().unwrap();
    drop(node);
    assert!(!is_alive(pid));
}

#[test]
fn the_node_is_told_its_options_and_not_the_supervisors() {
    let fake = Fake::new();
    let builder = fake
        .builder("")
        .network_latency(Duration::from_millis(5))
        .node_id(u64::MAX);
    let node = builder
        .app("test", "1")
        .stop_timeout(Duration::from_secs(5))
        .start()
        .unwrap();
    let config: Value = serde_json::from_str(&fake.wrote("config")).unwrap();
    let options = config["options"].as_object().unwrap();
    assert_eq!(options["network_latency_ms"], 5);
    assert_eq!(options["node_id"], u64::MAX);
    let data_dir = fake.dir.path().join("data");
    assert_eq!(options["data_dir"], data_dir.to_str().unwrap());
    let mut names: Vec<&str> = options.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["address", "data_dir", "network_latency_ms", "node_id"]
    );
    assert_eq!(config["v"], 1);
    let app = json!({"pid": std::process::id(), "name": "test", "version": "1"});
    assert_eq!(config["app"], app);
    assert!(fake.wrote("env").contains("FAKE_DIR="));
    drop(node);
}

#[test]
fn a_node_that_joins_is_started_before_it_is_ready() {
    let fake = Fake::new();
    let grace = Duration::from_millis(50);
    let node = fake.builder("joins").ready_grace(grace).start().unwrap();
    assert_eq!(node.state(), State::Starting);
    let error = node.wait_ready(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, NodeError::NotReady { .. }), "{error}");
    assert!(node.is_running());
}

#[test]
fn fatal_lines_become_typed_errors() {
    let (error, _) = start_error("no-engine");
    let NodeError::EngineNotFound { tried, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(tried[0].place, "/a");
    assert_eq!(error.to_string(), "no engine\n  /a: absent");
    let (error, _) = start_error("port-taken");
    assert_eq!(
        error.to_string(),
        "node 127.0.0.1:1 did not start: bind: 127.0.0.1:1 is taken"
    );
}

#[test]
fn a_process_that_dies_at_once_leaves_its_signal_and_its_log() {
    let (error, took) = start_error("dies-at-once");
    let text = error.to_string();
    assert!(text.contains("killed by SIGABRT"), "{text}");
    assert!(text.contains("realloc(): invalid next size"), "{text}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_start_is_bounded() {
    for (behaviour, says) in [
        ("never-hello", "said nothing within 1s"),
        ("never-serves", "did not serve within 1s"),
    ] {
        let (error, took) = start_error(behaviour);
        assert!(error.to_string().contains(says), "{error}");
        assert!(took < Duration::from_secs(4), "{behaviour}: {took:?}");
    }
}

#[test]
fn loading_data_is_not_counted_while_the_node_beats() {
    let fake = Fake::new();
    let timeout = Duration::from_millis(400);
    let node = fake
        .builder("loads")
        .start_timeout(timeout)
        .start()
        .unwrap();
    assert_eq!(node.state(), State::Ready);
}

#[test]
fn another_version_of_the_channel_is_refused_by_name() {
    let (error, _) = start_error("old");
    let text = error.to_string();
    assert!(
        text.contains("9.0 speaks control versions 8, 9, this library speaks 1"),
        "{text}"
    );
    assert!(matches!(
        error,
        NodeError::Start {
            stage: Stage::Config,
            ..
        }
    ));
}

#[test]
fn an_executable_that_cannot_run_is_a_launch_error() {
    let fake = Fake::new();
    let error = fake
        .builder("")
        .executable("/nonexistent/dqlite")
        .start()
        .unwrap_err();
    let NodeError::Launch { tried, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(tried[0].place, "/nonexistent/dqlite");
}

#[test]
fn a_killed_process_is_started_again() {
    let fake = Fake::new();
    let node = fake.builder("").start().unwrap();
    let events = node.events();
    let first = node.pid().unwrap();
    signal(first, Signal::SIGKILL);
    let why = await_state(&events, State::Restarting);
    assert_eq!(why, "killed by SIGKILL");
    await_state(&events, State::Ready);
    assert_eq!(node.restarts(), 1);
    assert_ne!(node.pid().unwrap(), first);
    node.wait_ready(PATIENCE).unwrap();
    assert!(!node.stop().unwrap().killed);
}

/// The report of a process that is killed with these notes.
fn crash(behaviour: &str, notes: impl FnOnce(&Path)) -> CrashReport {
    let fake = Fake::new();
    notes(&fake.dir.path().join("notes"));
    let node = fake.builder(behaviour).start().unwrap();
    assert_eq!(node.last_crash(), None);
    let events = node.events();
    signal(node.pid().unwrap(), Signal::SIGKILL);
    let report = await_event(&events, |event| match event {
        Event::Crashed(report) => Some(report.clone()),
        _ => None,
    });
    assert_eq!(node.last_crash().unwrap(), report);
    await_state(&events, State::Ready);
    assert!(!node.stop().unwrap().killed);
    report
}

#[test]
fn a_crash_is_told_with_what_was_in_flight() {
    let report = crash("notes", |path| {
        let mut bytes = suspects::MAGIC.to_le_bytes().to_vec();
        bytes.resize(suspects::HEADER_WORDS * 8, 0);
        let note = suspects::Note::new(RequestKind::EXEC_SQL, b"PRAGMA poison");
        bytes.extend(note.words(1).iter().flat_map(|word| word.to_le_bytes()));
        fs::write(path, bytes).unwrap();
    });
    let text = report.to_string();
    assert_eq!(text, "killed by SIGKILL; in flight: EXEC_SQL PRAGMA poison");
    assert!(report.log.iter().any(|line| line.starts_with("the log of")));
}

#[test]
fn garbled_notes_do_no_harm() {
    let noise = |path: &Path| {
        let mut bytes: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
        bytes[..8].copy_from_slice(&suspects::MAGIC.to_le_bytes());
        fs::write(path, bytes).unwrap();
    };
    let report = crash("notes", noise);
    assert!(report.suspects.listed.len() <= suspects::SLOTS);
    assert!(report.to_string().len() < 8 << 10);
    let nothing = [
        crash("notes", |path| fs::write(path, "").unwrap()),
        crash("notes", |path| fs::write(path, vec![0xff; 70_000]).unwrap()),
        crash("notes", |path| mkfifo(path, Mode::S_IRWXU).unwrap()),
        crash("no-notes", |_| ()),
    ];
    for report in nothing {
        assert_eq!(report.to_string(), "killed by SIGKILL");
    }
}

#[test]
fn a_crash_in_the_start_is_cured_by_a_restart_once_it_served() {
    let fake = Fake::new();
    let node = fake
        .builder("crashes-once")
        .ready_grace(Duration::ZERO)
        .start()
        .unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.restarts() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    node.wait_ready(PATIENCE).unwrap();
}

#[test]
fn a_crash_loop_ends_in_failed_with_the_reason_and_the_log() {
    let fake = Fake::new();
    let limit = Duration::from_mins(1);
    let node = fake
        .builder("crash-loop")
        .restart_limit(2, limit)
        .build()
        .unwrap();
    let events = node.events();
    // The crash may come before or after the start returned.
    let _either = node.start();
    let why = await_state(&events, State::Failed);
    assert!(
        why.starts_with("crash loop: 3 crashes in 60 s, the last: killed by SIGSEGV"),
        "{why}"
    );
    assert!(why.contains("assertion failed"), "{why}");
    let error = node.wait_ready(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("failed: crash loop"), "{error}");
    assert!(!node.is_running());
    node.stop().unwrap();
}

#[test]
fn what_a_restart_cannot_cure_is_not_restarted() {
    let fake = Fake::new();
    let node = fake.builder("then-incurable").build().unwrap();
    let events = node.events();
    let _either = node.start();
    assert_eq!(await_state(&events, State::Failed), "in use by pid 1");
    assert_eq!(fake.wrote("lives").lines().count(), 2);
}

#[test]
fn restart_never_means_failed() {
    let fake = Fake::new();
    let node = fake.builder("").restart(false).start().unwrap();
    let events = node.events();
    signal(node.pid().unwrap(), Signal::SIGKILL);
    let why = await_state(&events, State::Failed);
    assert!(
        why.starts_with("killed by SIGKILL; restart is \"never\""),
        "{why}"
    );
}

#[test]
fn a_goodbye_that_nobody_asked_for_is_a_stop() {
    let fake = Fake::new();
    let node = fake.builder("says-goodbye-unasked").build().unwrap();
    let events = node.events();
    let _either = node.start();
    await_state(&events, State::Stopped);
    assert!(!node.is_running());
    assert_eq!(node.restarts(), 0);
}

#[test]
fn a_deaf_process_is_killed_in_bounded_time() {
    let fake = Fake::new();
    let node = fake
        .builder("deaf")
        .stop_timeout(Duration::from_secs(1))
        .start()
        .unwrap();
    let pid = node.pid().unwrap();
    let begun = Instant::now();
    let stopped = node.stop().unwrap();
    assert!(stopped.killed);
    assert_eq!(stopped.ending, "killed by SIGKILL");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(!is_alive(pid));
}

#[test]
fn a_process_without_a_sign_of_life_is_replaced() {
    let fake = Fake::new();
    let node = fake.builder("wedges").start().unwrap();
    let events = node.events();
    let wedged = node.pid().unwrap();
    let why = await_state(&events, State::Restarting);
    assert_eq!(why, "killed: no sign of life");
    assert!(!is_alive(wedged));
    await_state(&events, State::Ready);
}

#[test]
fn a_paused_process_can_be_stopped() {
    let fake = Fake::new();
    let node = fake
        .builder("")
        .stop_timeout(Duration::from_secs(1))
        .start()
        .unwrap();
    signal(node.pid().unwrap(), Signal::SIGSTOP);
    assert!(node.stop().unwrap().killed);
}

#[test]
fn stops_from_many_threads_are_one_stop() {
    let fake = Fake::new();
    let node = fake.builder("").start().unwrap();
    std::thread::scope(|scope| {
        let stops: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| node.stop().unwrap()))
            .collect();
        for stop in stops {
            assert!(stop.join().unwrap().handed_over);
        }
    });
}

#[test]
fn a_stop_ends_a_start_that_waits() {
    let fake = Fake::new();
    let node = fake.builder("never-serves").build().unwrap();
    let events = node.events();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| node.start());
        await_event(&events, |event| {
            matches!(event, Event::Log(_)).then_some(())
        });
        node.stop_within(Duration::ZERO, &mut || false).unwrap();
        let error = start.join().unwrap().unwrap_err();
        assert!(matches!(error, NodeError::NotRunning { .. }), "{error}");
    });
}

#[test]
fn an_interrupted_start_leaves_nothing() {
    let fake = Fake::new();
    let node = fake.builder("never-serves").build().unwrap();
    let events = node.events();
    let mut pid = None;
    let mut interrupt = || {
        let logged = events
            .try_iter()
            .any(|event| matches!(event, Event::Log(_)));
        pid = pid.or(node.pid());
        logged
    };
    let error = node.start_within(PATIENCE, &mut interrupt).unwrap_err();
    assert!(matches!(error, NodeError::Interrupted), "{error}");
    assert!(!is_alive(pid.unwrap()));
}

#[test]
fn a_stop_during_the_back_off_ends_it() {
    let fake = Fake::new();
    let node = fake
        .builder("crash-loop")
        .restart_limit(100, PATIENCE)
        .build()
        .unwrap();
    let events = node.events();
    let _either = node.start();
    await_state(&events, State::Restarting);
    let begun = Instant::now();
    node.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(node.state(), State::Stopped);
}

#[test]
fn handover_is_answered_refused_or_lost() {
    let fake = Fake::new();
    let node = fake.builder("").start().unwrap();
    let moved = node.handover(PATIENCE, false).unwrap();
    assert!(moved.moved);
    assert_eq!(moved.leader.as_deref(), Some("127.0.0.1:2"));
    node.stop().unwrap();
    let error = node.handover(PATIENCE, false).unwrap_err();
    assert!(matches!(error, NodeError::NotRunning { .. }), "{error}");

    let node = fake.builder("refuses").start().unwrap();
    let error = node.handover(PATIENCE, false).unwrap_err();
    assert_eq!(error.to_string(), "node 127.0.0.1:1: no other voter online");

    let node = fake.builder("dies-asked").start().unwrap();
    let error = node.handover(PATIENCE, false).unwrap_err();
    assert!(matches!(error, NodeError::NotRunning { .. }), "{error}");

    let node = fake
        .builder("deaf")
        .stop_timeout(Duration::from_secs(1))
        .start()
        .unwrap();
    let begun = Instant::now();
    let error = node.handover(Duration::ZERO, false).unwrap_err();
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn lines_that_are_not_understood_are_survived() {
    let fake = Fake::new();
    let node = fake.builder("chatters").build().unwrap();
    let events = node.events();
    node.start().unwrap();
    await_state(&events, State::NoLeader);
    let error = node.wait_ready(Duration::ZERO).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no-leader: 1 of 3\n  h:2: connection refused"),
        "{text}"
    );
}

#[test]
fn an_endless_line_ends_the_process_and_not_the_application() {
    let fake = Fake::new();
    let node = fake.builder("floods").restart(false).build().unwrap();
    let events = node.events();
    let _either = node.start();
    let why = await_state(&events, State::Failed);
    assert!(why.contains("control line longer than"), "{why}");
}

#[test]
fn events_of_a_subscriber_that_left_are_forgotten() {
    let fake = Fake::new();
    let node = fake.builder("").build().unwrap();
    drop(node.events());
    let events = node.events();
    node.start().unwrap();
    node.stop().unwrap();
    drop(node);
    assert!(events.iter().count() > 5);
}

#[test]
fn a_node_may_be_used_from_any_thread() {
    fn check<T: Send + Sync>() {}
    check::<Node>();
    check::<NodeError>();
}
