//! `sysconf` that gives the engine larger pages than the machine's.
//!
//! *Engine* (all releases up to 1.18.7): a message of a result is one page and a row. With pages of
//! 4 KiB a large result is hundreds of messages, each with the names of all columns, and names that
//! fill a page leave no room for rows: empty messages without end. Its other use of the page size,
//! mapping the index of the log, takes any power of two.

use std::ffi::{c_int, c_long};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;

const PAGE: c_long = 64 << 10;

unsafe extern "C" {
    fn __sysconf(name: c_int) -> c_long;
}

static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// From now on, calls from these addresses are the engine's.
pub(super) fn answer_to(engine: Range<usize>) {
    START.store(engine.start, Ordering::Relaxed);
    END.store(engine.end, Ordering::Relaxed);
}

/// The system's setting `name`, for code at `caller`.
pub fn sysconf(name: c_int, caller: usize) -> c_long {
    let engine = START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed);
    // SAFETY: the C library's own, by its other name; any number may be asked for.
    let real = unsafe { __sysconf(name) };
    if name == libc::_SC_PAGESIZE && engine.contains(&caller) {
        PAGE.max(real)
    } else {
        real
    }
}
