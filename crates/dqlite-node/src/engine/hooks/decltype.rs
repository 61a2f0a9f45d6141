//! `sqlite3_column_decltype` that names a declared type only where the cell fits it.
//!
//! *Engine* (all releases up to 1.18.7): a cell is encoded by the declared type of its column where
//! that is BOOLEAN, DATE, DATETIME or TIMESTAMP. NULL becomes 0 or "", and a storage class that
//! does not fit ends the process by an assertion. Without a declared type the cell is encoded as
//! what it is.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use libdqlite_sys::Stmt;
use libdqlite_sys::sqlite::{COLUMN_INTEGER, COLUMN_NULL, COLUMN_TEXT};

use super::real::real;

/// The declared type of a column, or null where the cell of the current row does not fit it.
///
/// # Safety
/// As SQLite's: `statement` is live and used by this thread.
pub unsafe fn column_decltype(statement: *mut Stmt, column: c_int) -> *const c_char {
    let Some(sqlite) = real() else {
        return ptr::null();
    };
    // SAFETY: the caller's statement, as it would be given to SQLite itself.
    unsafe {
        let class = (sqlite.column_type)(statement, column);
        if class == COLUMN_NULL {
            return ptr::null();
        }
        let declared = (sqlite.column_decltype)(statement, column);
        let fits = declared.is_null() || encodes(CStr::from_ptr(declared).to_bytes(), class);
        if fits { declared } else { ptr::null() }
    }
}

/// Whether the engine can encode a cell of storage class `class` by this declared type.
fn encodes(declared: &[u8], class: c_int) -> bool {
    let is = |name: &str| declared.eq_ignore_ascii_case(name.as_bytes());
    if is("BOOLEAN") {
        class == COLUMN_INTEGER
    } else if is("DATE") || is("DATETIME") || is("TIMESTAMP") {
        class == COLUMN_INTEGER || class == COLUMN_TEXT
    } else {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::encodes;

    const INTEGER: i32 = 1;
    const FLOAT: i32 = 2;
    const TEXT: i32 = 3;
    const BLOB: i32 = 4;

    #[test]
    fn a_boolean_is_an_integer() {
        assert!(encodes(b"BOOLEAN", INTEGER));
        assert!(encodes(b"boolean", INTEGER));
        for class in [FLOAT, TEXT, BLOB] {
            assert!(!encodes(b"Boolean", class));
        }
    }

    #[test]
    fn a_date_is_an_integer_or_text() {
        for declared in [&b"DATE"[..], b"DateTime", b"timestamp"] {
            assert!(encodes(declared, INTEGER) && encodes(declared, TEXT));
            assert!(!encodes(declared, FLOAT) && !encodes(declared, BLOB));
        }
    }

    #[test]
    fn other_declarations_are_left_alone() {
        for declared in [&b"BOOL"[..], b"DATETIME(6)", b"TEXT", b"", b"BOOLEAN "] {
            for class in [INTEGER, FLOAT, TEXT, BLOB] {
                assert!(encodes(declared, class));
            }
        }
    }
}
