//! The check that the engine makes of every database of a snapshot, made without the verdict.
//!
//! *Engine* (1.18.2 and later): a finding of `PRAGMA quick_check` makes the start fail, with no
//! reason given, at every node and for ever. Findings can come from plain SQL, as a full-text index
//! over a table of the user's that was not kept in step. Here they are told and the node starts:
//! its database is as consistent as it was when the snapshot was made.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libdqlite_sys::Sqlite;
use libdqlite_sys::sqlite::{Db, ExecCallback, OK};

/// Exactly what the engine asks.
pub(super) const TEXT: &CStr = c"PRAGMA quick_check";
const NO_FINDING: &CStr = c"ok";
const COLUMN: &CStr = c"quick_check";
/// SQLite itself stops at 100 of a database.
const KEPT_MAX: usize = 1000;

static FINDINGS: Mutex<Vec<Finding>> = Mutex::new(Vec::new());

/// Something that is wrong with a database that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The database.
    pub database: String,
    /// What SQLite says of it.
    pub text: String,
}

/// What was found in the snapshots that this process has restored.
pub fn findings() -> Vec<Finding> {
    let findings = FINDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    findings.clone()
}

/// Runs the check, keeps its findings, and tells the engine that there are none.
///
/// # Safety
/// As SQLite's `exec`.
pub(super) unsafe fn run(
    real: &Sqlite,
    db: *mut Db,
    callback: ExecCallback,
    arg: *mut c_void,
    message: *mut *mut c_char,
) -> c_int {
    let mut found: Vec<CString> = Vec::new();
    // SAFETY: the caller's connection and message; `found` outlives the call. The callback of the
    // engine gets what it would get: one row of one column of text, which it does not keep.
    unsafe {
        let code = (real.exec)(
            db,
            TEXT.as_ptr(),
            Some(collect),
            (&raw mut found).cast(),
            message,
        );
        if code != OK {
            return code;
        }
        found.retain(|finding| finding.as_c_str() != NO_FINDING);
        if !found.is_empty() {
            keep(&name(real, db), &found);
        }
        let mut cell = NO_FINDING.as_ptr().cast_mut();
        let mut column = COLUMN.as_ptr().cast_mut();
        callback(arg, 1, &raw mut cell, &raw mut column)
    }
}

unsafe extern "C" fn collect(
    found: *mut c_void,
    columns: c_int,
    cells: *mut *mut c_char,
    _: *mut *mut c_char,
) -> c_int {
    if columns > 0 {
        // SAFETY: `run` gave the list; SQLite gives as many cells as columns, as text or null.
        unsafe {
            let (found, cell) = (&mut *found.cast::<Vec<CString>>(), *cells);
            if !cell.is_null() {
                found.push(CStr::from_ptr(cell).to_owned());
            }
        }
    }
    0
}

/// # Safety
/// `db` is an open connection.
unsafe fn name(real: &Sqlite, db: *mut Db) -> String {
    // SAFETY: the caller's connection; the name lives as long, and is copied.
    unsafe {
        let name = (real.db_filename)(db, ptr::null());
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

fn keep(database: &str, found: &[CString]) {
    let mut findings = FINDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    for text in found {
        let text = text.to_string_lossy();
        tracing::error!(database, finding = %text, "a restored database is not consistent");
        if findings.len() < KEPT_MAX {
            findings.push(Finding {
                database: database.to_owned(),
                text: text.into_owned(),
            });
        }
    }
}
