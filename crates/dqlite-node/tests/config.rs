//! Options: what they mean when absent, and what is said about wrong ones.

use dqlite_node::config::{Id, NodeConfig, UnixSocket};
use dqlite_node::founder::InitialState;
use serde_json::{Map, Value, json};

fn options(value: &Value) -> Map<String, Value> {
    let mut options = json!({"address": "127.0.0.1:9001", "data_dir": "/tmp/n"});
    let all = options.as_object_mut().expect("an object");
    all.extend(value.as_object().expect("an object").clone());
    all.clone()
}

fn complaint(value: &Value) -> String {
    let complaints = NodeConfig::from_options(&options(value)).expect_err("a complaint");
    complaints
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn absent_and_null_mean_the_defaults() {
    let config = NodeConfig::from_options(&options(&json!({"voters": null}))).unwrap();
    assert_eq!((config.voters, config.network_latency_ms), (3, 20));
    assert_eq!(config.busy_timeout_ms, 5000);
    assert_eq!(config.unix_socket, UnixSocket::Wanted(true));
    assert_eq!(config.initial_state, InitialState::Auto);
}

#[test]
fn ids_may_be_decimal_text() {
    let given = json!({"node_id": "18446744073709551615", "failure_domain": 7});
    let config = NodeConfig::from_options(&options(&given)).unwrap();
    assert_eq!(
        (config.node_id, config.failure_domain),
        (Some(Id(u64::MAX)), Id(7))
    );
}

/// Wrong options, which of them is named, and a part of the reason.
const WRONG: &[(&str, &str, &str)] = &[
    (r#"{"address": "0.0.0.0:9001"}"#, "address", "wildcard"),
    (r#"{"address": "h:0"}"#, "address", "port 0"),
    (r#"{"address": "h:99999"}"#, "address", "65535"),
    (r#"{"address": ""}"#, "address", "HOST:PORT"),
    (r#"{"address": 7}"#, "address", "string"),
    (r#"{"bind_address": "0.0.0.0:0"}"#, "bind_address", "port 0"),
    (r#"{"data_dir": ""}"#, "data_dir", "required"),
    (r#"{"node_id": 0}"#, "node_id", "1 to 2^64-1"),
    (r#"{"node_id": "-1"}"#, "node_id", "integer"),
    (
        r#"{"cluster": ["a:1", "A:01"]}"#,
        "cluster[1]",
        "listed before",
    ),
    (r#"{"cluster": ["a:1", "b"]}"#, "cluster[1]", "port"),
    (r#"{"initial_state": "perhaps"}"#, "initial_state", "auto"),
    (
        r#"{"initial_state": "existing"}"#,
        "initial_state",
        "addresses",
    ),
    (
        r#"{"initial_state": "new", "cluster": ["a:1"]}"#,
        "initial_state",
        "a:1",
    ),
    (
        r#"{"network_latency_ms": 0}"#,
        "network_latency_ms",
        "1 to 3600000",
    ),
    (
        r#"{"network_latency_ms": 1.5}"#,
        "network_latency_ms",
        "u32",
    ),
    (
        r#"{"network_latency_ms": true}"#,
        "network_latency_ms",
        "u32",
    ),
    (
        r#"{"busy_timeout_ms": 3600001}"#,
        "busy_timeout_ms",
        "0 to 3600000",
    ),
    (r#"{"snapshot_threshold": 0}"#, "snapshot_threshold", "1 to"),
    (r#"{"snapshot_trailing": 100}"#, "snapshot_trailing", "1024"),
    (r#"{"block_size_bytes": 1000}"#, "block_size_bytes", "4096"),
    (r#"{"worker_threads": 3}"#, "worker_threads", "4 to 128"),
    (r#"{"voters": 2}"#, "voters", "odd"),
    (r#"{"standbys": 100}"#, "standbys", "0 to 99"),
    (r#"{"two_node": "both"}"#, "two_node", "standby"),
    (r#"{"roles_interval": 0}"#, "roles_interval", "0.1 to"),
    (
        r#"{"offline_after": 1, "network_latency_ms": 100}"#,
        "offline_after",
        "3 s",
    ),
    (r#"{"handover_timeout": 61}"#, "handover_timeout", "0 to 60"),
    (r#"{"max_connections": 0}"#, "max_connections", "1 to"),
    (r#"{"keepalive": [0, 1, 1]}"#, "keepalive", "1 to 32767"),
    (
        r#"{"netwrk_latency_ms": 5}"#,
        "netwrk_latency_ms",
        "network_latency_ms",
    ),
];

#[test]
fn each_wrong_value_is_named_with_its_reason() {
    for (given, option, reason) in WRONG {
        let text = complaint(&serde_json::from_str(given).unwrap());
        assert!(
            text.contains(&format!("option {option} = ")),
            "{given}: {text}"
        );
        assert!(text.contains(reason), "{given}: {text}");
    }
}

#[test]
fn all_complaints_come_at_once() {
    let text = complaint(&json!({"voters": 4, "standbys": -1, "address": "nowhere", "x": 1}));
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn a_wildcard_may_be_listened_on() {
    for bind in ["0.0.0.0:9001", "[::]:9001", "*:9001"] {
        let given = options(&json!({"bind_address": bind}));
        assert!(NodeConfig::from_options(&given).is_ok(), "{bind}");
    }
}

#[test]
fn waits_that_nobody_chose_follow_the_latency() {
    let options = serde_json::json!({
        "address": "h:1", "data_dir": "/tmp/n", "network_latency_ms": 1000,
    });
    let config = NodeConfig::from_options(options.as_object().unwrap()).unwrap();
    assert_eq!(
        (config.offline_after, config.watchdog_timeout),
        (30.0, 30.0)
    );
}

/// The engine's setters, and who sets what they set.
const KNOBS: &[(&str, &[&str])] = &[
    // The engine listens on a name of its own; the gateway has the address.
    ("dqlite_node_set_bind_address", &["bind_address"]),
    ("dqlite_node_set_connect_func", &["tls_cert"]),
    (
        "dqlite_node_set_network_latency_ms",
        &["network_latency_ms"],
    ),
    ("dqlite_node_set_failure_domain", &["failure_domain"]),
    (
        "dqlite_node_set_snapshot_params",
        &["snapshot_threshold", "snapshot_trailing"],
    ),
    (
        "dqlite_node_set_snapshot_params_v2",
        &["snapshot_trailing_strategy"],
    ),
    ("dqlite_node_set_block_size", &["block_size_bytes"]),
    ("dqlite_node_set_auto_recovery", &["auto_recovery"]),
    (
        "dqlite_node_set_snapshot_compression",
        &["snapshot_compression"],
    ),
    ("dqlite_node_set_busy_timeout", &["busy_timeout_ms"]),
];

#[test]
fn every_knob_of_the_engine_is_an_option() {
    let setters: Vec<&str> = libdqlite_sys::TABLE
        .iter()
        .map(|entry| entry.name)
        .filter(|name| name.contains("_set_") || name.contains("_enable_"))
        .collect();
    let known: Vec<&str> = KNOBS.iter().map(|(setter, _)| *setter).collect();
    assert_eq!(setters, known);
    for (setter, options) in KNOBS {
        for option in *options {
            assert!(NodeConfig::NAMES.contains(option), "{setter}: {option}");
        }
    }
}
