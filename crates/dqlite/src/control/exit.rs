//! Exit statuses of a node process.
//!
//! After a signal, and after [`DISK_FULL`], [`BUG`] and [`WATCHDOG`], a restart may help; after
//! the others not.

/// After [`FromNode::Bye`](super::FromNode::Bye).
pub const CLEAN: i32 = 0;
/// Wrong options.
pub const CONFIG: i32 = 10;
/// No engine, or one that will not do.
pub const NO_ENGINE: i32 = 11;
/// The data directory is in use.
pub const LOCKED: i32 = 12;
/// An address to listen on is taken.
pub const ADDRESS_TAKEN: i32 = 13;
/// The data directory is damaged.
pub const DAMAGED: i32 = 14;
/// The data directory belongs to another id or address.
pub const IDENTITY: i32 = 15;
/// The node was removed from the cluster, or left it.
pub const REMOVED: i32 = 16;
/// Certificate files.
pub const TLS: i32 = 17;
/// No space at the start.
pub const DISK_FULL: i32 = 18;
/// A bug of ours.
pub const BUG: i32 = 70;
/// The watchdog ended a wedged engine.
pub const WATCHDOG: i32 = 75;
