//! Ending statements: which of SQLite's connections serves which connection of the gateway.
//!
//! *Engine* (all releases up to 1.18.7): it reads nothing while a statement runs, and sees neither
//! an INTERRUPT nor that the client is gone. SQLite could end the statement, if only one knew which
//! connection it runs on. So the gateway sends a PREPARE of a comment behind each OPEN, and
//! [`prepare_v2`] learns from it whose connection this is:
//!
//! ```text
//! gateway:  OPEN "app"   PREPARE "--dqlite 7f3a... 42"
//! engine:   sqlite3_open_v2 ─► c    sqlite3_prepare_v2(c, "--dqlite 7f3a... 42") ─► 42 is c
//! gateway:  Handle(42).end() ─► sqlite3_interrupt(c)
//! ```
//!
//! *SQLite*: an interrupt does not touch statements that begin later, and a progress handler can
//! report an interruption after the commit. So [`before_step`] stops a statement that begins on a
//! connection being ended at its first opportunity, before it has done anything, and one that goes
//! on by another interrupt.
//!
//! A connection is forgotten before SQLite closes it, under the lock under which it is interrupted.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::{c_char, c_int, c_void};
use std::hash::{BuildHasher as _, Hasher as _};
use std::marker::{PhantomData, PhantomPinned};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use libdqlite_sys::{Library, Stmt, Version};

use super::schema;

/// A connection of SQLite; lives behind a pointer only.
#[repr(C)]
pub struct Connection {
    opaque: [u8; 0],
    not_ours: PhantomData<(*mut u8, PhantomPinned)>,
}

type Progress = unsafe extern "C" fn(*mut c_void) -> c_int;

/// SQLite's own functions, past our exports.
#[derive(Clone, Copy)]
struct Real {
    prepare_v2: unsafe extern "C" fn(
        *mut Connection,
        *const c_char,
        c_int,
        *mut *mut Stmt,
        *mut *const c_char,
    ) -> c_int,
    close: unsafe extern "C" fn(*mut Connection) -> c_int,
    close_v2: unsafe extern "C" fn(*mut Connection) -> c_int,
    interrupt: unsafe extern "C" fn(*mut Connection),
    db_handle: unsafe extern "C" fn(*mut Stmt) -> *mut Connection,
    stmt_busy: unsafe extern "C" fn(*mut Stmt) -> c_int,
    get_autocommit: unsafe extern "C" fn(*mut Connection) -> c_int,
    progress_handler: unsafe extern "C" fn(*mut Connection, c_int, Option<Progress>, *mut c_void),
}

static REAL: OnceLock<Real> = OnceLock::new();
static VERSION: OnceLock<Version> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(1);
/// Connections on which a step needs a look; mostly 0, and then a step costs one load.
static WATCHED: AtomicUsize = AtomicUsize::new(0);
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);
/// Nobody but the gateway can name a connection.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let random = || RandomState::new().build_hasher().finish();
    format!("--dqlite {:016x}{:016x} ", random(), random())
});

const SQLITE_MISUSE: c_int = 21;

#[derive(Default)]
struct Registry {
    entries: HashMap<u64, Entry>,
    numbers: HashMap<usize, u64>,
}

#[derive(Default)]
struct Entry {
    /// Address of SQLite's connection while there is one.
    connection: Option<usize>,
    ending: bool,
    cut: bool,
    /// Our progress handler was left on it.
    stopped: bool,
}

impl Entry {
    fn is_watched(&self) -> bool {
        self.ending || self.cut || self.stopped
    }
}

/// Takes SQLite's functions from what the engine has loaded. The first call counts; an error names
/// the one that is missing.
#[expect(
    clippy::missing_transmute_annotations,
    reason = "each field of the table has its type"
)]
pub fn install(library: &Library) -> Result<(), &'static str> {
    macro_rules! real {
        ($($field:ident = $name:literal,)*) => {
            Real { $($field: {
                let Some(address) = library.resolve($name) else {
                    return Err($name);
                };
                // SAFETY: an address of SQLite's documented interface, with its signature; the
                // library is never closed.
                unsafe { std::mem::transmute(address) }
            },)* }
        };
    }
    let real = real! {
        prepare_v2 = "sqlite3_prepare_v2",
        close = "sqlite3_close",
        close_v2 = "sqlite3_close_v2",
        interrupt = "sqlite3_interrupt",
        db_handle = "sqlite3_db_handle",
        stmt_busy = "sqlite3_stmt_busy",
        get_autocommit = "sqlite3_get_autocommit",
        progress_handler = "sqlite3_progress_handler",
    };
    REAL.get_or_init(|| real);
    VERSION.get_or_init(|| library.version());
    Ok(())
}

/// The release of the engine whose statements these are.
pub(crate) fn engine_version() -> Option<Version> {
    VERSION.get().copied()
}

/// One connection of the gateway to the engine, by a number of its own.
#[derive(Debug)]
pub struct Handle(u64);

impl Handle {
    /// A number that no other connection of this process ever has.
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        registry().entries.insert(number, Entry::default());
        Self(number)
    }

    /// The number.
    pub const fn number(&self) -> u64 {
        self.0
    }

    /// The text whose PREPARE tells the hooks which of SQLite's connections this is.
    pub fn tag(&self) -> String {
        format!("{}{}", *MARK, self.0)
    }

    /// Whether SQLite's connection is known: a database is open.
    pub fn is_known(&self) -> bool {
        self.look(|entry| entry.connection.is_some())
    }

    /// Ends the statement that runs and every one that begins before [`spare`](Self::spare).
    pub fn end(&self) {
        self.change(|entry| entry.ending = true);
        let registry = registry();
        let connection = registry
            .entries
            .get(&self.0)
            .and_then(|entry| entry.connection);
        if let (Some(connection), Some(real)) = (connection, REAL.get()) {
            // SAFETY: a connection is forgotten, under this lock, before it is closed; interrupting
            // is allowed from any thread.
            unsafe { (real.interrupt)(connection as *mut Connection) }
        }
    }

    /// Ends a result that never steps: its column names alone fill a message.
    pub fn cut(&self) {
        self.change(|entry| entry.cut = true);
    }

    /// Lets results go on again.
    pub fn uncut(&self) {
        self.change(|entry| entry.cut = false);
    }

    /// Lets statements run again.
    pub fn spare(&self) {
        self.change(|entry| entry.ending = false);
    }

    /// Whether statements are being ended.
    pub fn is_ending(&self) -> bool {
        self.look(|entry| entry.ending)
    }

    /// Whether a transaction is open. To be asked while no statement runs: SQLite may answer behind
    /// its connection's lock, which a statement holds to its end.
    pub fn in_transaction(&self) -> bool {
        let registry = registry();
        let connection = registry
            .entries
            .get(&self.0)
            .and_then(|entry| entry.connection);
        match (connection, REAL.get()) {
            // SAFETY: as for an interrupt.
            (Some(connection), Some(real)) => unsafe {
                (real.get_autocommit)(connection as *mut Connection) == 0
            },
            _ => false,
        }
    }

    fn look(&self, of: impl FnOnce(&Entry) -> bool) -> bool {
        registry().entries.get(&self.0).is_some_and(of)
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        registry().change(self.0, change);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        registry().remove(self.0);
    }
}

impl Registry {
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&number) {
            let before = entry.is_watched();
            change(entry);
            match (before, entry.is_watched()) {
                (false, true) => WATCHED.fetch_add(1, Ordering::Relaxed),
                (true, false) => WATCHED.fetch_sub(1, Ordering::Relaxed),
                _ => return,
            };
        }
    }

    fn remove(&mut self, number: u64) {
        self.change(number, |entry| {
            (entry.ending, entry.cut, entry.stopped) = (false, false, false);
        });
        if let Some(connection) = self
            .entries
            .remove(&number)
            .and_then(|entry| entry.connection)
        {
            self.numbers.remove(&connection);
        }
    }

    fn learn(&mut self, number: u64, connection: usize) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if let Some(former) = entry.connection.replace(connection) {
            self.numbers.remove(&former);
        }
        self.numbers.insert(connection, number);
    }

    fn forget(&mut self, connection: usize) {
        if let Some(number) = self.numbers.remove(&connection) {
            self.change(number, |entry| {
                (entry.connection, entry.stopped, entry.cut) = (None, false, false);
            });
        }
    }
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `sqlite3_prepare_v2` that learns whose connection it is called on.
///
/// # Safety
/// As SQLite's.
pub unsafe fn prepare_v2(
    connection: *mut Connection,
    sql: *const c_char,
    bytes: c_int,
    statement: *mut *mut Stmt,
    tail: *mut *const c_char,
) -> c_int {
    // SAFETY: the caller's text.
    if let Some(number) = unsafe { tagged(sql, bytes) } {
        registry().learn(number, connection as usize);
    }
    // SAFETY: the caller's text; the connection is open, and used by this thread.
    unsafe {
        if schema::has_star(sql, bytes) && registry().numbers.contains_key(&(connection as usize)) {
            schema::see(connection.cast());
        }
    }
    match REAL.get() {
        // SAFETY: passed on as it came.
        Some(real) => unsafe { (real.prepare_v2)(connection, sql, bytes, statement, tail) },
        None => SQLITE_MISUSE,
    }
}

/// The number behind our mark.
///
/// # Safety
/// `sql` is null, or a text of `bytes` bytes or, if that is negative, one that ends with NUL.
unsafe fn tagged(sql: *const c_char, bytes: c_int) -> Option<u64> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    if sql.is_null() || length < MARK.len() {
        return None;
    }
    let at = |at: usize| {
        // SAFETY: the bytes before this one are none of them NUL, and it is within the length.
        (at < length).then(|| unsafe { sql.cast::<u8>().add(at).read() })
    };
    if !MARK
        .bytes()
        .enumerate()
        .all(|(index, byte)| at(index) == Some(byte))
    {
        return None;
    }
    let digits = (MARK.len()..).map_while(|index| at(index).filter(u8::is_ascii_digit));
    digits.take(20).try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// `sqlite3_close` that forgets the connection first.
///
/// # Safety
/// As SQLite's.
pub unsafe fn close(connection: *mut Connection) -> c_int {
    registry().forget(connection as usize);
    match REAL.get() {
        // SAFETY: passed on as it came.
        Some(real) => unsafe { (real.close)(connection) },
        None => SQLITE_MISUSE,
    }
}

/// `sqlite3_close_v2` that forgets the connection first.
///
/// # Safety
/// As SQLite's.
pub unsafe fn close_v2(connection: *mut Connection) -> c_int {
    registry().forget(connection as usize);
    match REAL.get() {
        // SAFETY: passed on as it came.
        Some(real) => unsafe { (real.close_v2)(connection) },
        None => SQLITE_MISUSE,
    }
}

/// To be called before each `sqlite3_step`: sees to it that a statement on a connection that is
/// being ended does not get far.
///
/// # Safety
/// As `sqlite3_step`: a live statement, used by this thread.
pub unsafe fn before_step(statement: *mut Stmt) {
    if WATCHED.load(Ordering::Relaxed) == 0 {
        return;
    }
    let Some(real) = REAL.get() else {
        return;
    };
    // SAFETY: the caller's statement.
    let connection = unsafe { (real.db_handle)(statement) };
    let Some(ending) = leave_stop(connection) else {
        return;
    };
    // SAFETY: the caller's statement and its connection, which this thread uses.
    unsafe {
        if !ending {
            (real.progress_handler)(connection, 0, None, ptr::null_mut());
        } else if (real.stmt_busy)(statement) != 0 {
            (real.interrupt)(connection);
        } else {
            (real.progress_handler)(connection, 1, Some(stop_at_once), ptr::null_mut());
        }
    }
}

/// Whether the statements of a watched connection are to end; `None` for others.
fn leave_stop(connection: *mut Connection) -> Option<bool> {
    let mut registry = registry();
    let number = *registry.numbers.get(&(connection as usize))?;
    let mut before = (false, false);
    registry.change(number, |entry| {
        before = (entry.ending, entry.stopped);
        entry.stopped = entry.ending;
    });
    (before != (false, false)).then_some(before.0)
}

/// Called by SQLite at the first jump of a statement, before it has done anything.
unsafe extern "C" fn stop_at_once(_: *mut c_void) -> c_int {
    1
}

/// Whether the result of this statement must not go on: the engine, which asks for the number of
/// columns before each message, is to be given none.
///
/// # Safety
/// As `sqlite3_column_count`: a live statement, used by this thread.
pub unsafe fn is_cut(statement: *mut Stmt) -> bool {
    if WATCHED.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let Some(real) = REAL.get() else {
        return false;
    };
    // SAFETY: the caller's statement.
    let connection = unsafe { (real.db_handle)(statement) };
    let registry = registry();
    let number = registry.numbers.get(&(connection as usize));
    number
        .and_then(|number| registry.entries.get(number))
        .is_some_and(|entry| entry.cut)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn read(text: &str, bytes: Option<usize>) -> Option<u64> {
        let text = CString::new(text).unwrap();
        let bytes = bytes.map_or(-1, |bytes| c_int::try_from(bytes).unwrap());
        // SAFETY: a text that ends with NUL, and no more bytes than it has.
        unsafe { tagged(text.as_ptr(), bytes) }
    }

    #[test]
    fn only_a_whole_tag_names_a_connection() {
        let handle = Handle::new();
        let tag = handle.tag();
        assert_eq!(read(&tag, None), Some(handle.0));
        assert_eq!(read(&tag, Some(tag.len())), Some(handle.0));
        assert_eq!(read(&tag, Some(MARK.len() - 1)), None);
        assert_eq!(read("--dqlite 42", None), None);
        assert_eq!(read("", None), None);
        assert_eq!(read(&format!("{}{}", *MARK, "9".repeat(40)), None), None);
        // SAFETY: null is no text.
        assert_eq!(unsafe { tagged(ptr::null(), -1) }, None);
    }

    #[test]
    fn a_connection_is_known_from_its_tag_to_its_end() {
        let handle = Handle::new();
        assert!(!handle.is_known());
        registry().learn(handle.0, 0x1000);
        assert!(handle.is_known());
        registry().learn(handle.0, 0x2000);
        registry().forget(0x1000);
        assert!(handle.is_known(), "another one was opened since");
        registry().forget(0x2000);
        assert!(!handle.is_known());
        registry().learn(handle.0, 0x3000);
        drop(handle);
        assert!(!registry().numbers.contains_key(&0x3000));
    }

    #[test]
    fn what_was_stopped_is_let_go_at_the_next_step() {
        let handle = Handle::new();
        let connection = ptr::without_provenance_mut(0x4000);
        registry().learn(handle.0, 0x4000);
        assert_eq!(leave_stop(connection), None);
        handle.change(|entry| entry.ending = true);
        assert!(handle.is_ending());
        assert_eq!(leave_stop(connection), Some(true));
        assert_eq!(leave_stop(connection), Some(true));
        handle.spare();
        assert_eq!(leave_stop(connection), Some(false));
        assert_eq!(leave_stop(connection), None);
    }
}
