//! `sqlite3_stmt_readonly` that knows a statement which only looks like a reader.
//!
//! *Engine* (1.18.7): what SQLite calls a reader does not wait for its turn to write, and its
//! changes are not replicated: they stay in the engine's log, and every later writer of that
//! database is told that it is busy. `PRAGMA optimize` and the function `optimize` of FTS4 are
//! called readers and write. Taken for writers they work and replicate; so does a reader that
//! merely mentions the word.

use std::ffi::{CStr, c_int};

use libdqlite_sys::Stmt;

use super::real::real;

const WORD: &[u8] = b"optimize";
/// The place of the rarest letter of the word.
const RARE: usize = 6;

/// Whether a statement writes nothing, as far as its text tells.
///
/// # Safety
/// As SQLite's: a live statement.
pub unsafe fn stmt_readonly(statement: *mut Stmt) -> c_int {
    let Some(real) = real() else { return 0 };
    // SAFETY: the caller's statement; its text lives as long.
    unsafe {
        let is_reader = (real.stmt_readonly)(statement);
        if is_reader == 0 {
            return 0;
        }
        let text = (real.sql)(statement);
        if !text.is_null() && mentions(CStr::from_ptr(text).to_bytes()) {
            return 0;
        }
        is_reader
    }
}

fn mentions(text: &[u8]) -> bool {
    let rare = text
        .iter()
        .enumerate()
        .filter(|(_, letter)| letter.eq_ignore_ascii_case(&WORD[RARE]));
    rare.filter_map(|(at, _)| text.get(at.checked_sub(RARE)?..)?.get(..WORD.len()))
        .any(|part| part.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn the_word_is_found_in_any_case_and_place() {
        for text in [
            "optimize",
            "PRAGMA Optimize",
            "SELECT optimize(ft) FROM ft",
            "xOPTIMIZEx",
        ] {
            assert!(mentions(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "z",
            "optimiz",
            "optimise",
            "size of an optimum",
            "zzzzzzzz",
        ] {
            assert!(!mentions(text.as_bytes()), "{text}");
        }
    }
}
