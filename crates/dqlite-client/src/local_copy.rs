//! Stale reads: a copy of a database in a file of this machine, read with SQLite itself.
//!
//! The third level of consistency. Reads cost the cluster nothing, work without a leader and
//! without a network, and are as old as the copy: every [`LocalCopy`] has a [`Stamp`] that says
//! when it was taken, from whom, and what is known of that node's lag.
//!
//! | read | answered by | sees |
//! |---|---|---|
//! | `query` | the leader | what was acknowledged, but for a moment after a change of the leader |
//! | `query_linearizable` | the leader, after a write | everything acknowledged before the call |
//! | a local copy | this machine | what one node had applied when the copy was taken |
//!
//! A copy is a whole database: take one for reports, searches and screens that may be seconds
//! old, not for each query of a large database. The node that is copied stands still meanwhile,
//! about 0.4 ms for each MB, so followers are preferred.
//!
//! ```no_run
//! use std::time::Duration;
//! use dqlite_client::{Config, blocking::LocalCopies};
//!
//! # fn main() -> dqlite_client::Result<()> {
//! let copies = LocalCopies::new(&Config::parse("h1:9001,h2:9001/app")?, "/var/cache/app");
//! let copy = copies.no_older_than(Duration::from_secs(30))?;
//! println!("reading {}", copy.stamp());
//! // With rusqlite, for example:
//! // let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
//! // let database = rusqlite::Connection::open_with_flags(copy.path(), flags)?;
//! # Ok(())
//! # }
//! ```
//!
//! The file is an ordinary database without a log beside it, so it can be opened for reading only
//! and by many. This crate links no SQLite: bring the one that your program has. A file is never
//! changed once it is there, and is removed with the last clone of its [`LocalCopy`]; a process
//! that is killed leaves its files, named `dqlite-copy-*.db`, behind. What you write to it is
//! lost.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dqlite_proto::Role;

pub mod blocking;
mod fetch;
mod landing;
mod log;
#[cfg(feature = "tokio")]
pub mod tokio;

/// A copy of a database, and what is known of its age. Clones share the file.
#[derive(Clone, Debug)]
pub struct LocalCopy {
    file: Arc<OwnFile>,
    stamp: Arc<Stamp>,
    asked: Instant,
}

impl LocalCopy {
    /// The database. It stays as it is, and there, while this or a clone lives.
    pub fn path(&self) -> &Path {
        &self.file.0
    }

    /// When it was taken, from whom.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The time since the node was asked for it. What the node lagged behind comes on top.
    pub fn age(&self) -> Duration {
        crate::clock::now().saturating_duration_since(self.asked)
    }
}

/// Where a copy comes from and how fresh it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stamp {
    /// The database.
    pub database: String,
    /// The node that was copied.
    pub address: String,
    /// When it was asked, by this machine's clock: what it had applied by then is in the copy.
    pub taken: SystemTime,
    /// Its role, as it knew it.
    pub role: Option<Role>,
    /// Its lag behind the cluster.
    pub lag: Lag,
    /// The size of the database.
    pub bytes: u64,
}

/// What is known of how far a node was behind the cluster when it was copied. The protocol has no
/// number for that, neither raft's term nor its index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// It said that it led. What it had acknowledged is in the copy; a leader that has been
    /// replaced and does not know it yet, or that has just been elected, may miss the last moment.
    Led,
    /// It followed that leader: usually milliseconds behind, with no bound if it was cut off from
    /// the others.
    Followed(String),
    /// It knew of no leader. Members without a vote never do; a voter lags behind without bound.
    Unknown,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a copy of {} from {}", self.database, self.address)?;
        match &self.lag {
            Lag::Led => f.write_str(", which led,"),
            Lag::Followed(leader) => write!(f, ", which followed {leader},"),
            Lag::Unknown => f.write_str(", which knew no leader,"),
        }?;
        match self.taken.elapsed() {
            Ok(age) => write!(f, " taken {:.1} s ago", age.as_secs_f64()),
            Err(_) => f.write_str(" taken in the future of this machine's clock"),
        }
    }
}

/// A file that goes when nobody needs it.
#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            let path = self.0.display();
            tracing::warn!(target: "dqlite", %path, %error, "a local copy cannot be removed");
        }
    }
}
