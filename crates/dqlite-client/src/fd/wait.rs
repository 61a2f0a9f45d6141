//! Waiting with poll(2): always with a deadline, always open to the caller's signals.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::Link;
use crate::error::{Error, ErrorKind, Result};

/// Asked after each signal, and at least every 100 ms; `true` ends the wait.
pub type Interrupt<'a> = &'a mut dyn FnMut() -> bool;

pub(super) const INTERRUPT_PERIOD: Duration = Duration::from_millis(100);

/// Never interrupts.
pub const fn never() -> bool {
    false
}

/// What a descriptor is ready for; for nothing if the deadline has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Reading will not block; it may report the end of the connection.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
}

impl Ready {
    /// Whether the deadline has passed.
    pub const fn is_late(self) -> bool {
        !self.readable && !self.writable
    }
}

/// Waits until the link can be read or written, or the deadline has passed.
///
/// An error of kind Usage means that `interrupt` said so.
pub fn wait(
    link: &Link,
    read: bool,
    write: bool,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<Ready> {
    let mut fds = [PollFd::new(link.as_fd(), interest(read, write))];
    poll(&mut fds, Some(deadline), interrupt)?;
    Ok(readiness(&fds[0]))
}

/// Does [`wait`], or gives `None` as soon as `other` can be read: for callers that others wake.
pub fn wait_or(
    link: &Link,
    read: bool,
    write: bool,
    other: BorrowedFd<'_>,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<Option<Ready>> {
    let mut fds = [
        PollFd::new(link.as_fd(), interest(read, write)),
        PollFd::new(other, PollFlags::POLLIN),
    ];
    poll(&mut fds, Some(deadline), interrupt)?;
    let woken = readiness(&fds[1]).readable;
    Ok((!woken).then(|| readiness(&fds[0])))
}

pub(super) fn interest(read: bool, write: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, read);
    flags.set(PollFlags::POLLOUT, write);
    flags
}

pub(super) fn readiness(fd: &PollFd<'_>) -> Ready {
    let seen = fd.revents().unwrap_or(PollFlags::empty());
    let ended = seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
    Ready {
        readable: ended || seen.contains(PollFlags::POLLIN),
        writable: ended || seen.contains(PollFlags::POLLOUT),
    }
}

/// Waits for any of several descriptors; returns without one when `until` has passed.
pub(super) fn poll(
    fds: &mut [PollFd<'_>],
    until: Option<Instant>,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let slice = left.map_or(INTERRUPT_PERIOD, |left| left.min(INTERRUPT_PERIOD));
        match nix::poll::poll(fds, timeout(slice)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                let text = format!("cannot wait for the network: {}", error.desc());
                return Err(Error::new(ErrorKind::Lost, text));
            }
        }
        if interrupt() {
            return Err(Error::interrupted());
        }
        if left.is_some_and(|left| left <= slice) && until <= Some(Instant::now()) {
            return Ok(());
        }
    }
}

/// Rounded up to the next millisecond: waking early would spin.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}
