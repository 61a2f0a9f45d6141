//! The allocation family with room behind blocks of whole pages.
//!
//! *Engine* (all releases up to 1.18.7): its buffers are whole pages, and the header of a result
//! row (4 bits a column, 2000 columns at most) is written before the buffer is grown, past its
//! end. Blocks of a multiple of 4096 bytes therefore get [`SLACK`] more.
//!
//! *Engine*: buffers double in 32-bit arithmetic; at 2 GiB the new size becomes 0. The C library
//! would free the block, which the engine goes on using: `realloc(p, 0)` fails here instead.
//!
//! *Engine*: a row and a dumped database are one message each, built in memory as a whole. A buffer
//! that would outgrow the limit fails, too, and the client is told. Buffers are powers of two;
//! nothing else in the process grows a block of such a size by as much.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 2000 columns need 1000 bytes.
const SLACK: usize = 1024;
const PAGE: usize = 4096;

static BUFFER_BYTES_MAX: AtomicUsize = AtomicUsize::new(1 << 30);

/// From now on, no buffer of the engine for one message grows beyond this.
pub fn limit_buffers(bytes: usize) {
    BUFFER_BYTES_MAX.store(bytes, Ordering::Relaxed);
}

fn is_too_large(size: usize) -> bool {
    size > BUFFER_BYTES_MAX.load(Ordering::Relaxed) && size.is_power_of_two()
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
}

/// What to ask of the C library when the caller asks for `size` bytes.
fn padded(size: usize) -> usize {
    if size >= PAGE && size.is_multiple_of(PAGE) {
        size.saturating_add(SLACK)
    } else {
        size
    }
}

/// `malloc` with slack.
///
/// # Safety
/// As for C's `malloc`.
pub unsafe fn malloc(size: usize) -> *mut c_void {
    // SAFETY: any size will do.
    unsafe { __libc_malloc(padded(size)) }
}

/// `calloc` with slack, zeroed as well.
///
/// # Safety
/// As for C's `calloc`.
pub unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: any size will do.
        Some(bytes) if padded(bytes) != bytes => unsafe { __libc_calloc(1, padded(bytes)) },
        // SAFETY: as above; a product that overflows is refused by the C library.
        _ => unsafe { __libc_calloc(count, size) },
    }
}

/// `realloc` with slack; a size of 0, and one over the limit, fail and leave the block alone.
///
/// # Safety
/// As for C's `realloc`: `block` is null or a live block of this family.
pub unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if !block.is_null() && (size == 0 || is_too_large(size)) {
        return ptr::null_mut();
    }
    // SAFETY: the caller's block; the whole family is the C library's.
    unsafe { __libc_realloc(block, padded(size)) }
}

/// `free`.
///
/// # Safety
/// As for C's `free`: `block` is null or a live block of this family.
pub unsafe fn free(block: *mut c_void) {
    // SAFETY: the caller's block.
    unsafe { __libc_free(block) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_get_room_for_the_widest_row_header() {
        for (asked, given) in [
            (0, 0),
            (1, 1),
            (4095, 4095),
            (4097, 4097),
            (usize::MAX, usize::MAX),
        ] {
            assert_eq!(padded(asked), given);
        }
        assert_eq!(padded(4096), 5120);
        assert_eq!(padded(1 << 31), (1 << 31) + 1024);
        assert!(2000_usize.div_ceil(16) * 8 <= SLACK);
    }

    #[test]
    fn buffers_over_the_limit_are_not_had() {
        assert!(!is_too_large(1 << 30));
        assert!(is_too_large(2 << 30));
        assert!(!is_too_large((2 << 30) - 1));
        // SAFETY: the block is used within its size and freed once.
        unsafe {
            let block = malloc(4096).cast::<u8>();
            block.add(4095).write(7);
            assert!(realloc(block.cast(), 2 << 30).is_null());
            assert_eq!(*block.add(4095), 7);
            free(block.cast());
        }
    }

    #[test]
    fn blocks_keep_their_content_and_a_size_of_zero_fails() {
        // SAFETY: each block is used within its size and freed once.
        unsafe {
            let block = calloc(2, 2048).cast::<u8>();
            assert!((0..4096 + SLACK).all(|i| *block.add(i) == 0));
            block.write(7);
            let block = realloc(block.cast(), 8192).cast::<u8>();
            block.add(8192 + SLACK - 1).write(1);
            assert_eq!(*block, 7);
            assert!(realloc(block.cast(), 0).is_null());
            assert_eq!(*block, 7);
            free(block.cast());
            let empty = realloc(ptr::null_mut(), 0);
            free(empty);
            assert!(calloc(usize::MAX, 2).is_null());
        }
    }
}
