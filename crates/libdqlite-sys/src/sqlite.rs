//! The few functions that we call of the SQLite that the engine has loaded.

use std::ffi::{c_char, c_int};
use std::marker::{PhantomData, PhantomPinned};

/// A prepared statement; lives behind a pointer only.
#[repr(C)]
pub struct Stmt {
    opaque: [u8; 0],
    not_ours: PhantomData<(*mut u8, PhantomPinned)>,
}

/// `SQLITE_INTEGER`: the cell holds an integer.
pub const COLUMN_INTEGER: c_int = 1;
/// `SQLITE_TEXT`: the cell holds text.
pub const COLUMN_TEXT: c_int = 3;
/// `SQLITE_NULL`: the cell holds nothing.
pub const COLUMN_NULL: c_int = 5;

/// SQLite's own functions, past any stand-in that the program exports.
#[derive(Clone, Copy, Debug)]
pub struct Sqlite {
    /// The storage class of a cell of the current row.
    pub column_type: unsafe extern "C" fn(statement: *mut Stmt, column: c_int) -> c_int,
    /// The type that a column was declared with, or null.
    pub column_decltype: unsafe extern "C" fn(statement: *mut Stmt, column: c_int) -> *const c_char,
}

impl Sqlite {
    /// Takes the functions from what `engine` has loaded.
    ///
    /// # Safety
    /// `engine` is a libdqlite, or at least something that loads a libsqlite3.
    pub(crate) unsafe fn find(
        engine: &libloading::os::unix::Library,
    ) -> Result<Self, libloading::Error> {
        // SAFETY: the signatures are those of SQLite's documented interface. A look-up through the
        // engine's handle searches the engine and its dependencies, not the program.
        unsafe {
            Ok(Self {
                column_type: *engine.get("sqlite3_column_type")?,
                column_decltype: *engine.get("sqlite3_column_decltype")?,
            })
        }
    }
}
