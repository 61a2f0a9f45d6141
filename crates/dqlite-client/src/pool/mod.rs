//! Connections that are opened once and used by many, one after the other.
//!
//! ```no_run
//! use dqlite_client::{Config, Pool, pool, params};
//!
//! # async fn example() -> dqlite_client::Result<()> {
//! let config = Config::parse("dqlite://h1:9001,h2:9001,h3:9001/app")?;
//! let pool = Pool::new(&config, pool::Options::default().with_max(20))?;
//! let mut connection = pool.get().await?;
//! connection.execute("INSERT INTO t (name) VALUES (?)", params!["one"]).await?;
//! drop(connection); // goes back
//! pool.execute("DELETE FROM t", ()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - A connection is lent to one caller at a time, the one that came back last first. Callers are
//!   served in the order in which they came; the line has a limit and each of them a deadline.
//! - What is lent is fresh: nothing of an earlier caller is open or under way on it. A connection
//!   that comes back in the middle of a transaction or a reply is rolled back and drained before
//!   it is lent again, or closed. PRAGMAs and temporary tables of a session stay.
//! - When another node leads, the connections to the former leader are given up together. When
//!   that is uncertain, or a connection rested for long, it is asked before it is lent.
//! - Giving up a call to [`Pool::get`], by dropping its future, costs nothing.
//!
//! Callers open connections themselves, when it is their turn and none is idle. One task of the
//! pool, begun with its first use, keeps the smallest number of connections and closes those that
//! are too old or idle for too long; it ends with the pool. A connection that comes back dirty is
//! cleaned by a task of its own. [`blocking::Pool`] uses a thread and the
//! caller's own time instead.

pub(crate) mod blocking;
mod core;
mod state;
#[cfg(feature = "tokio")]
mod tokio;

use std::time::Duration;

#[cfg(feature = "tokio")]
pub use self::tokio::{Guard, Pool};
pub use state::Status;

use crate::error::{Error, Result};

/// What bounds a pool.
///
/// ```
/// use std::time::Duration;
/// use dqlite_client::pool::Options;
///
/// let options = Options::default().with_max(20).with_acquire_timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) rules: state::Rules,
    pub(crate) acquire_timeout: Duration,
}

impl Default for Options {
    /// Up to 10 connections and 1000 callers in line, 10 s to get one; replaced after 30 minutes,
    /// closed when idle for 10, asked before use when idle for 5 s.
    fn default() -> Self {
        Self {
            rules: state::Rules {
                min: 0,
                max: 10,
                waiting_max: 1000,
                idle_timeout: Duration::from_mins(10),
                lifetime: Duration::from_mins(30),
                check_after: Duration::from_secs(5),
            },
            acquire_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Connections that are kept although nobody needs them.
    #[must_use]
    pub const fn with_min(mut self, connections: usize) -> Self {
        self.rules.min = connections;
        self
    }

    /// Connections at once, at least 1.
    #[must_use]
    pub const fn with_max(mut self, connections: usize) -> Self {
        self.rules.max = connections;
        self
    }

    /// Callers in line; further ones are turned away at once.
    #[must_use]
    pub const fn with_waiting_max(mut self, callers: usize) -> Self {
        self.rules.waiting_max = callers;
        self
    }

    /// How long a caller waits at most, for its turn and for a connection to be opened.
    #[must_use]
    pub const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Connections above the smallest number are closed when idle for so long.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.rules.idle_timeout = timeout;
        self
    }

    /// Age at which a connection is replaced; each lives up to a tenth shorter, so that they do not
    /// all leave at once.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.lifetime = lifetime;
        self
    }

    /// A connection that was idle for so long is asked before it is lent.
    #[must_use]
    pub const fn with_check_after(mut self, rest: Duration) -> Self {
        self.rules.check_after = rest;
        self
    }

    fn check(self) -> Result<Self> {
        let rules = self.rules;
        if rules.max == 0 {
            return Err(Error::config("a pool needs room for at least 1 connection"));
        }
        if rules.min > rules.max {
            return Err(Error::config(format!(
                "a pool of at most {} connections cannot keep {}",
                rules.max, rules.min
            )));
        }
        if self.acquire_timeout.is_zero() || rules.lifetime.is_zero() {
            return Err(Error::config(
                "a pool's acquire_timeout and lifetime must be more than nothing",
            ));
        }
        Ok(self)
    }
}
