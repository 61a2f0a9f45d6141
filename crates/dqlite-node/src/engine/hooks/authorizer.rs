//! `sqlite3_set_authorizer` that forbids what the engine's authorizer lets through, and sets what
//! protects a connection besides.
//!
//! *Engine* (1.18.7): ATTACH of anything but a literal name passes, as any file that the node may
//! open, outside replication. Some pragmas change the whole process, or make databases that no node
//! can restore; writes to shadow tables and pages do so, too.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use libdqlite_sys::sqlite::{
    ACTION_ATTACH, ACTION_FUNCTION, ACTION_PRAGMA, Authorizer, CONFIG_DEFENSIVE, DENY, Db,
    LIMIT_LENGTH, MISUSE,
};

use super::real::real;

/// Bytes of a value and of a row: one that is larger cannot pass between nodes, whose messages end
/// at 500 MiB.
const LENGTH_MAX: c_int = 480 << 20;

/// Pragmas that may be read and not set.
const READ_ONLY: [&str; 7] = [
    "case_sensitive_like",
    "data_store_directory",
    "hard_heap_limit",
    "ignore_check_constraints",
    "soft_heap_limit",
    "temp_store_directory",
    "writable_schema",
];
/// A pragma that acts without an argument.
const FORBIDDEN: &str = "delete_database";
/// Writes, though it is called from statements that are taken for readers; see `optimize`.
const WRITER: &str = "optimize";

/// The engine's authorizer, the same for all its connections.
static THEIRS: OnceLock<Theirs> = OnceLock::new();

struct Theirs {
    ask: Authorizer,
    arg: *mut c_void,
}

// SAFETY: only passed back to the engine, which gave it for use on any of its threads.
unsafe impl Send for Theirs {}
// SAFETY: as above.
unsafe impl Sync for Theirs {}

/// Sets our authorizer in front of the engine's, and the limits of the connection.
///
/// # Safety
/// As SQLite's: an open connection, and an authorizer that lives as long.
pub unsafe fn set_authorizer(db: *mut Db, ask: Option<Authorizer>, arg: *mut c_void) -> c_int {
    let Some(real) = real() else { return MISUSE };
    // SAFETY: the caller's connection and authorizer; ours is given a value that lives for ever,
    // or none.
    unsafe {
        let Some(ask) = ask else {
            return (real.set_authorizer)(db, None, arg);
        };
        let theirs = THEIRS.get_or_init(|| Theirs { ask, arg });
        if !ptr::fn_addr_eq(theirs.ask, ask) || theirs.arg != arg {
            return (real.set_authorizer)(db, Some(ask), arg);
        }
        (real.db_config)(db, CONFIG_DEFENSIVE, 1 as c_int, ptr::null_mut::<c_int>());
        (real.limit)(db, LIMIT_LENGTH, LENGTH_MAX);
        (real.set_authorizer)(db, Some(authorize), ptr::null_mut())
    }
}

unsafe extern "C" fn authorize(
    _: *mut c_void,
    action: c_int,
    third: *const c_char,
    fourth: *const c_char,
    fifth: *const c_char,
    sixth: *const c_char,
) -> c_int {
    let Some(theirs) = THEIRS.get() else {
        return DENY;
    };
    // SAFETY: SQLite gives texts or null.
    let text = |p: *const c_char| (!p.is_null()).then(|| unsafe { CStr::from_ptr(p) }.to_bytes());
    if is_denied(action, text(third), text(fourth), text(sixth)) {
        return DENY;
    }
    // SAFETY: as the engine gave it to SQLite, with SQLite's arguments.
    unsafe { (theirs.ask)(theirs.arg, action, third, fourth, fifth, sixth) }
}

/// Whether we forbid what the engine would be asked next.
fn is_denied(
    action: c_int,
    third: Option<&[u8]>,
    fourth: Option<&[u8]>,
    inside: Option<&[u8]>,
) -> bool {
    let is = |text: Option<&[u8]>, name: &str| {
        text.is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()))
    };
    match action {
        ACTION_ATTACH => third.is_none(),
        ACTION_FUNCTION => is(fourth, WRITER) && inside.is_some(),
        ACTION_PRAGMA => {
            let is_set = fourth.is_some() && READ_ONLY.iter().any(|name| is(third, name));
            is_set || is(third, FORBIDDEN)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pragma(name: &str, argument: Option<&str>) -> bool {
        let argument = argument.map(str::as_bytes);
        is_denied(ACTION_PRAGMA, Some(name.as_bytes()), argument, None)
    }

    #[test]
    fn only_a_literal_is_attached() {
        assert!(is_denied(ACTION_ATTACH, None, None, None));
        assert!(!is_denied(ACTION_ATTACH, Some(b""), None, None));
        assert!(!is_denied(
            ACTION_ATTACH,
            Some(b"the engine denies it"),
            None,
            None
        ));
    }

    #[test]
    fn dangerous_pragmas_are_read_and_not_set() {
        assert!(pragma("hard_heap_limit", Some("1000")));
        assert!(pragma("Writable_Schema", Some("ON")));
        assert!(!pragma("writable_schema", None));
        assert!(pragma("delete_database", None));
        assert!(!pragma("user_version", Some("1")));
    }

    #[test]
    fn a_view_does_not_hide_a_function_that_writes() {
        assert!(is_denied(
            ACTION_FUNCTION,
            None,
            Some(b"OPTIMIZE"),
            Some(b"v")
        ));
        assert!(!is_denied(ACTION_FUNCTION, None, Some(b"optimize"), None));
        assert!(!is_denied(
            ACTION_FUNCTION,
            None,
            Some(b"count"),
            Some(b"v")
        ));
    }
}
