//! Local copies under tokio.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::LocalCopy;
use super::fetch::Wish;
use crate::address::Address;
use crate::config::Config;
use crate::error::{Error, Result};

/// Local copies of the database of a configuration, made on demand; see the
/// [module page](super).
///
/// Clones share the latest copy. Callers who need a newer one wait for the one that is being
/// made, on a thread for blocking work; a caller whose future is dropped gives its copy up. The
/// configuration's `connect_timeout` bounds the search for a node, its `timeout` each wait for a
/// part of the copy.
///
/// ```no_run
/// # use std::time::Duration;
/// # use dqlite_client::{Config, LocalCopies, Result};
/// # async fn example(config: &Config) -> Result<()> {
/// let copies = LocalCopies::new(config, "/var/cache/app");
/// let copy = match copies.no_older_than(Duration::from_secs(10)).await {
///     Ok(copy) => copy,
///     // Older is better than nothing, if the reader is told.
///     Err(error) => copies.latest().ok_or(error)?,
/// };
/// println!("{} holds {}", copy.path().display(), copy.stamp());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct LocalCopies {
    wish: Wish,
    latest: Arc<Mutex<Option<LocalCopy>>>,
    /// Held by whoever makes a copy.
    making: Arc<tokio::sync::Mutex<()>>,
}

impl LocalCopies {
    /// Nothing is sent or written before the first call. The directory must be there.
    pub fn new(config: &Config, directory: impl AsRef<Path>) -> Self {
        Self {
            wish: Wish::new(config, directory.as_ref()),
            latest: Arc::default(),
            making: Arc::default(),
        }
    }

    /// The same from this node and no other.
    #[must_use]
    pub fn from_node(mut self, node: Address) -> Self {
        self.wish.node = Some(node);
        self.latest = Arc::default();
        self
    }

    /// The latest copy if it is not older than that, else a new one.
    ///
    /// The age counts from when the node was asked, so the lag of the node comes on top; see
    /// [`Lag`](super::Lag). After an error the latest copy is still [there](Self::latest).
    pub async fn no_older_than(&self, age: Duration) -> Result<LocalCopy> {
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        let _making = self.making.lock().await;
        // Somebody else may have made it meanwhile.
        match self.younger_than(age) {
            Some(copy) => Ok(copy),
            None => self.make().await,
        }
    }

    /// A new copy.
    pub async fn refresh(&self) -> Result<LocalCopy> {
        let _making = self.making.lock().await;
        self.make().await
    }

    /// The latest copy, however old, if there is one. Nothing is sent.
    pub fn latest(&self) -> Option<LocalCopy> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }

    fn younger_than(&self, age: Duration) -> Option<LocalCopy> {
        self.latest().filter(|copy| copy.age() <= age)
    }

    async fn make(&self) -> Result<LocalCopy> {
        let given_up = GiveUp::default();
        let (wish, flag) = (self.wish.clone(), Arc::clone(&given_up.0));
        let fetched = tokio::task::spawn_blocking(move || {
            let mut interrupt = || flag.load(Ordering::Relaxed);
            wish.fetch(&mut interrupt)
        });
        let copy = fetched.await.map_err(|panic| {
            Error::usage("the making of a local copy was shut down").with_source(panic)
        })??;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(copy.clone());
        Ok(copy)
    }
}

/// Says, when it goes, that nobody waits any more.
#[derive(Default)]
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
