//! The application and the node know the same options, and give them the same defaults.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dqlite::{Node, NodeBuilder, NodeError};
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
        let found = application(json!({ *name: {"no": "value"} }));
        assert!(
            found.iter().any(|(option, _)| option == name),
            "{name}: {found:?}"
        );
        for (_, reason) in found {
            assert!(!reason.contains("unknown option"), "{name}: {reason}");
        }
        assert!(
            !node_accepts(json!({ *name: {"no": "value"} })),
            "{name}: the node"
        );
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
        (
            true,
            json!({"snapshot_threshold": 130_000, "snapshot_trailing": 130_000}),
        ),
        (false, json!({"snapshot_trailing": 130_001})),
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

/// How an option of go-dqlite's application layer is offered here.
enum Here {
    /// By the option of this name, whose default is this.
    Option(&'static str, Value),
    /// Not as an option, for this reason.
    Otherwise(&'static str),
}

/// go-dqlite's `app.With...`, its defaults beside ours where they differ.
fn application_layer() -> Vec<(&'static str, Here)> {
    use Here::{Option, Otherwise};
    vec![
        ("WithAddress", Option("address", json!(""))),
        ("WithCluster", Option("cluster", json!([]))),
        (
            "WithExternalConn",
            Otherwise("the gateway owns every socket"),
        ),
        ("WithTLS", Option("tls_cert", Value::Null)),
        ("WithTLS", Option("tls_key", Value::Null)),
        ("WithTLS", Option("tls_ca", Value::Null)),
        ("WithUnixSocket", Option("unix_socket", json!(true))),
        ("WithVoters", Option("voters", json!(3))),
        ("WithStandBys", Option("standbys", json!(3))),
        // 30 s there.
        (
            "WithRolesAdjustmentFrequency",
            Option("roles_interval", json!(10.0)),
        ),
        (
            "WithRolesAdjustmentHook",
            Otherwise("the event roles_adjusted"),
        ),
        ("WithLogFunc", Option("log_level", json!("info"))),
        ("WithFailureDomain", Option("failure_domain", json!(0))),
        // The engine's own time, 200 ms, there.
        (
            "WithNetworkLatency",
            Option("network_latency_ms", json!(20)),
        ),
        // Given by number there.
        (
            "WithConcurrentLeaderConns",
            Option("leader_probe_limit", json!(10)),
        ),
        (
            "WithSnapshotParams",
            Option("snapshot_threshold", json!(1024)),
        ),
        (
            "WithSnapshotParams",
            Option("snapshot_trailing", json!(8192)),
        ),
        ("WithDiskMode", Otherwise("the engine has it no more")),
        ("WithAutoRecovery", Option("auto_recovery", Value::Null)),
        ("WithTracing", Option("trace_sql", json!("off"))),
    ]
}

/// What has no counterpart there: the engine's own knobs, and what only this node does.
const OURS: &[&str] = &[
    "data_dir",
    "node_id",
    "bind_address",
    "initial_state",
    "weight",
    "busy_timeout_ms",
    "snapshot_trailing_strategy",
    "snapshot_compression",
    "block_size_bytes",
    "worker_threads",
    "on_damage",
    "manage_roles",
    "two_node",
    "offline_after",
    "handover_on_stop",
    "handover_timeout",
    "tls_server_name",
    "tls_min_version",
    "tls_admin",
    "tls_reload_interval",
    "tls_max_stream_age",
    "watchdog_timeout",
    "max_connections",
    "max_frame_bytes",
    "max_reply_bytes",
    "handshake_timeout",
    "idle_timeout",
    "idle_in_transaction_timeout",
    "progress_timeout",
    "statement_timeout",
    "keepalive",
    "user_timeout_ms",
    "slow_statement_ms",
];

#[test]
fn each_option_of_go_dqlite_s_applications_is_here_or_has_a_reason() {
    let mut counted: Vec<&str> = OURS.to_vec();
    for (theirs, here) in application_layer() {
        match here {
            Here::Option(name, default) => {
                counted.push(name);
                // A default that is given explicitly changes nothing.
                let bare = NodeConfig::from_options(&options(json!({}))).unwrap();
                if !matches!(name, "address") {
                    let given = options(json!({ name: default }));
                    let given = NodeConfig::from_options(&given);
                    assert_eq!(given.as_ref(), Ok(&bare), "{theirs}, {name}");
                }
            }
            Here::Otherwise(reason) => assert!(!reason.is_empty(), "{theirs}"),
        }
    }
    counted.sort_unstable();
    let mut names = NodeConfig::NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(counted, names, "both ways");
}

/// The lines of a Python file from one to another, `name: type = default,`, as names and defaults.
fn python(file: &str, from: &str, to: &str) -> Vec<(String, Option<String>)> {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/dqlite");
    let text = fs::read_to_string(whole.join(file)).unwrap();
    let (_, rest) = text.split_once(from).unwrap();
    let (part, _) = rest.split_once(to).unwrap();
    let lines = part.lines().map(|line| line.trim().trim_end_matches(','));
    let read = |line: &str| {
        let (name, kind) = line.split_once(": ")?;
        let default = kind
            .split_once(" = ")
            .map(|(_, default)| default.to_owned());
        Some((name.to_owned(), default))
    };
    lines.filter_map(read).collect()
}

#[test]
fn python_names_every_option_and_has_the_same_defaults() {
    let mut named = python("node.py", "    def __init__(\n", "**options");
    named.retain(|(name, _)| name != "on_event");
    let bare = NodeConfig::from_options(&options(json!({}))).unwrap();
    for (name, default) in &named {
        let Some(default) = default else { continue };
        let default = match default.as_str() {
            "None" => Value::Null,
            text => serde_json::from_str(text).unwrap(),
        };
        let given = NodeConfig::from_options(&options(json!({ name: default })));
        assert_eq!(given.as_ref(), Ok(&bare), "{name}");
    }
    named.extend(python("_node_options.py", "total=False):", "\n\n\n"));
    let count = named.len();
    let theirs: BTreeSet<String> = named.into_iter().map(|(name, _)| name).collect();
    let ours: BTreeSet<String> = NodeBuilder::option_names().map(str::to_owned).collect();
    assert_eq!(theirs, ours);
    assert_eq!(count, ours.len(), "named twice");
}
