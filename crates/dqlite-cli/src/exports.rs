//! The C names that this executable exports in front of the engine's libraries.
//!
//! The engine's calls of these names come here, as an executable's symbols win over those of
//! libraries loaded later. What the functions do, and why, stands in `dqlite_node::engine::hooks`;
//! that the engine is really bound to them is proven there after each loading. No library of ours
//! may export them, and no other name of SQLite may be exported.
#![expect(unsafe_code, reason = "exported C names, called by the engine")]

use std::ffi::{c_char, c_int, c_void};

use dqlite_node::engine::hooks::{self, Stmt};

/// # Safety
/// As SQLite's: a live statement, used by this thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn sqlite3_column_decltype(statement: *mut Stmt, column: c_int) -> *const c_char {
    // SAFETY: passed on as it came; the engine's SQLite was given to the hooks when it was loaded.
    unsafe { hooks::column_decltype(statement, column) }
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
