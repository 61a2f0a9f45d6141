//! Reads golden frames: `tests/golden/*.txt`, one block for each.

use std::collections::BTreeMap;
use std::path::Path;

use dqlite_proto::{Params, Value, ValueRef};
use serde_json::Value as Json;

/// One golden block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    pub(crate) fn key(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(self.key("json")).expect("a block with json")
    }

    pub(crate) fn schema(&self) -> u8 {
        self.key("schema").parse().unwrap_or(0)
    }

    pub(crate) fn is_request(&self) -> bool {
        self.key("dir") == "c2s"
    }

    pub(crate) fn is_malformed(&self) -> bool {
        self.key("message") == "(malformed)"
    }
}

/// All blocks of all files, in order.
pub(crate) fn blocks() -> Vec<Block> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of golden frames")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut blocks = Vec::new();
    for file in files {
        read(
            &std::fs::read_to_string(file).expect("a text file"),
            &mut blocks,
        );
    }
    assert!(blocks.len() > 150, "{} golden blocks", blocks.len());
    blocks
}

fn read(text: &str, blocks: &mut Vec<Block>) {
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            blocks.push(Block {
                name: name.to_owned(),
                keys: BTreeMap::new(),
                bytes: Vec::new(),
            });
        } else if let Some(data) = line.strip_prefix("| ") {
            let token = data.split_whitespace().next().expect("data");
            let (hex, times) = token.split_once('*').unwrap_or((token, "1"));
            let bytes = unhex(hex);
            let block = blocks.last_mut().expect("a block before its data");
            for _ in 0..times.parse::<usize>().expect("a count") {
                block.bytes.extend_from_slice(&bytes);
            }
        } else if let Some((key, value)) = line.split_once(": ").filter(|_| !line.starts_with('#'))
        {
            let block = blocks.last_mut().expect("a block before its keys");
            block.keys.insert(key.to_owned(), value.to_owned());
        }
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// A value as the blocks write it, as bytes: `["i", 42]`.
pub(crate) fn value(json: &Json) -> OwnedValue {
    let number = || match &json[1] {
        Json::String(word) if word == "inf" => f64::INFINITY,
        Json::String(word) if word == "-inf" => f64::NEG_INFINITY,
        number => number.as_f64().expect("a float"),
    };
    let text = || json[1].as_str().expect("a text").to_owned();
    let signed = || json[1].as_i64().expect("an integer");
    match json[0].as_str().expect("a tag") {
        "i" => Value::Integer(signed()).into(),
        "f" => Value::Float(number()).into(),
        "s" => Value::Text(text()).into(),
        "s_hex" => OwnedValue::RawText(unhex(&text())),
        "b" => Value::Blob(unhex(&text())).into(),
        "n" => Value::Null.into(),
        "u" => Value::UnixTime(signed()).into(),
        "d" => Value::Iso8601(text()).into(),
        "t" => Value::Boolean(json[1].as_u64().expect("a boolean")).into(),
        tag => panic!("tag {tag}"),
    }
}

/// A value, or a text that is not UTF-8.
#[derive(Debug, Clone)]
pub(crate) enum OwnedValue {
    Value(Value),
    RawText(Vec<u8>),
}

impl From<Value> for OwnedValue {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl OwnedValue {
    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Value(value) => value.as_ref(),
            Self::RawText(text) => ValueRef::Text(text),
        }
    }
}

/// The parameters of a request block. `None` if one of them cannot be sent by us.
pub(crate) fn params(json: &Json) -> Option<Params> {
    let mut params = Params::new();
    for json in json["params"].as_array().into_iter().flatten() {
        params.push(value(json).as_ref()).ok()?;
    }
    Some(params)
}
