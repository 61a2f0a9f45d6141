//! The driver without a runtime: a non-blocking file descriptor and a session.
//!
//! A caller that blocks waits with [`wait`](wait()), which is poll(2). A caller with a loop of its
//! own registers [`Link`]'s descriptor there:
//!
//! ```text
//! link.session_mut().queue(&request)?      say what is wanted
//! link.flush()?                            false: call again when the descriptor is writable
//! on readable:
//!     link.fill()?                         WouldBlock: done for now; Eof: the session is lost
//!     while let Some(event) = link.event()? { .. }
//! ```

mod dial;
mod link;
mod probe;
mod wait;

pub use crate::cache::{Advice, Cache};
pub use dial::dial;
pub(crate) use dial::{connect, search};
pub use link::{Filled, Link};
pub(crate) use link::{cut, is_quiet, more, ready, run};
pub use wait::{Interrupt, Ready, never, wait, wait_or};
