//! The application and the node know the same options, and give them the same defaults.

use std::path::Path;

use dqlite::{Node, NodeError};
use dqlite_node::NodeConfig;
use serde_json::{Map, Value, json};

const ADDRESS: &str = "127.0.0.1:9001";

fn options(pairs: Value) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("address".into(), ADDRESS.into());
    all.insert("data_dir".into(), "/tmp/never-made".into());
    if let Value::Object(mut pairs) = pairs {
        all.append(&mut pairs);
    }
    all
}

/// What the application finds wrong.
fn application(pairs: Value) -> Vec<(String, String)> {
    let made = Node::builder(ADDRESS, Path::new("/tmp/never-made")).options(options(pairs));
    match made.build() {
        Ok(_) => Vec::new(),
        Err(NodeError::Config(found)) => {
            let told = found.into_iter().map(|one| (one.option, one.reason));
            told.collect()
        }
        Err(other) => panic!("{other}"),
    }
}

fn node_accepts(pairs: Value) -> bool {
    NodeConfig::from_options(&options(pairs)).is_ok()
}

#[test]
fn the_application_knows_every_option_of_the_node() {
    for name in NodeConfig::NAMES {
        for (_, reason) in application(json!({ *name: {"no": "value"} })) {
            assert!(!reason.contains("unknown option"), "{name}: {reason}");
        }
    }
}

#[test]
fn both_judge_what_depends_on_defaults_alike() {
    for (good, pairs) in [
        (true, json!({})),
        (true, json!({"snapshot_trailing": 1024})),
        (false, json!({"snapshot_trailing": 1023})),
        (true, json!({"snapshot_threshold": 8192})),
        (false, json!({"snapshot_threshold": 8193})),
        (true, json!({"offline_after": 0.6})),
        (false, json!({"offline_after": 0.59})),
        (true, json!({"network_latency_ms": 1000})),
        (
            true,
            json!({"network_latency_ms": 166, "watchdog_timeout": 5}),
        ),
        (
            false,
            json!({"network_latency_ms": 167, "watchdog_timeout": 5}),
        ),
        (
            true,
            json!({"network_latency_ms": 333, "offline_after": 10}),
        ),
        (
            false,
            json!({"network_latency_ms": 334, "offline_after": 10}),
        ),
        (true, json!({"watchdog_timeout": 1})),
        (false, json!({"watchdog_timeout": 0.9})),
    ] {
        judge(good, &pairs);
    }
}

#[test]
fn both_take_the_same_addresses_to_listen_on() {
    for (good, address) in [
        (true, "*:9001"),
        (true, "0.0.0.0:9001"),
        (true, "[::]:9001"),
        (true, "localhost:9001"),
        (false, "*"),
        (false, "0.0.0.0"),
        (false, "*:0"),
        (false, "*:65536"),
        (false, "@name"),
    ] {
        judge(good, &json!({ "bind_address": address }));
    }
}

fn judge(good: bool, pairs: &Value) {
    let found = application(pairs.clone());
    assert_eq!(found.is_empty(), good, "{pairs}: {found:?}");
    assert_eq!(node_accepts(pairs.clone()), good, "{pairs}: the node");
}
