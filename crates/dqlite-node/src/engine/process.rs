//! What the process that hosts an engine does to itself.

use std::io;

/// Sets the size of the pool in which statements run, segments are written and peers are dialled.
///
/// *Engine*: the pool is libuv's, read from the environment when the first work is queued; the
/// engine's own setter stores a number that nothing reads. To be called while the process has one
/// thread: refused otherwise.
pub fn set_worker_threads(threads: u32) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() > 1 {
        return Err(io::Error::other("the process has other threads already"));
    }
    // SAFETY: no other thread exists that could read the environment.
    unsafe { std::env::set_var("UV_THREADPOOL_SIZE", threads.to_string()) };
    Ok(())
}

/// Ends the process at once: no destructors, no handlers, no waiting for an engine that is stuck.
pub fn leave(status: i32) -> ! {
    // SAFETY: never returns, and touches nothing of this process.
    unsafe { nix::libc::_exit(status) }
}
