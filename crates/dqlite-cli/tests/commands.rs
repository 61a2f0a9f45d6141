//! What a running node can be asked for.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::path::Path;
use std::time::Duration;

use dqlite::Event;
use dqlite_testkit::Cluster;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(30);

fn cluster(size: usize) -> Cluster {
    Cluster::start(Path::new(EXECUTABLE), size).unwrap()
}

#[test]
fn a_node_explains_itself_and_changes_its_log() {
    let cluster = cluster(1);
    let node = cluster.node(0);
    let explained = node.explain(PATIENCE).unwrap();
    assert!(explained["last"].is_array(), "{explained}");
    let status = node.status(PATIENCE).unwrap();
    assert_eq!(status["node"]["state"], "ready", "{status}");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(1));
    assert!(status["guard"].is_object(), "{status}");
    let error = node.set_log_level("loud", PATIENCE).unwrap_err();
    assert!(error.to_string().contains("must be one of"), "{error}");
    let events = node.events();
    node.set_log_level("debug", PATIENCE).unwrap();
    node.stop().unwrap();
    let lines = events.try_iter();
    assert!(
        lines
            .filter_map(|event| match event {
                Event::Log(line) => Some(line),
                _ => None,
            })
            .any(|line| line.contains("DEBUG") && line.contains("engine stopped"))
    );
}
