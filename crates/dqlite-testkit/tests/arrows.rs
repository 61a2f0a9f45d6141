//! Who may know whom: the laws of ARCHITECTURE.md that the dependency graph can show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Dependencies of one resolved build: crate name to the names it pulls in, normal edges only.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Resolves the workspace as `cargo` would build it with these arguments.
    fn resolve(arguments: &[&str]) -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version=1",
                "--locked",
                "--manifest-path",
            ])
            .arg(manifest)
            .args(arguments)
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
        let names: BTreeMap<&str, &str> = array(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let edges = array(&metadata["resolve"]["nodes"]).iter().map(|node| {
            let normal = array(&node["deps"]).iter().filter(|dependency| {
                array(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            });
            let pulled = normal.map(|dependency| names[text(&dependency["pkg"])].to_owned());
            (names[text(&node["id"])].to_owned(), pulled.collect())
        });
        Self(edges.collect())
    }

    fn direct(&self, name: &str) -> &BTreeSet<String> {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no crate {name}"))
    }

    fn ours(&self, name: &str) -> BTreeSet<&str> {
        self.direct(name)
            .iter()
            .map(String::as_str)
            .filter(|d| OURS.contains(d))
            .collect()
    }

    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut next = vec![name];
        while let Some(name) = next.pop() {
            for pulled in self.direct(name) {
                if seen.insert(pulled.as_str()) {
                    next.push(pulled);
                }
            }
        }
        seen
    }
}

const OURS: [&str; 8] = [
    "dqlite",
    "dqlite-cli",
    "dqlite-client",
    "dqlite-node",
    "dqlite-proto",
    "dqlite-python",
    "dqlite-testkit",
    "libdqlite-sys",
];

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

#[test]
fn each_crate_knows_only_the_crates_it_may_know() {
    let graph = Graph::resolve(&[]);
    let allowed = [
        ("dqlite-proto", &[][..]),
        ("libdqlite-sys", &[]),
        ("dqlite-client", &["dqlite-proto"]),
        (
            "dqlite-node",
            &["dqlite-client", "dqlite-proto", "libdqlite-sys"],
        ),
        ("dqlite", &["dqlite-client"]),
        (
            "dqlite-cli",
            &["dqlite", "dqlite-client", "dqlite-node", "dqlite-proto"],
        ),
        (
            "dqlite-python",
            &["dqlite", "dqlite-client", "dqlite-proto"],
        ),
        (
            "dqlite-testkit",
            &["dqlite", "dqlite-client", "dqlite-proto"],
        ),
    ];
    for (name, may) in allowed {
        let beyond: Vec<_> = graph
            .ours(name)
            .into_iter()
            .filter(|known| !may.contains(known))
            .collect();
        assert!(beyond.is_empty(), "{name} must not depend on {beyond:?}");
    }
}

#[test]
fn the_protocol_stands_on_bytes_and_thiserror_alone() {
    let graph = Graph::resolve(&[]);
    let known: Vec<_> = graph
        .direct("dqlite-proto")
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(known, ["bytes", "thiserror"]);
}

#[test]
fn only_the_table_of_symbols_opens_libraries() {
    let graph = Graph::resolve(&[]);
    let openers: Vec<_> = OURS
        .iter()
        .filter(|name| graph.0.contains_key(**name) && graph.direct(name).contains("libloading"))
        .collect();
    assert_eq!(openers, [&"libdqlite-sys"]);
}

#[test]
fn the_native_module_has_no_runtime_in_its_tree() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "-p",
            "dqlite-python",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(
        tree.contains("dqlite-client v"),
        "the tree was read:\n{tree}"
    );
    assert!(
        !tree.lines().any(|line| line.starts_with("tokio ")),
        "tokio in the tree:\n{tree}"
    );
}

#[test]
fn nothing_links_a_sqlite() {
    let graph = Graph::resolve(&["--all-features"]);
    for name in OURS {
        assert!(
            !graph.tree(name).contains("libsqlite3-sys"),
            "{name} links a SQLite"
        );
    }
}
