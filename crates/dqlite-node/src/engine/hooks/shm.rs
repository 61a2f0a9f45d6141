//! `sqlite3_vfs_register` that makes the engine's file system map the index of the log in order.
//!
//! *Engine* (1.18.7): it asserts that the regions of the index are mapped one after the other. The
//! first read of a connection maps the region where the log ends, which is the second one as soon
//! as the log has more than about 8000 frames: the process ends. So every region before the one
//! that is asked for is mapped first.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use libdqlite_sys::sqlite::{File, FileMethods, MISUSE, OK, OPEN_MAIN_DB, ShmMap, Vfs, VfsOpen};

use super::real::real;

/// The engine's file systems, one for each node, are called so and a number.
const PREFIX: &[u8] = b"dqlite-";
/// The version of the interface that has shared memory, and no more.
const VERSION: c_int = 2;

static OPEN: OnceLock<VfsOpen> = OnceLock::new();
static METHODS: OnceLock<Methods> = OnceLock::new();

struct Methods {
    ours: FileMethods,
    theirs: ShmMap,
}

/// Makes a file system known; one of the engine's opens its databases through `open`.
///
/// # Safety
/// As SQLite's: `vfs` stays alive and in its place until it is unregistered.
pub unsafe fn vfs_register(vfs: *mut Vfs, is_default: c_int) -> c_int {
    let Some(real) = real() else { return MISUSE };
    // SAFETY: the caller's file system, which nobody else knows of yet; its name is text.
    unsafe {
        if let Some(vfs) = vfs.as_mut().filter(|vfs| !vfs.name.is_null()) {
            // A second function would be of a second engine; one is loaded at most.
            if CStr::from_ptr(vfs.name).to_bytes().starts_with(PREFIX)
                && ptr::fn_addr_eq(*OPEN.get_or_init(|| vfs.open), vfs.open)
            {
                vfs.open = open;
            }
        }
        (real.vfs_register)(vfs, is_default)
    }
}

unsafe extern "C" fn open(
    vfs: *mut Vfs,
    name: *const c_char,
    file: *mut File,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let Some(theirs) = OPEN.get() else {
        return MISUSE;
    };
    // SAFETY: the arguments are SQLite's. A file that was opened has methods, which are constant,
    // and those of version 2 have all that `FileMethods` has.
    unsafe {
        let code = theirs(vfs, name, file, flags, flags_out);
        if code != OK || flags & OPEN_MAIN_DB == 0 {
            return code;
        }
        if let Some(methods) = (*file).methods.as_ref().filter(|m| m.version >= VERSION) {
            let known = METHODS.get_or_init(|| Methods {
                ours: FileMethods {
                    version: VERSION,
                    shm_map,
                    ..*methods
                },
                theirs: methods.shm_map,
            });
            // The engine knows its files by their read function, which is in the copy, too.
            if ptr::fn_addr_eq(known.theirs, methods.shm_map) {
                (*file).methods = &raw const known.ours;
            }
        }
        code
    }
}

unsafe extern "C" fn shm_map(
    file: *mut File,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    address: *mut *mut c_void,
) -> c_int {
    let Some(methods) = METHODS.get() else {
        return MISUSE;
    };
    for before in 0..region {
        let mut mapped = ptr::null_mut();
        // SAFETY: SQLite's arguments but for the number of the region, which is of the same index.
        let code = unsafe { (methods.theirs)(file, before, bytes, extend, &raw mut mapped) };
        if code != OK {
            return code;
        }
        if mapped.is_null() {
            // The index ends before this region, so there is none to map.
            // SAFETY: SQLite gives a place for the address.
            unsafe { address.write(ptr::null_mut()) };
            return OK;
        }
    }
    // SAFETY: SQLite's arguments.
    unsafe { (methods.theirs)(file, region, bytes, extend, address) }
}
