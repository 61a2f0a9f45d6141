//! Every option with wrong values: one error, all complaints, and nothing started or written.

use dqlite::{Complaint, Node, NodeBuilder, NodeError};
use serde_json::{Value, json};

fn builder() -> NodeBuilder {
    Node::builder("127.0.0.1:9001", "/nonexistent/data")
}

fn complaints(builder: NodeBuilder) -> Vec<Complaint> {
    match builder.build() {
        Err(NodeError::Config(complaints)) => complaints,
        other => panic!("{other:?}"),
    }
}

/// Options, and JSON lists of values that none of them takes.
const WRONG: &[(&str, &str)] = &[
    ("address", r#"["", "h", "h:0", "h:65536", ":1", "@x", 1]"#),
    ("address", r#"["0.0.0.0:1", "[::]:1", "*:1"]"#),
    ("data_dir", r#"["", "a\u0000b", 1, []]"#),
    (
        "node_id",
        r#"[0, -1, 1.5, "x", "18446744073709551616", true]"#,
    ),
    ("bind_address", r#"["h:0", 9001, "", "*:0"]"#),
    ("unix_socket", r#"[1, ""]"#),
    (
        "cluster",
        r#"["h:1", ["h"], ["h:1", "H:01"], [1], ["0.0.0.0:1"]]"#,
    ),
    ("initial_state", r#"["old", 1]"#),
    ("failure_domain", r#"[-1, "-1", true]"#),
    ("weight", r#"[-1, 2147483648, "1"]"#),
    ("network_latency_ms", "[0, 3600001, 1.0, true]"),
    ("busy_timeout_ms", r#"[-1, 3600001, "5"]"#),
    ("snapshot_threshold", "[0, 130001, 9000]"),
    ("snapshot_trailing", "[3, 1000, 130001]"),
    ("snapshot_trailing_strategy", r#"["lively", true]"#),
    ("snapshot_compression", r#"[1, "yes"]"#),
    ("block_size_bytes", "[0, 256, 513, 524288]"),
    ("auto_recovery", r#"[0, "on"]"#),
    ("worker_threads", "[3, 129]"),
    ("manage_roles", "[1]"),
    ("voters", "[0, 2, 101]"),
    ("standbys", "[-1, 100]"),
    ("two_node", r#"["both"]"#),
    ("roles_interval", "[0.01, 3601]"),
    ("offline_after", r#"[0.4, "10"]"#),
    ("handover_on_stop", r#"["no", 0]"#),
    ("handover_timeout", "[-1, 61]"),
    ("max_connections", "[0, 100001]"),
    ("handshake_timeout", "[0]"),
    ("keepalive", "[3, [3, 3], [0, 3, 3]]"),
    ("user_timeout_ms", "[-1]"),
    ("log_level", r#"["loud"]"#),
    ("on_damage", r#"["ignore", false]"#),
    ("max_frame_bytes", "[0, 65535, 1073741825, 1.5]"),
    ("max_reply_bytes", "[0, 67108863, 1073741825, 1.5]"),
    ("handshake_timeout", r#"[0.05, 3601, "5"]"#),
    ("idle_timeout", "[-1, 604801]"),
    ("idle_in_transaction_timeout", "[-1, 604801]"),
    ("progress_timeout", "[-1, 3601]"),
    ("statement_timeout", r#"[-1, 604801, "1"]"#),
    ("watchdog_timeout", "[-1, 0.5, 3601]"),
    ("tls_server_name", r#"["", "*.a", 1]"#),
    ("tls_min_version", r#"["1.1", 1.3]"#),
    ("tls_admin", r#"["x", [1]]"#),
    ("tls_reload_interval", "[0, 3601]"),
    ("tls_max_stream_age", "[-1, 31536001]"),
    ("trace_sql", r#"["on", true]"#),
    ("slow_statement_ms", "[-1, 4294967296, 1.5]"),
    ("leader_probe_limit", "[0, 257]"),
    ("engine", r#"["", false]"#),
    ("executable", r#"["", 1]"#),
    ("start_timeout", r#"[0, -1, "1"]"#),
    ("ready_grace", "[-0.1]"),
    ("stop_timeout", "[0.5]"),
    ("restart", r#"["always", true]"#),
    ("restart_limit", "[5, [5], [-1, 60], [5, 0], [1.5, 60]]"),
    ("env", r#"[[], {"A=B": "x"}, {"A": 1}, {"": "x"}]"#),
];

#[test]
fn wrong_values_are_refused_by_name() {
    for (name, wrong) in WRONG {
        let wrong: Vec<Value> = serde_json::from_str(wrong).unwrap();
        for value in wrong {
            let found = complaints(builder().option(name, value.clone()));
            assert_eq!(found.len(), 1, "{name} = {value}: {found:?}");
            assert_eq!(found[0].option, *name);
            assert!(!found[0].reason.is_empty());
        }
    }
    // One file of TLS alone misses the other two.
    for name in ["tls_cert", "tls_key", "tls_ca"] {
        let found = complaints(builder().option(name, "/etc/x.pem"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found
                .iter()
                .all(|one| one.option != name && one.reason.contains("go together"))
        );
        let found = complaints(builder().option(name, 1));
        assert!(found.iter().any(|one| one.option == name), "{found:?}");
    }
    let long = complaints(builder().option("data_dir", format!("/{}", "x".repeat(894))));
    assert_eq!(
        long[0].reason,
        "must be at most 894 bytes as an absolute path"
    );
}

#[test]
fn right_values_are_taken() {
    let table = [
        ("address", json!("[::1]:9001")),
        ("node_id", json!("18446744073709551615")),
        ("node_id", json!(u64::MAX)),
        ("bind_address", json!("0.0.0.0:9001")),
        ("unix_socket", json!(false)),
        ("unix_socket", json!("/run/x.sock")),
        ("cluster", json!(["127.0.0.1:9001", "h:1"])),
        ("snapshot_trailing", json!(1024)),
        ("busy_timeout_ms", json!(0)),
        ("block_size_bytes", json!(4096)),
        ("handover_timeout", json!(0)),
        ("keepalive", json!([3, 3, 3])),
        ("restart_limit", json!([0, 1.5])),
        ("env", json!({"RUST_LOG": ""})),
        ("voters", Value::Null),
        ("surprise", Value::Null),
    ];
    for (name, value) in table {
        let built = builder().option(name, value.clone()).build();
        assert!(built.is_ok(), "{name} = {value}: {}", built.unwrap_err());
    }
}

#[test]
fn all_complaints_come_in_one_error() {
    let node = Node::builder("0.0.0.0:9001", "")
        .option("voters", 4)
        .option("wieght", 1);
    let error = node.build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "address = \"0.0.0.0:9001\": use the address that others dial; bind_address may be a \
         wildcard; data_dir = \"\": must be a path in UTF-8; voters = 4: must be odd; \
         wieght = 1: unknown option; the nearest known name is weight"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let pair = builder()
        .option("snapshot_threshold", 100)
        .option("snapshot_trailing", 99);
    assert_eq!(complaints(pair)[0].option, "snapshot_trailing");
    let joins = builder().option("initial_state", "existing");
    assert_eq!(complaints(joins)[0].option, "initial_state");
    let other = builder().cluster(["h:1", "127.0.0.1:9001"]);
    assert_eq!(
        complaints(other.option("initial_state", "new"))[0].option,
        "initial_state"
    );
}

#[test]
fn a_path_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff"));
    let found = complaints(Node::builder("127.0.0.1:9001", path));
    assert_eq!(found[0].option, "data_dir");
    assert_eq!(found[0].reason, "must be a path in UTF-8");
}

#[test]
fn nothing_is_touched_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Node::builder("127.0.0.1:9001", &data).build().unwrap();
    assert!(!data.exists());
    assert!(!node.is_running());
    assert_eq!(node.data_dir(), data);
}

#[test]
fn the_id_is_known_before_the_start_where_it_is_certain() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let builder = || Node::builder("127.0.0.1:9001", data);
    let bootstrap = 3_297_041_220_608_546_238;
    assert_eq!(builder().build().unwrap().id(), bootstrap);
    assert_eq!(
        builder().cluster(["127.0.0.1:9001"]).build().unwrap().id(),
        bootstrap
    );
    let joins = || builder().cluster(["127.0.0.1:9001", "127.0.0.1:9002"]);
    assert_eq!(joins().build().unwrap().id(), 0);
    std::fs::write(
        data.join("info.yaml"),
        "ID: 77\nAddress: 127.0.0.1:9001\nRole: 0\n",
    )
    .unwrap();
    assert_eq!(joins().build().unwrap().id(), 77);
    assert_eq!(joins().node_id(5).build().unwrap().id(), 5);
}
