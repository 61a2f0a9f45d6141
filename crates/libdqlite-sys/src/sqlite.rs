//! The few functions that we call of the SQLite that the engine has loaded, and the shapes of what
//! passes through them.

use std::ffi::{c_char, c_int, c_void};
use std::marker::{PhantomData, PhantomPinned};

/// A prepared statement; lives behind a pointer only.
#[repr(C)]
pub struct Stmt {
    opaque: [u8; 0],
    not_ours: PhantomData<(*mut u8, PhantomPinned)>,
}

/// A connection; lives behind a pointer only.
#[repr(C)]
pub struct Db {
    opaque: [u8; 0],
    not_ours: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The beginning of an open file: its methods, which SQLite calls.
#[repr(C)]
pub struct File {
    /// Null if it could not be opened.
    pub methods: *const FileMethods,
}

/// The methods of a file, as far as version 2 of the interface goes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileMethods {
    /// 2 at least if the memory of the log's index is shared.
    pub version: c_int,
    /// Close, read, write, truncate, sync, size, lock, unlock, lock check, control, sector size,
    /// characteristics: passed on as they are.
    pub version_1: [*const c_void; 12],
    /// Gives a region of the index of the log.
    pub shm_map: ShmMap,
    /// Lock, barrier, unmap.
    pub shm_others: [*const c_void; 3],
}

// SAFETY: pointers to code, which does not change.
unsafe impl Send for FileMethods {}
// SAFETY: as above.
unsafe impl Sync for FileMethods {}

/// File, number of the region, its size, whether to extend, where to put its address.
pub type ShmMap = unsafe extern "C" fn(*mut File, c_int, c_int, c_int, *mut *mut c_void) -> c_int;

/// The beginning of a file system of SQLite's.
#[repr(C)]
pub struct Vfs {
    /// Version of the interface.
    pub version: c_int,
    /// Size of its files.
    pub file_bytes: c_int,
    /// Longest name.
    pub name_bytes_max: c_int,
    /// In SQLite's list.
    pub next: *mut Self,
    /// What connections ask for it by.
    pub name: *const c_char,
    /// Its own.
    pub data: *mut c_void,
    /// Opens a file.
    pub open: VfsOpen,
}

/// File system, name, file, flags, where to put the flags in effect.
pub type VfsOpen =
    unsafe extern "C" fn(*mut Vfs, *const c_char, *mut File, c_int, *mut c_int) -> c_int;

/// Its argument, what is done, and four texts, which may be null.
pub type Authorizer = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
) -> c_int;

/// Its argument, the number of columns, the cells as text, the names.
pub type ExecCallback =
    unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;

/// `SQLITE_OK`.
pub const OK: c_int = 0;
/// `SQLITE_DENY`, the answer of an authorizer.
pub const DENY: c_int = 1;
/// `SQLITE_MISUSE`.
pub const MISUSE: c_int = 21;
/// `SQLITE_ROW`.
pub const ROW: c_int = 100;
/// `SQLITE_INTEGER`: the cell holds an integer.
pub const COLUMN_INTEGER: c_int = 1;
/// `SQLITE_TEXT`: the cell holds text.
pub const COLUMN_TEXT: c_int = 3;
/// `SQLITE_NULL`: the cell holds nothing.
pub const COLUMN_NULL: c_int = 5;
/// `SQLITE_PRAGMA`, asked of an authorizer: name, argument or null.
pub const ACTION_PRAGMA: c_int = 19;
/// `SQLITE_ATTACH`, asked of an authorizer: the file's name, or null if it is no literal.
pub const ACTION_ATTACH: c_int = 24;
/// `SQLITE_FUNCTION`, asked of an authorizer: null, name.
pub const ACTION_FUNCTION: c_int = 31;
/// `SQLITE_OPEN_MAIN_DB`.
pub const OPEN_MAIN_DB: c_int = 0x100;
/// `SQLITE_DBCONFIG_DEFENSIVE`.
pub const CONFIG_DEFENSIVE: c_int = 1010;
/// `SQLITE_LIMIT_LENGTH`: bytes of a value, and of a row.
pub const LIMIT_LENGTH: c_int = 0;

macro_rules! sqlite {
    ($($(#[$doc:meta])* $field:ident = $name:literal: $type:ty;)*) => {
        /// SQLite's own functions, past any stand-in that the program exports.
        #[derive(Clone, Copy, Debug)]
        pub struct Sqlite {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Sqlite {
            /// The name of each function.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Takes the functions from what `engine` has loaded.
            ///
            /// # Safety
            /// `engine` is a libdqlite, or at least something that loads a libsqlite3.
            pub(crate) unsafe fn find(
                engine: &libloading::os::unix::Library,
            ) -> Result<Self, libloading::Error> {
                // SAFETY: the signatures are those of SQLite's documented interface. A look-up
                // through the engine's handle searches the engine and its dependencies, not the
                // program.
                unsafe { Ok(Self { $($field: *engine.get::<$type>($name)?,)* }) }
            }
        }
    };
}

sqlite! {
    /// The number of parameters of a statement.
    bind_parameter_count = "sqlite3_bind_parameter_count":
        unsafe extern "C" fn(statement: *mut Stmt) -> c_int;
    /// Closes a connection that has no statement left.
    close = "sqlite3_close": unsafe extern "C" fn(db: *mut Db) -> c_int;
    /// Closes a connection, at the latest with its last statement.
    close_v2 = "sqlite3_close_v2": unsafe extern "C" fn(db: *mut Db) -> c_int;
    /// The number of columns of a result.
    column_count = "sqlite3_column_count": unsafe extern "C" fn(statement: *mut Stmt) -> c_int;
    /// The type that a column was declared with, or null.
    column_decltype = "sqlite3_column_decltype":
        unsafe extern "C" fn(statement: *mut Stmt, column: c_int) -> *const c_char;
    /// The storage class of a cell of the current row.
    column_type = "sqlite3_column_type":
        unsafe extern "C" fn(statement: *mut Stmt, column: c_int) -> c_int;
    /// Sets an option of a connection.
    db_config = "sqlite3_db_config": unsafe extern "C" fn(db: *mut Db, option: c_int, ...) -> c_int;
    /// The name of a database of a connection, or null.
    db_filename = "sqlite3_db_filename":
        unsafe extern "C" fn(db: *mut Db, schema: *const c_char) -> *const c_char;
    /// Runs statements, with a callback for each row.
    exec = "sqlite3_exec": unsafe extern "C" fn(
        db: *mut Db,
        sql: *const c_char,
        callback: Option<ExecCallback>,
        arg: *mut c_void,
        message: *mut *mut c_char,
    ) -> c_int;
    /// Ends what a connection is doing; from any thread, while the connection is open.
    interrupt = "sqlite3_interrupt": unsafe extern "C" fn(db: *mut Db);
    /// Sets a limit of a connection, and gives the former one.
    limit = "sqlite3_limit": unsafe extern "C" fn(db: *mut Db, limit: c_int, new: c_int) -> c_int;
    /// Opens a connection.
    open_v2 = "sqlite3_open_v2": unsafe extern "C" fn(
        name: *const c_char,
        db: *mut *mut Db,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int;
    /// Sets who is asked, while statements are prepared, whether they may do what they do.
    set_authorizer = "sqlite3_set_authorizer": unsafe extern "C" fn(
        db: *mut Db,
        authorizer: Option<Authorizer>,
        arg: *mut c_void,
    ) -> c_int;
    /// The text of a statement, or null.
    sql = "sqlite3_sql": unsafe extern "C" fn(statement: *mut Stmt) -> *const c_char;
    /// Goes on to the next row, or to the end.
    step = "sqlite3_step": unsafe extern "C" fn(statement: *mut Stmt) -> c_int;
    /// Whether a statement writes nothing.
    stmt_readonly = "sqlite3_stmt_readonly": unsafe extern "C" fn(statement: *mut Stmt) -> c_int;
    /// Makes a file system known.
    vfs_register = "sqlite3_vfs_register":
        unsafe extern "C" fn(vfs: *mut Vfs, is_default: c_int) -> c_int;
}
