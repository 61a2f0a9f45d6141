//! Reads golden frames: `tests/golden/*.txt`, one block for each.

use std::collections::BTreeMap;
use std::path::Path;

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
