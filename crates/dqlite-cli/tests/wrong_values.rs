//! Every option with values that it does not take: the application and the node judge alike, and
//! say which option, which value, and what it would take.

use std::path::Path;

use dqlite::{Complaint, Node, NodeBuilder, NodeError};
use dqlite_node::NodeConfig;
use serde_json::{Map, Value, json};

const ADDRESS: &str = "127.0.0.1:9001";
const DIRECTORY: &str = "/tmp/never-made";

/// Of every type and size: none of the options takes all of them, and each takes some.
fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(false),
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!(-1.5),
        json!(1e300),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(18_446_744_073_709_551_616.0),
        json!(""),
        json!(" "),
        json!("\0"),
        json!("127.0.0.1:9\0"),
        json!("/tmp/a\0b"),
        json!("1"),
        json!("-1"),
        json!("18446744073709551616"),
        json!("1.5"),
        json!("nan"),
        json!("true"),
        json!("no such word"),
        json!("h:1"),
        json!("/tmp/x"),
        json!([]),
        json!([1]),
        json!([""]),
        json!(["\0"]),
        json!(["h:1"]),
        json!(["h:1", "h:1"]),
        json!([3, 3, 3]),
        json!([3, 3, 32_768]),
        json!([5, 60]),
        json!([5, -60]),
        json!([5, "60"]),
        json!([[5, 60]]),
        json!({}),
        json!({"a": 1}),
        json!({"a": "b"}),
        json!({"a": "\0"}),
        json!({"\0": "a"}),
    ]
}

fn options(name: &str, value: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("address".into(), ADDRESS.into());
    all.insert("data_dir".into(), DIRECTORY.into());
    all.insert(name.into(), value.clone());
    all
}

fn application(name: &str, value: &Value) -> Vec<Complaint> {
    let builder = Node::builder(ADDRESS, Path::new(DIRECTORY)).options(options(name, value));
    match builder.build() {
        Ok(_) => Vec::new(),
        Err(NodeError::Config(found)) => found,
        Err(other) => panic!("{name} = {value}: {other}"),
    }
}

fn node(name: &str, value: &Value) -> Vec<dqlite_node::Complaint> {
    NodeConfig::from_options(&options(name, value))
        .err()
        .unwrap_or_default()
}

/// An option of `cluster[1]`'s kind is `cluster`.
fn is(option: &str, name: &str) -> bool {
    option.split('[').next() == Some(name)
}

/// The other two files of TLS are missed where one is given.
fn of_this(option: &str, name: &str) -> bool {
    is(option, name) || !(name.starts_with("tls_") && option.starts_with("tls_"))
}

#[test]
fn both_refuse_the_same_values_of_every_option() {
    let mut wrong = Vec::new();
    for name in NodeConfig::NAMES {
        for value in values() {
            let found = application(name, &value);
            let found = found.iter().filter(|one| of_this(&one.option, name));
            let here: Vec<String> = found.map(ToString::to_string).collect();
            let found = node(name, &value);
            let found = found.iter().filter(|one| of_this(&one.option, name));
            let there: Vec<String> = found.map(ToString::to_string).collect();
            if here.is_empty() != there.is_empty() {
                wrong.push(format!(
                    "{name} = {value}: {here:?}, but the node {there:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_refusal_names_the_option_the_value_and_what_is_allowed() {
    let mut wrong = Vec::new();
    for name in NodeBuilder::option_names() {
        let mut refused = 0;
        for value in values() {
            let found = application(name, &value);
            let mut found = found.iter().filter(|one| of_this(&one.option, name));
            let Some(first) = found.next() else { continue };
            refused += 1;
            let shown = value.to_string();
            let says = ["must", "needs", "use the address", "HOST:PORT"];
            let says = says.iter().any(|word| first.reason.contains(word));
            if found.next().is_some() || first.option != name || first.value != shown || !says {
                wrong.push(format!("{name} = {value}: {first}"));
            }
        }
        if refused < 5 {
            wrong.push(format!("{name}: takes too much"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    for name in NodeBuilder::option_names() {
        let wrong = format!("{name}_");
        let found = application(&wrong, &json!(1));
        assert_eq!(found.len(), 1, "{found:?}");
        let says = format!("unknown option; the nearest known name is {name}");
        assert_eq!((&found[0].option, &found[0].reason), (&wrong, &says));
    }
    for name in NodeConfig::NAMES {
        let found = node(&format!("{name}_"), &json!(1));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].reason.ends_with(&format!("nearest is {name}")),
            "{found:?}"
        );
    }
}
