//! The C names that this executable exports in front of the engine's libraries.
//!
//! The engine's calls of these names come here, as an executable's symbols win over those of
//! libraries loaded later. What the functions do, and why, stands in `dqlite_node::engine::hooks`;
//! that the engine is really bound to them is proven there after each loading. No library of ours
//! may export them, and no other name of SQLite may be exported.
#![expect(unsafe_code, reason = "exported C names, called by the engine")]

use std::arch::naked_asm;
use std::ffi::{c_char, c_int, c_long, c_void};

use dqlite_node::engine::hooks::statements::{self, Connection};
use dqlite_node::engine::hooks::{self, Authorizer, Db, ExecCallback, Stmt, Vfs};

/// # Safety
/// As SQLite's: a live statement, used by this thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_column_decltype(statement: *mut Stmt, column: c_int) -> *const c_char {
    // SAFETY: passed on as it came; the engine's SQLite was given to the hooks when it was loaded.
    unsafe { hooks::column_decltype(statement, column) }
}

/// # Safety
/// As SQLite's: a file system that stays alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_vfs_register(vfs: *mut Vfs, is_default: c_int) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::vfs_register(vfs, is_default) }
}

/// # Safety
/// As SQLite's: an open connection.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_set_authorizer(
    db: *mut Db,
    authorizer: Option<Authorizer>,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::set_authorizer(db, authorizer, arg) }
}

/// # Safety
/// As SQLite's: a live statement.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_stmt_readonly(statement: *mut Stmt) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::stmt_readonly(statement) }
}

/// # Safety
/// As SQLite's: a live statement.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_bind_parameter_count(statement: *mut Stmt) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::bind_parameter_count(statement) }
}

/// # Safety
/// As SQLite's: a live statement.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_column_count(statement: *mut Stmt) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::column_count(statement) }
}

/// # Safety
/// As SQLite's: a live statement, used by this thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_step(statement: *mut Stmt) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::step(statement) }
}

/// # Safety
/// As SQLite's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_exec(
    db: *mut Db,
    sql: *const c_char,
    callback: Option<ExecCallback>,
    arg: *mut c_void,
    message: *mut *mut c_char,
) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { hooks::exec(db, sql, callback, arg, message) }
}

/// Passes on who called, which the answer depends on.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("mov rsi, [rsp]", "jmp {answer}", answer = sym answer);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x1, x30", "b {answer}", answer = sym answer);
}

extern "C" fn answer(name: c_int, caller: usize) -> c_long {
    hooks::sysconf(name, caller)
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    unsafe { hooks::malloc(size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    unsafe { hooks::calloc(count, size) }
}

/// # Safety
/// As C's: null, or a live block of this family.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    unsafe { hooks::realloc(block, size) }
}

/// # Safety
/// As C's: null, or a live block of this family.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: passed on as it came.
    unsafe { hooks::free(block) }
}

/// # Safety
/// As SQLite's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_prepare_v2(
    connection: *mut Connection,
    sql: *const c_char,
    bytes: c_int,
    statement: *mut *mut Stmt,
    tail: *mut *const c_char,
) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { statements::prepare_v2(connection, sql, bytes, statement, tail) }
}

/// # Safety
/// As SQLite's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_close(connection: *mut Connection) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { statements::close(connection) }
}

/// # Safety
/// As SQLite's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_close_v2(connection: *mut Connection) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { statements::close_v2(connection) }
}
