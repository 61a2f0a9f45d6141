//! Replays what the fuzzers have found worth keeping.

use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a library of its own, too")]
mod fuzz;

fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = root.join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("a file").path();
        run(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn decode_request() {
    replay("decode_request", fuzz::decode_request);
}

#[test]
fn decode_response() {
    replay("decode_response", fuzz::decode_response);
}

#[test]
fn rows() {
    replay("rows", fuzz::rows);
}

#[test]
fn params() {
    replay("params", fuzz::params);
}

#[test]
fn session_ops() {
    replay("session_ops", fuzz::session_ops);
}

#[test]
fn guard() {
    replay("guard", fuzz::guard);
}
