//! The C interface of libdqlite, found and filled in at run time.
//!
//! Nothing is linked: [`Library::open`] loads `libdqlite.so.0`, finds the functions of
//! [`Symbols`] in it, and refuses an engine that a node must not run on. A function that only
//! newer engines have is an `Option`: the caller asks for the function, not for a number.
//!
//! ```no_run
//! let library = libdqlite_sys::Library::open("libdqlite.so.0".as_ref())?;
//! println!("engine {}", library.version());
//! # Ok::<(), libdqlite_sys::LoadError>(())
//! ```
//!
//! # Safety contracts
//!
//! All functions are the C ones, unguarded. What their callers must keep:
//!
//! * A [`Node`] goes through create, set-up, bind, start, stop, destroy: each at most once, in this
//!   order, from one thread at a time. Starting before binding, destroying a running node and
//!   stopping from two threads abort or hang the process.
//! * Setters come before start; some of them do not check it and race with the engine's thread.
//! * SIGPIPE is ignored in the process (Rust's runtime does so): the engine writes to sockets
//!   whose peer may be gone.
//! * Before a node is created the process has installed its stand-ins for
//!   `sqlite3_column_decltype` and the allocation family, or accepts that results can kill it.

mod elf;
mod library;
pub mod sqlite;
mod symbols;

pub use elf::is_of_this_program;
pub use library::{ALLOW_OLD_ENGINE, LOST_BEFORE_FLOOR, Library, LoadError, Version};
pub use sqlite::{Sqlite, Stmt};
pub use symbols::{ConnectFn, Entry, Node, NodeId, SNAPSHOT_TRAILING_DYNAMIC, Symbols, TABLE};
