//! What the engine wants of the whole process: the size of its thread pool, and a way out.

use std::env;
use std::fs;
use std::io;

/// The engine's pool is libuv's, which looks here when it is first used. The engine's own setter
/// stores a number that nothing reads (all releases).
const POOL_SIZE: &str = "UV_THREADPOOL_SIZE";

/// Sets how many threads execute the engine's statements; before the engine is loaded.
///
/// Fails in a process that has other threads already: the environment cannot be changed then.
pub fn set_worker_threads(threads: u32) -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has other threads already"));
    }
    if let Some(inherited) = env::var_os(POOL_SIZE) {
        tracing::info!(
            ?inherited,
            threads,
            "{POOL_SIZE} of the environment is overridden"
        );
    }
    // SAFETY: no other thread reads the environment, as there is none, and only this one could
    // start any.
    unsafe { env::set_var(POOL_SIZE, threads.to_string()) }
    Ok(())
}

/// Ends the process at once: threads of a stuck engine are not waited for, and nothing of the
/// engine's is torn down under them. The log makes that safe.
pub fn leave(status: i32) -> ! {
    // SAFETY: does not return; skips exit handlers, which is the purpose.
    unsafe { nix::libc::_exit(status) }
}
