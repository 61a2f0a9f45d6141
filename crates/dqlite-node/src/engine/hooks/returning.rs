//! `sqlite3_step` that takes a writing statement to its end where the engine wants no rows.
//!
//! *Engine* (1.18.7): EXEC steps once. A statement that writes and yields rows, as INSERT with
//! RETURNING does, is then left half done: the client gets an error, and every later writer of that
//! database is told that it is busy. Here the rows are skipped.
//!
//! Which step is an EXEC's? Both ways bind parameters first, and ask for their number to do it; a
//! QUERY then asks for the number of columns before it steps:
//!
//! ```text
//! EXEC:  bind_parameter_count ─────────────────► step
//! QUERY: bind_parameter_count ─► column_count ─► step, step ... column_count ─► step, step ...
//! ```
//!
//! All of it happens on one thread of the engine without a pause. What SQLite does by itself in the
//! middle of a step or of `sqlite3_exec`, with statements of its own, does not count.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use libdqlite_sys::Stmt;
use libdqlite_sys::sqlite::{Db, ExecCallback, MISUSE, ROW};

use super::real::real;
use super::{quick_check, statements};

thread_local! {
    /// The statement whose parameters were bound last, until it turns out to be a QUERY.
    static EXECUTED: Cell<*mut Stmt> = const { Cell::new(ptr::null_mut()) };
    /// How many calls of SQLite this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// This thread is inside a call of SQLite for as long as this lives.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get().wrapping_add(1));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().wrapping_sub(1));
    }
}

/// The number of parameters of a statement.
///
/// # Safety
/// As SQLite's: a live statement, or null.
pub unsafe fn bind_parameter_count(statement: *mut Stmt) -> c_int {
    let Some(real) = real() else { return 0 };
    if DEPTH.get() == 0 {
        EXECUTED.set(statement);
    }
    // SAFETY: passed on as it came.
    unsafe { (real.bind_parameter_count)(statement) }
}

/// The number of columns of a result.
///
/// # Safety
/// As SQLite's: a live statement, or null.
pub unsafe fn column_count(statement: *mut Stmt) -> c_int {
    let Some(real) = real() else { return 0 };
    if DEPTH.get() == 0 {
        EXECUTED.set(ptr::null_mut());
        // SAFETY: the caller's statement.
        if !statement.is_null() && unsafe { statements::is_cut(statement) } {
            return -1;
        }
    }
    // SAFETY: passed on as it came.
    unsafe { (real.column_count)(statement) }
}

/// Goes on to the next row that somebody wants, or to the end.
///
/// # Safety
/// As SQLite's: a live statement, used by this thread.
pub unsafe fn step(statement: *mut Stmt) -> c_int {
    let Some(real) = real() else { return MISUSE };
    // SAFETY: the caller's statement.
    unsafe {
        let is_engines = DEPTH.get() == 0 && !statement.is_null();
        if is_engines {
            statements::before_step(statement);
        }
        let skips = is_engines
            && EXECUTED.replace(ptr::null_mut()) == statement
            && (real.stmt_readonly)(statement) == 0;
        let _inside = Inside::enter();
        loop {
            let code = (real.step)(statement);
            if !skips || code != ROW {
                return code;
            }
        }
    }
}

/// Runs statements, none of which is an EXEC; one of them is `quick_check`'s.
///
/// # Safety
/// As SQLite's.
pub unsafe fn exec(
    db: *mut Db,
    sql: *const c_char,
    callback: Option<ExecCallback>,
    arg: *mut c_void,
    message: *mut *mut c_char,
) -> c_int {
    let Some(real) = real() else { return MISUSE };
    let is_outermost = DEPTH.get() == 0;
    let _inside = Inside::enter();
    // SAFETY: the caller's arguments; the text is one, or null.
    unsafe {
        let check = callback
            .filter(|_| is_outermost && !sql.is_null() && CStr::from_ptr(sql) == quick_check::TEXT);
        match check {
            Some(callback) => quick_check::run(real, db, callback, arg, message),
            None => (real.exec)(db, sql, callback, arg, message),
        }
    }
}
