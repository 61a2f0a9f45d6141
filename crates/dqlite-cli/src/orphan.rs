//! A node must not outlive the program that started it.
//!
//! Three signs count, because each has a hole: the end of stdin (a forked worker may hold a copy
//! of the pipe), the kernel's parent-death signal, and a descriptor of the parent process.

use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use dqlite_node::engine;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use rustix::process::{PidfdFlags, pidfd_open};

/// The whole stop of an orphan, whatever hangs.
const LIMIT: Duration = Duration::from_secs(3);

/// The program that started this process.
#[derive(Debug)]
pub(crate) struct Parent {
    pid: Pid,
    handle: Option<OwnedFd>,
}

impl Parent {
    /// Asks the kernel for SIGTERM when the parent dies, and takes hold of it.
    ///
    /// To be called first thing in the process. `None` if the parent is gone already.
    pub(crate) fn watch() -> Option<Self> {
        let pid = getppid();
        if let Err(errno) = prctl::set_pdeathsig(Signal::SIGTERM) {
            tracing::warn!("ask for the parent-death signal: {errno}");
        }
        let raw = rustix::process::Pid::from_raw(pid.as_raw())?;
        // An older kernel has no such descriptors; the other two signs remain.
        let handle = pidfd_open(raw, PidfdFlags::empty()).ok();
        let parent = Self { pid, handle };
        (!parent.is_gone()).then_some(parent)
    }

    /// Whether somebody else has become the parent.
    pub(crate) fn is_gone(&self) -> bool {
        getppid() != self.pid
    }

    /// Does `act` when the parent ends, in a thread of its own that needs no other to live.
    pub(crate) fn when_gone(&self, act: impl FnOnce() + Send + 'static) {
        let Some(handle) = self
            .handle
            .as_ref()
            .and_then(|handle| handle.try_clone().ok())
        else {
            return;
        };
        let watch = thread::Builder::new()
            .name("dqlite-parent".to_owned())
            .spawn(move || {
                let mut watched = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
                while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
                act();
            });
        if let Err(reason) = watch {
            tracing::warn!("start the thread that watches the parent: {reason}");
        }
    }
}

/// Ends the process when the time of an orphan is over.
pub(crate) fn limit() {
    let begun = thread::Builder::new()
        .name("dqlite-orphan".to_owned())
        .spawn(|| {
            thread::sleep(LIMIT);
            engine::leave(dqlite::control::exit::CLEAN);
        });
    if begun.is_err() {
        engine::leave(dqlite::control::exit::CLEAN);
    }
}
