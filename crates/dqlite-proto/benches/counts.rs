//! What `tools/count-instructions` counts: `make bench-counts`.
//!
//! It runs the scenario that is its argument, once to warm up and then under [`counted`], the one
//! function in which valgrind counts. Without an argument it does nothing.

mod scenario;

use std::hint::black_box;

use dqlite_proto::sql;
use scenario::{Ask, Decode, Encode, POINT_QUERY, Watch};

const ROWS: usize = 1000;
const REPEATS: usize = 1000;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    match name.as_str() {
        "decode-1000-rows" => {
            let wire = Decode::wire(ROWS);
            Decode::new().run(&wire);
            let mut decode = Decode::new();
            counted(|| assert_eq!(decode.run(&wire), ROWS * 5));
        }
        "encode-point-query" => {
            let mut encode = Encode::default();
            repeated(|| encode.run());
        }
        "session-point-query" => {
            let mut ask = Ask::new();
            repeated(|| ask.run());
        }
        "lex-point-query" => repeated(|| {
            black_box(sql::statements(black_box(POINT_QUERY)).next());
        }),
        "guard-prepared" => {
            let mut watch = Watch::prepared();
            repeated(|| watch.run());
        }
        "guard-text" => {
            let mut watch = Watch::text("DELETE FROM people WHERE id = ?");
            repeated(|| watch.run());
        }
        "guard-text-with-g-and-z" => {
            let mut watch = Watch::text("UPDATE sizes SET age = 1 WHERE id = ?");
            repeated(|| watch.run());
        }
        "guard-text-lexed" => {
            let mut watch = Watch::text("SELECT 1; DELETE FROM people WHERE id = ?");
            repeated(|| watch.run());
        }
        _ => {}
    }
}

/// A single run is too short for a share of a percent, and memory grows in steps.
fn repeated(mut run: impl FnMut()) {
    run();
    counted(|| (0..REPEATS).for_each(|_| run()));
}

#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}
