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

#[test]
fn each_wrong_value_is_named_with_its_reason() {
    for (given, option, reason) in [
        (json!({"address": "0.0.0.0:9001"}), "address", "wildcard"),
        (json!({"address": "h:0"}), "address", "port 0"),
        (json!({"address": "h:99999"}), "address", "65535"),
        (json!({"address": ""}), "address", "HOST:PORT"),
        (json!({"address": 7}), "address", "string"),
        (
            json!({"bind_address": "0.0.0.0:0"}),
            "bind_address",
            "port 0",
        ),
        (json!({"data_dir": ""}), "data_dir", "required"),
        (json!({"node_id": 0}), "node_id", "1 to 2^64-1"),
        (json!({"node_id": "-1"}), "node_id", "integer"),
        (
            json!({"cluster": ["a:1", "A:01"]}),
            "cluster[1]",
            "listed before",
        ),
        (json!({"cluster": ["a:1", "b"]}), "cluster[1]", "port"),
        (json!({"initial_state": "perhaps"}), "initial_state", "auto"),
        (
            json!({"initial_state": "existing"}),
            "initial_state",
            "addresses",
        ),
        (
            json!({"initial_state": "new", "cluster": ["a:1"]}),
            "initial_state",
            "a:1",
        ),
        (
            json!({"network_latency_ms": 0}),
            "network_latency_ms",
            "1 to 3600000",
        ),
        (
            json!({"network_latency_ms": 1.5}),
            "network_latency_ms",
            "u32",
        ),
        (
            json!({"network_latency_ms": true}),
            "network_latency_ms",
            "u32",
        ),
        (
            json!({"busy_timeout_ms": 3_600_001}),
            "busy_timeout_ms",
            "0 to 3600000",
        ),
        (
            json!({"snapshot_threshold": 0}),
            "snapshot_threshold",
            "1 to",
        ),
        (
            json!({"snapshot_trailing": 100}),
            "snapshot_trailing",
            "1024",
        ),
        (
            json!({"block_size_bytes": 1000}),
            "block_size_bytes",
            "4096",
        ),
        (json!({"worker_threads": 3}), "worker_threads", "4 to 128"),
        (json!({"voters": 2}), "voters", "odd"),
        (json!({"standbys": 100}), "standbys", "0 to 99"),
        (json!({"two_node": "both"}), "two_node", "standby"),
        (json!({"roles_interval": 0}), "roles_interval", "0.1 to"),
        (
            json!({"offline_after": 1, "network_latency_ms": 100}),
            "offline_after",
            "3 s",
        ),
        (
            json!({"handover_timeout": 61}),
            "handover_timeout",
            "0 to 60",
        ),
        (json!({"max_connections": 0}), "max_connections", "1 to"),
        (json!({"keepalive": [0, 1, 1]}), "keepalive", "1 to 32767"),
        (
            json!({"netwrk_latency_ms": 5}),
            "netwrk_latency_ms",
            "network_latency_ms",
        ),
    ] {
        let text = complaint(&given);
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
