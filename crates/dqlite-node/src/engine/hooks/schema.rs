//! A `*` stands for the columns of today.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use libdqlite_sys::sqlite::Db;

/// Has a connection notice what others did to the schema.
///
/// *Engine*: SQLite compares schemas when a statement begins, and prepares it anew if need be; but
/// the engine has counted the columns before, so a `*` would stand for those of the old schema.
///
/// # Safety
/// The connection is open, and nobody else uses it.
pub(super) unsafe fn see(connection: *mut Db) {
    let sql = c"SELECT 1 FROM sqlite_schema LIMIT 1";
    // SAFETY: as above. If it fails, the statement itself will, or finds the schema as it was.
    unsafe {
        super::exec(connection, sql.as_ptr(), None, null_mut(), null_mut());
    }
}

/// Whether there is a `*` in a text.
///
/// # Safety
/// `sql` is null, or a text of `bytes` bytes or, if that is negative, one that ends with NUL.
pub(super) unsafe fn has_star(sql: *const c_char, bytes: c_int) -> bool {
    if sql.is_null() {
        return false;
    }
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    for at in 0..length {
        // SAFETY: the bytes before this one are none of them NUL, and it is within the length.
        match unsafe { sql.cast::<u8>().add(at).read() } {
            b'*' => return true,
            0 => return false,
            _ => {}
        }
    }
    false
}
